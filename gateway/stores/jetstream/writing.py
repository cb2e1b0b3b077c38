"""
Appending: drafts become messages, and the server's refusals become ours.

An append is over when its last message has come back through this node's consumer: then it is in
the log, and the followers here have seen it. The server's answers only matter when it says no.

Every message has an id that the stream does not take twice, and most have an expectation that
holds once. So when the connection breaks, what was sent is sent again over the next one, after
everything that may have been stored before has been seen.

A server whose disk is full or stands still goes on answering questions and says nothing to what
it is given. After one append for which nothing came back the others are refused at once, until
an empty message that is sent now and then has been stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

from gateway.domain.errors import ExpectationFailed, StoreUnavailable, TooLarge
from gateway.ports import Draft
from gateway.stores.jetstream.codec import (
    SLOTS,
    Parcel,
    about,
    last_offset_of,
    pack,
    sequence_of,
    witness,
)
from gateway.stores.jetstream.link import Link
from gateway.stores.jetstream.reading import stored_last
from gateway.stores.jetstream.session import ApiError, Msg, Session, SessionLost, answer_of
from gateway.stores.jetstream.stream import LOOK_LIMIT_S
from gateway.stores.jetstream.view import View

__all__ = ["Writer"]

logger = logging.getLogger(__name__)

# Appends under way at once. More wait for their turn: the server drops what it cannot queue.
_UNDER_WAY_MAX = 256
# Headers of one message, and the subject's line.
_HEADERS_BYTES = 4096
# Before asking again what could not be done just now.
_AGAIN_MIN_S = 0.01
_AGAIN_MAX_S = 0.5

# Somebody else wrote first, or is writing.
_WRONG_SEQUENCE = (10071, 10164)
# The id is known: it has been stored.
_DUPLICATE = (10201,)
# No leader, its twin is being stored, a batch torn by a change of leader, too many batches: worth
# another try at once.
_NOT_NOW = (0, 10008, 10158, 10176, 10199, 10210, 10211)

_SEQUENCE_IN_WORDS = re.compile(r"wrong last sequence: (\d+)")


class _Write:
    """
    One append.

    Args:
        id: What its last message is called; the others have their place added.
        expectations: By the place of the message that carries it: subject and offset.

    Attributes:
        sequence: That of its last message, once that has come back; 0: it has not.
        sent: Whether it was ever sent; from then on it may be in the log.
        tries: How often.
        news: Done when it has arrived; or it says what came instead, and is replaced.
    """

    def __init__(
        self,
        id: str,
        parcels: list[Parcel],
        expected: Mapping[str, int],
        expectations: Mapping[int, tuple[str, int]],
    ) -> None:
        self.id = id
        self.parcels = parcels
        self.expected = expected
        self.expectations = expectations
        self.sequence = 0
        self.sent = False
        self.tries = 0
        self.news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gave_up: StoreUnavailable | None = None

    def arrived(self, sequence: int) -> None:
        """Its last message has come back."""
        self.sequence = sequence
        self.tell(None)

    def give_up(self, error: StoreUnavailable) -> None:
        """There is no point in going on."""
        self._gave_up = error
        self.tell(error)

    def tell(self, error: Exception | None) -> None:
        """Let who waits for it go on."""
        if not self.news.done():
            if error is None:
                self.news.set_result(None)
            else:
                self.news.set_exception(error)
                self.news.exception()  # perhaps nobody waits for it just now

    def check(self) -> None:
        """Raise what it was given up for, if it was."""
        if self._gave_up is not None:
            raise self._gave_up


class Writer:
    """
    Appends to the stream.

    Args:
        name: A prefix for ids that nobody else uses.
        timeout_s: Limit of an append.
        refresh: Asks the stream again where it begins and ends.
        changed: Called when ``stuck`` has changed.

    Attributes:
        stuck: Why nothing is taken now; None: something is.
    """

    def __init__(
        self,
        *,
        stream: str,
        name: str,
        link: Link,
        view: View,
        timeout_s: float,
        refresh: Callable[[Session], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._name = name
        self._link = link
        self._view = view
        self._timeout_s = timeout_s
        self._refresh = refresh
        self._numbers = itertools.count(1)
        self._room = asyncio.Semaphore(_UNDER_WAY_MAX)
        self._under_way: set[_Write] = set()
        self._changed = changed
        self._succeeded_at = 0.0
        self._payload_bytes_max = 0
        self._target = 0
        self.stuck: str | None = None

    async def append(self, drafts: Sequence[Draft], expected: Mapping[str, int]) -> int:
        """See ``EventLog.append``; a cancelled one may be in the log or not."""
        self._view.subjects.check(expected)
        for subject, offset in expected.items():
            if offset % SLOTS:  # there is an entry about it after this one, in its own message
                last = last_offset_of(sequence_of(offset))
                raise ExpectationFailed(subject, expected=offset, actual=last)
        if self.stuck is not None:
            raise StoreUnavailable(f"the store is away: {self.stuck}")
        write = self._plan(drafts, expected)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            async with asyncio.timeout(self._timeout_s), self._room:
                sequence = await self._write(write)
        except TimeoutError:
            if write.sent and self._link.current is not None and self._succeeded_at < begun:
                self._set_stuck("the store takes nothing now (is its disk full?)")
            raise self._link.away(in_doubt=write.sent) from None
        self._succeeded_at = loop.time()
        return last_offset_of(sequence)

    def begin(self, session: Session, *, last: int) -> None:
        """
        Write over a new session from now on.

        Args:
            last: The stream's last message now: once it has been seen, nothing is under way that
                was sent before.
        """
        self._payload_bytes_max = session.payload_bytes_max - _HEADERS_BYTES
        self._target = last
        self.stuck = None

    async def probe(self, session: Session) -> None:
        """If it is stuck, try whether it still is, with a message without entries."""
        if self.stuck is not None:
            parcel = witness(self._stream)
            with contextlib.suppress(ApiError, TimeoutError):
                answer_of(
                    await session.request(parcel.subject, parcel.payload, timeout_s=LOOK_LIMIT_S)
                )
                self._set_stuck(None)

    def _set_stuck(self, reason: str | None) -> None:
        if reason != self.stuck:
            self.stuck = reason
            logger.warning(reason or "the store takes entries again")
            self._changed()

    def give_up(self, reason: str) -> None:
        """End what is under way: what it was based on no longer holds."""
        for write in tuple(self._under_way):
            write.give_up(StoreUnavailable(f"the store is away: {reason}", in_doubt=write.sent))

    def _plan(self, drafts: Sequence[Draft], expected: Mapping[str, int]) -> _Write:
        room = self._payload_bytes_max
        parcels = pack(self._stream, drafts, payload_bytes_max=room)
        if (size := max(len(parcel.payload) for parcel in parcels)) > room:
            raise TooLarge(
                f"an entry of {size} bytes is too large for the store, whose nats-server takes "
                f"{room}; raise its max_payload"
            )
        carriers: dict[int, tuple[str, int]] = {}
        left = dict(expected)
        for place, parcel in enumerate(parcels):
            if parcel.about in left:
                carriers[place] = (parcel.about, left.pop(parcel.about))
        # What is expected of subjects that are not written to, any other message may carry.
        for place in range(len(parcels)):
            if left and place not in carriers:
                carriers[place] = left.popitem()
        # First, so that the last message is that of the last draft.
        witnesses = [witness(self._stream) for _ in left]
        expectations = dict(enumerate(left.items()))
        expectations |= {place + len(left): carried for place, carried in carriers.items()}
        id = f"{self._name}-{next(self._numbers)}"
        return _Write(id, witnesses + parcels, expected, expectations)

    async def _write(self, write: _Write) -> int:
        self._under_way.add(write)
        self._view.arrivals[write.id] = write.arrived
        try:
            while True:
                session = await self._link.session(in_doubt=write.sent)
                if write.sent:
                    # What was stored of it comes back before anything else does.
                    await self._view.wait_for(self._target)
                write.check()
                if write.sequence:
                    return write.sequence
                # From before it is sent on: nothing that comes of it may be missed.
                write.news = asyncio.get_running_loop().create_future()
                try:
                    await self._send(session, write)
                except SessionLost:
                    continue
                except ApiError as error:
                    await self._refused(session, write, error)
        finally:
            del self._view.arrivals[write.id]
            self._under_way.discard(write)

    async def _send(self, session: Session, write: _Write) -> None:
        """
        Send all of it, and wait until it has arrived.

        Raises:
            ApiError: The server refused it; nothing of it was stored this time.
            SessionLost: The connection broke, and nobody knows.
        """

        def answered(msg: Msg | None) -> None:
            if msg is None:
                write.tell(SessionLost())
                return
            try:
                answer_of(msg)
            except ApiError as error:
                write.tell(error)

        reply = session.expect(answered)
        write.sent = True
        write.tries += 1
        batch_id = f"{write.id}-{write.tries}"
        last = len(write.parcels) - 1
        try:
            for place, parcel in enumerate(write.parcels):
                headers = {"Nats-Msg-Id": write.id if place == last else f"{write.id}-{place}"}
                if place in write.expectations:
                    headers |= self._expectation(*write.expectations[place])
                if last:
                    headers["Nats-Batch-Id"] = batch_id
                    headers["Nats-Batch-Sequence"] = str(place + 1)
                    if place == last:
                        headers["Nats-Batch-Commit"] = "1"
                # Nothing waits in here, so that a batch, and pieces of one subject, stay in order.
                await session.publish(
                    parcel.subject,
                    parcel.payload,
                    headers=headers,
                    reply=reply if place == last else "",
                )
            await write.news
        finally:
            session.forget(reply)

    def _expectation(self, subject: str, offset: int) -> dict[str, str]:
        sequence = sequence_of(offset)
        # To the server, messages that we skip are of their subject, too.
        sequence = max(sequence, self._view.skipped.get(subject, 0))
        # And it knows nothing of what is trimmed: the subject is new.
        known = sequence if sequence >= self._view.first else 0
        return {
            "Nats-Expected-Last-Subject-Sequence": str(known),
            "Nats-Expected-Last-Subject-Sequence-Subject": about(self._stream, subject),
        }

    async def _refused(self, session: Session, write: _Write, error: ApiError) -> None:
        """
        Find out what a refusal means; returns when it should be tried again.

        Raises:
            ExpectationFailed: Somebody else was first.
            StoreUnavailable: The server cannot store it.
        """
        if error.err_code in _DUPLICATE:
            write.check()
            if not write.sequence:
                write.news = asyncio.get_running_loop().create_future()
                await write.news
        elif error.err_code in _WRONG_SEQUENCE:
            await self._overtaken(session, write, error)
        elif error.err_code in _NOT_NOW:
            await _pause(write.tries)
        else:
            raise StoreUnavailable(f"the store could not write: {error}", in_doubt=write.tries > 1)

    async def _overtaken(self, session: Session, write: _Write, error: ApiError) -> None:
        if told := _SEQUENCE_IN_WORDS.search(str(error)):
            # Whoever decides again has to have seen why.
            await self._view.wait_for(int(told[1]))
        if write.sequence:
            return  # it was our own message, sent before the connection broke
        self._view.subjects.check(write.expected)
        # As far as this node remembers it is as expected: the server knows better, or less.
        try:
            await self._refresh(session)
            for subject, offset in write.expected.items():
                if offset and sequence_of(offset) < self._view.first:
                    continue  # trimmed meanwhile; sent again, it is a new subject
                actual = await stored_last(session, self._stream, about(self._stream, subject))
                if actual not in (offset, 0) or (offset and not actual):
                    await self._view.wait_for(sequence_of(actual))
                    if not write.sequence:
                        raise ExpectationFailed(subject, expected=offset, actual=actual)
        except (ApiError, SessionLost, TimeoutError):
            pass
        await _pause(write.tries)


async def _pause(tries: int) -> None:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    await asyncio.wait((never,), timeout=min(_AGAIN_MIN_S * 2**tries, _AGAIN_MAX_S))
