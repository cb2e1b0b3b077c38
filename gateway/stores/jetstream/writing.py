"""
Appending: drafts become messages, and the server's refusals become the port's errors.

An append is over when its last message has come back through this node's consumer: then it is in
the log, and the followers here have seen it. The server's answer matters only when it refuses.

Every message has an id that the stream does not take twice, and most carry an expectation that
holds only once. So when the connection breaks, the writer first sees everything that may have been
stored before, and then sends again over the next connection.

A server whose disk is full or stands still answers questions and says nothing about the messages
that it is given. After one append of which nothing came back, further appends are refused at once,
until a message without entries, which is sent now and then, has been stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import ExpectationFailed, StoreUnavailable, TooLarge
from gateway.ports import Draft
from gateway.stores.jetstream import wire
from gateway.stores.jetstream.codec import (
    SLOTS,
    Parcel,
    about,
    last_offset_of,
    pack,
    sequence_of,
    witness,
)
from gateway.stores.jetstream.link import Link, store_away
from gateway.stores.jetstream.pause import pause
from gateway.stores.jetstream.reading import stored_last
from gateway.stores.jetstream.session import (
    FAILURES,
    ApiError,
    Msg,
    Session,
    SessionLost,
    answer_of,
)
from gateway.stores.jetstream.stream import LOOK_LIMIT_S
from gateway.stores.jetstream.view import View

__all__ = ["Writer"]

logger = logger_of(__name__)

# How many appends are under way at once. More wait for their turn, because the server drops
# messages that it cannot queue.
_UNDER_WAY_MAX = 256
# Room in a message for its headers and its subject.
_HEADERS_BYTES = 4096
# The pause before the next try: it doubles from the first of these up to the second.
_AGAIN_MIN_S = 0.01
_AGAIN_MAX_S = 0.5

# Refusals after which the same may soon be taken; 0: no server answered.
_NOT_NOW = (
    0,
    wire.UNAVAILABLE,
    wire.ID_IN_PROCESS,
    wire.BATCH_INCOMPLETE,
    *wire.TOO_MANY_BATCHES,
)

_SEQUENCE_IN_WORDS = re.compile(r"wrong last sequence: (\d+)")


class _Write:
    """
    One append.

    Args:
        id: The id of its last message; the ids of the others have their place added.
        parcels: Its messages.
        expected: What the caller expects; see ``EventLog.append``.
        expectations: By the place of the message that carries it: subject and offset.

    Attributes:
        sequence: The sequence of its last message once that has come back; 0: not yet.
        sent: Whether it was ever sent; from then on it may be in the log.
        tries: How often it was sent.
        outcome: Of the try under way: done when the last message has come back, or failed with
            what came instead. Each try has a new one.
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
        self._gave_up: StoreUnavailable | None = None
        self.expect_outcome()

    def expect_outcome(self) -> None:
        """Begin another try."""
        self.outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def arrived(self, sequence: int) -> None:
        """Take note that its last message has come back."""
        self.sequence = sequence
        if not self.outcome.done():
            self.outcome.set_result(None)

    def give_up(self, error: StoreUnavailable) -> None:
        """End it for good: the next ``check`` raises ``error``."""
        self._gave_up = error
        self.failed(error)

    def failed(self, error: Exception) -> None:
        """End the try under way with ``error``, unless it has an outcome already."""
        if not self.outcome.done():
            self.outcome.set_exception(error)
            self.outcome.exception()  # retrieved: the try may have no waiter just now

    def check(self) -> None:
        """Raise the error that it was given up with, if it was."""
        if self._gave_up is not None:
            raise self._gave_up


