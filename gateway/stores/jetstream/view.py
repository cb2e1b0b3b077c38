"""
What this node has seen of the stream: its followers are told, and its memory is filled.

Everything known here came through the one consumer, in the stream's order. So decisions are
compared with what the followers have seen, and with nothing else.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

from gateway.domain.diagnostics import logger_of
from gateway.ports import Entry
from gateway.stores.followers import Followers
from gateway.stores.jetstream.codec import Foreign, last_offset_of, unpack
from gateway.stores.jetstream.feed import Delivery
from gateway.stores.jetstream.stream import Bounds
from gateway.stores.ring import Ring
from gateway.stores.steady import Steady
from gateway.stores.subjects import Subjects

__all__ = ["View"]

logger = logger_of(__name__)

# So much of the log's end stays in this node's memory; what is older is read from the stream when a
# reader asks for it. Most browsers that come back were away for less.
TAIL_EVENTS_MAX = 50_000
TAIL_BYTES_MAX = 64 * 1024**2
# The first foreign message is logged, then one in so many.
_FOREIGN_LOGGED_EVERY = 1000
# Of how many subjects the last foreign message is remembered.
_SKIPPED_MAX = 1000


class View:
    """
    One node's memory of the stream.

    Args:
        bounds: Of the stream.
        steady: Told of each message's time; tells how old they are.

    Attributes:
        epoch: The log's name.
        sequence: The last message seen.
        begun_after: The message before the first one that this node looks at.
        head: The newest offset that the followers have seen.
        first: The sequence of the oldest message in the stream, when the stream was last asked.
        messages, bytes: What the stream kept, when it was last asked.
        ring: The newest entries, see ``TAIL_EVENTS_MAX``.
        subjects: The last offset of each subject.
        readers: The followers.
        arrivals: By the id of a message that a write of this node waits for: what to call with
            its sequence when it has come.
        foreign: How many messages were seen that no gateway had written.
        skipped: By subject, the sequence of its last foreign message.
    """

    def __init__(self, *, bounds: Bounds, steady: Steady) -> None:
        self._bounds = bounds
        self._steady = steady
        self.readers: Followers[Entry] = Followers()
        self.arrivals: dict[str, Callable[[int], None]] = {}
        self.foreign = 0
        self.skipped: dict[str, int] = {}
        self.first = 1
        self.messages = self.bytes = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self.begin(epoch="", after=0, followed_after=0)

    def begin(self, *, epoch: str, after: int, followed_after: int, last: int = 0) -> None:
        """
        Drop everything known, and go on with the message after ``after``.

        Args:
            epoch: The name of the log that begins.
            followed_after: Followers are told of entries over this offset only.
            last: The last message that the stream has by now; those long before it do not even
                pass through the ring. 0: not known.
        """
        bounds = self._bounds
        self.epoch = epoch
        self.sequence = after
        self.head = last_offset_of(after)
        kept = min(bounds.events_max, TAIL_EVENTS_MAX)
        self._passed_until = last - kept
        self.ring = Ring(
            events_max=kept,
            bytes_max=min(bounds.bytes_max, TAIL_BYTES_MAX),
            age_max_s=bounds.age_max_s,
        )
        self.subjects = Subjects(events_max=bounds.events_max, forgotten=self.head)
        self.begun_after = after
        self._followed_after = followed_after
        for _, _, future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    @property
    def floor(self) -> int:
        """Everything over this offset, up to the head, is in the ring."""
        self.ring.trim(self._steady.now())
        return max(last_offset_of(self.begun_after), self.ring.dropped)

    @property
    def oldest(self) -> int:
        """See ``EventLog.oldest``; as far as this node knows without asking the server."""
        self.ring.trim(self._steady.now())
        gone = max(
            last_offset_of(self.first - 1),
            # The server's bound by count is known exactly; it counts bytes in its own way.
            last_offset_of(self.sequence - self._bounds.events_max),
            self.ring.aged,
        )
        return min(gone, self.head) + 1

    def entries_of(self, delivery: Delivery) -> list[Entry]:
        """
        Give the entries of a message.

        Raises:
            Foreign: No gateway has written it.
        """
        return unpack(
            delivery.subject,
            delivery.payload,
            epoch=self.epoch,
            sequence=delivery.sequence,
            at=delivery.at,
        )

    def _skip(self, delivery: Delivery, subject: str) -> None:
        if self.foreign % _FOREIGN_LOGGED_EVERY == 0:
            logger.warning(
                "message %d (%s) was not written by a gateway; it is skipped, %d so far",
                delivery.sequence,
                delivery.subject,
                self.foreign + 1,
            )
        self.foreign += 1
        self.skipped[subject] = delivery.sequence
        if len(self.skipped) > _SKIPPED_MAX:
            del self.skipped[next(iter(self.skipped))]

    def take(self, delivery: Delivery) -> bool:
        """
        See the next message; one that was seen before is passed over.

        Returns False, and takes nothing, when messages between the last one and this one are gone.
        """
        if delivery.sequence <= self.sequence:
            return True
        if delivery.sequence != self.sequence + 1 and self.sequence != self.begun_after:
            return False
        entries: list[Entry] = []
        try:
            entries = self.entries_of(delivery)
        except Foreign as error:
            self._skip(delivery, error.about)
        if entries and delivery.stamped:
            self._steady.seen(delivery.at)
        for entry in entries:
            if delivery.sequence > self._passed_until:
                self.ring.add(entry)
            else:
                self.ring.pass_over(entry, self._steady.now())
            self.subjects.wrote(entry.subject, entry.offset)
            self.head = entry.offset
            if entry.offset > self._followed_after:
                try:
                    self.readers.tell(entry)
                except Exception:
                    # A mistake of ours. The other followers go on, or they would miss an entry
                    # that is in the log.
                    logger.exception("a follower failed at offset %d", entry.offset)
        self._advance(delivery.sequence)
        if delivery.id is not None and (arrived := self.arrivals.get(delivery.id)) is not None:
            arrived(delivery.sequence)
        return True

    def _advance(self, sequence: int) -> None:
        self.sequence = sequence
        while self._waiting and self._waiting[0][0] <= self.sequence:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(None)

    async def wait_for(self, sequence: int) -> None:
        """Wait until message ``sequence`` has been seen, or until everything begins anew."""
        if self.sequence < sequence:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (sequence, next(self._order), future))
            await future
