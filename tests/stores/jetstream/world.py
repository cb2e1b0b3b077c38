"""What the tests of the log in NATS share: logs of new streams, and a ledger of appends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson

from gateway.app.clock import RandomIds, SystemClock
from gateway.domain.errors import ExpectationFailed, StoreUnavailable
from gateway.ports import Draft, Entry
from gateway.stores.jetstream.log import JetStreamLog
from gateway.stores.jetstream.session import Session
from tests.stores.drafts import draft

__all__ = ["CLOCK", "ELECTION_S", "Ledger", "jetstream_log", "new_stream", "session", "until"]

CLOCK = SystemClock()
WAIT_S = 20.0
ELECTION_S = 90.0  # of a cluster's leaders, on a busy machine

_streams = itertools.count(1)


def new_stream() -> str:
    """Name a stream that no other test has."""
    return f"TEST{next(_streams)}"


async def until(predicate: Callable[[], Any], *, within_s: float = WAIT_S) -> None:
    """Wait for something to be so, with a bound."""
    deadline = CLOCK.monotonic() + within_s
    while not predicate():
        assert CLOCK.monotonic() < deadline, "it did not become so in time"
        await CLOCK.sleep(0.005)


@contextlib.asynccontextmanager
async def session(url: str) -> AsyncIterator[Session]:
    """A connection beside those of the logs, as an operator would have."""
    session = await Session.connect(url, name="test", timeout_s=5.0)
    try:
        yield session
    finally:
        await session.close()


@contextlib.asynccontextmanager
async def jetstream_log(
    url: str, *, stream: str | None = None, start: bool = True, **options: Any
) -> AsyncIterator[JetStreamLog]:
    """Open a log, of a new stream if none is named, and start it."""
    given: dict[str, Any] = {
        "clock": CLOCK,
        "ids": RandomIds(),
        "events_max": 100_000,
        "bytes_max": 100_000_000,
        "age_max_s": 3600.0,
        "stream": stream or new_stream(),
        **options,
    }
    log = JetStreamLog([url], **given)
    try:
        await log.open()
        if start:
            await log.start()
        yield log
    finally:
        await log.close()


class Ledger:
    """
    Many appends of every kind, of many writers, and what became of each.

    Attributes:
        confirmed: By the number of the append, the offset that it returned.
        refused: The appends of which nothing may be in the log.
        in_doubt: The appends of which nothing or all may be in the log.
        over: Set it to end the writers.
    """

    def __init__(self, log: JetStreamLog) -> None:
        self.log = log
        self.confirmed: dict[int, int] = {}
        self.refused: set[int] = set()
        self.in_doubt: set[int] = set()
        self.seen: list[Entry] = []
        self.over = False
        self._numbers = itertools.count(1)
        log.follow(self.seen.append)

    async def write(self, writer: int) -> None:
        """Append one after another until it is over."""
        own = f"own/{writer}"
        for number in self._numbers:
            drafts = [self._draft(own, number, 0)]
            expected = None
            if number % 3:
                drafts.append(self._draft(own, number, 1))
                expected = {own: self.log.last_offset(own)}
            if number % 3 == 2:
                drafts.append(self._draft(f"other/{number}", number, 2))
            if number % 7 == 0:
                expected = {own: self.log.last_offset(own), "all": self.log.last_offset("all")}
                drafts.append(self._draft("all", number, 3))
            try:
                self.confirmed[number] = await self.log.append(drafts, expected=expected)
            except ExpectationFailed:
                self.refused.add(number)
            except StoreUnavailable as away:
                assert not self.log.stale, self.log.reason
                (self.in_doubt if away.in_doubt else self.refused).add(number)
                await CLOCK.sleep(0.001)
            if self.over:
                return

    @staticmethod
    def _draft(subject: str, number: int, place: int) -> Draft:
        body = b'{"number":%d,"place":%d}' % (number, place)
        return draft(subject)._replace(body=body)

    async def disturb(self, disturb: Callable[[], Awaitable[None]], count: int) -> None:
        """Write with twenty writers, and call ``disturb`` ``count`` times meanwhile."""
        async with asyncio.TaskGroup() as writers:
            for writer in range(20):
                writers.create_task(self.write(writer))
            for _ in range(count):
                enough = len(self.confirmed) + 40
                await until(
                    lambda: len(self.confirmed) > enough,  # noqa: B023 - awaited here
                    within_s=ELECTION_S,
                )
                await disturb()
            await until(lambda: self.log.available, within_s=ELECTION_S)
            self.over = True

    async def check(self, url: str, **options: Any) -> None:
        """
        Compare with what another node finds in the stream.

        What was confirmed is there, what was refused is not, nothing is there twice, and of each
        append all is there in order, or nothing is. This node saw the same.
        """
        async with jetstream_log(url, stream=self.log._stream, **options) as fresh:
            stored = await fresh.read(after=0, topics=None, limit=10**6)
        await until(lambda: self.log.head == stored[-1].offset)
        assert stored == self.seen
        places: dict[int, list[int]] = {}
        for entry in stored:
            told = orjson.loads(entry.public)
            places.setdefault(told["number"], []).append(told["place"])
        for number, its in places.items():
            whole = [0, *[1] * (number % 3 > 0), *[2] * (number % 3 == 2), *[3] * (number % 7 == 0)]
            assert its == whole, number
        assert not self.confirmed.keys() - places.keys(), "confirmed, and lost"
        assert not self.refused & places.keys(), "refused, and there all the same"
        assert places.keys() <= self.confirmed.keys() | self.in_doubt
        assert set(self.confirmed.values()) <= {entry.offset for entry in stored}