class Writer:
    """
    Appends to the stream.

    Args:
        stream: The stream's name.
        name: A prefix for message ids that no other writer uses.
        link: Gives the session to write over.
        view: What comes back from the stream.
        timeout_s: How long an append may last, in seconds.
        refresh: Asks the stream again where it begins and ends.
        changed: Called when ``stuck`` has changed.
        written_at: Gives what a message that is sent now says of its time; None: nothing.

    Attributes:
        stuck: Why the store takes nothing now; None: it does.
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
        written_at: Callable[[], str | None],
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
        self._written_at = written_at
        self._succeeded_at = 0.0
        self._payload_bytes_max = 0
        self._target = 0
        self.stuck: str | None = None

    async def append(self, drafts: Sequence[Draft], expected: Mapping[str, int]) -> int:
        """See ``EventLog.append``."""
        self._view.subjects.check(expected)
        for subject, offset in expected.items():
            if offset % SLOTS:  # not the last entry of its message, so not that of its subject
                last = last_offset_of(sequence_of(offset))
                raise ExpectationFailed(subject, expected=offset, actual=last)
        if self.stuck is not None:
            raise store_away(self.stuck)
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
            last: The stream's last message now. Once the view has seen it, nothing that was sent
                before is under way any more.
        """
        self._payload_bytes_max = session.payload_bytes_max - _HEADERS_BYTES
        self._target = last
        self.stuck = None

    async def probe(self, session: Session) -> None:
        """If the store was stuck, try with a message without entries whether it still is."""
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
        """End the appends under way: what they were based on no longer holds."""
        for write in tuple(self._under_way):
            write.give_up(store_away(reason, in_doubt=write.sent))

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
        # An expectation about a subject that is not written to may go with any other message.
        for place in range(len(parcels)):
            if left and place not in carriers:
                carriers[place] = left.popitem()
        # Messages without entries come first, so that the last message has the last draft.
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
                    # What an earlier try stored comes back up to here.
                    await self._view.wait_for(self._target)
                write.check()
                if write.sequence:
                    return write.sequence
                write.expect_outcome()  # before it is sent, so that no outcome is missed
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
        Send all of it, and wait until it has come back.

        Raises:
            ApiError: The server refused it; this try stored nothing.
            SessionLost: The connection broke; this try may have stored it or not.
            StoreUnavailable: It was given up.
        """

        def answered(msg: Msg | None) -> None:
            if msg is None:
                write.failed(SessionLost())
                return
            try:
                answer_of(msg)
            except ApiError as error:
                write.failed(error)

        reply = session.expect(answered)
        write.sent = True
        write.tries += 1
        batch_id = f"{write.id}-{write.tries}"
        last = len(write.parcels) - 1
        written_at = self._written_at()
        try:
            for place, parcel in enumerate(write.parcels):
                headers = {wire.MESSAGE_ID: write.id if place == last else f"{write.id}-{place}"}
                if written_at is not None:
                    headers[wire.WRITTEN_AT] = written_at
                if place in write.expectations:
                    headers |= self._expectation(*write.expectations[place])
                if last:  # several messages are an atomic batch (ADR-50)
                    headers["Nats-Batch-Id"] = batch_id
                    headers["Nats-Batch-Sequence"] = str(place + 1)
                    if place == last:
                        headers["Nats-Batch-Commit"] = "1"
                # Publishing does not wait, so the messages of one append stay next to each other.
                await session.publish(
                    parcel.subject,
                    parcel.payload,
                    headers=headers,
                    reply=reply if place == last else "",
                )
            await write.outcome
        finally:
            session.expect_no_more(reply)

    def _expectation(self, subject: str, offset: int) -> dict[str, str]:
        sequence = sequence_of(offset)
        # For the server, a foreign message that the view skipped counts as one of its subject.
        sequence = max(sequence, self._view.skipped.get(subject, 0))
        # And a subject all of whose messages were dropped is new to the server.
        known = sequence if sequence >= self._view.first else 0
        return {
            "Nats-Expected-Last-Subject-Sequence": str(known),
            "Nats-Expected-Last-Subject-Sequence-Subject": about(self._stream, subject),
        }

    async def _refused(self, session: Session, write: _Write, error: ApiError) -> None:
        """
        Find out what a refusal means; returns when the append should be tried again.

        Raises:
            ExpectationFailed: Another writer was first.
            TooLarge: A batch may not have so many messages.
            StoreUnavailable: The server cannot store it.
        """
        if error.err_code == wire.BATCH_HAS_STORED_ID:
            # An earlier try was stored after all, and comes back.
            write.check()
            if not write.sequence:
                write.expect_outcome()
                await write.outcome
        elif error.err_code in wire.WRONG_LAST_SEQUENCE:
            await self._overtaken(session, write, error)
        elif error.err_code == wire.BATCH_TOO_LARGE:
            raise TooLarge(
                f"an append of {len(write.parcels)} messages is too large for the store: {error}"
            )
        elif error.err_code in _NOT_NOW:
            await _before_try(write.tries)
        else:
            raise StoreUnavailable(f"the store could not write: {error}", in_doubt=write.tries > 1)

    async def _overtaken(self, session: Session, write: _Write, error: ApiError) -> None:
        """
        Find out which expectation failed; returns when it cannot be told, and is worth a try.

        Raises:
            ExpectationFailed: Another writer was first.
        """
        if told := _SEQUENCE_IN_WORDS.search(str(error)):
            # The caller decides again, so its folds have to have seen the message in the way.
            await self._view.wait_for(int(told[1]))
        if write.sequence:
            return  # the message in the way was its own, from an earlier try
        self._view.subjects.check(write.expected)
        # In this node's memory all is as expected, so the memory or the server has less.
        try:
            await self._refresh(session)
            for subject, offset in write.expected.items():
                if offset and sequence_of(offset) < self._view.first:
                    continue  # dropped meanwhile: at the next try the subject is new
                actual = await stored_last(session, self._stream, about(self._stream, subject))
                if actual not in (offset, 0) or (offset and not actual):
                    await self._view.wait_for(sequence_of(actual))
                    if not write.sequence:
                        raise ExpectationFailed(subject, expected=offset, actual=actual)
        except FAILURES:
            pass
        await _before_try(write.tries)


async def _before_try(tries: int) -> None:
    await pause(min(_AGAIN_MIN_S * 2**tries, _AGAIN_MAX_S))
