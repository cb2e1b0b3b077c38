"""The log in memory: the contract, and its bounds against a plain list."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.domain.errors import ExpectationFailed
from gateway.ports import Entry, EventLog
from gateway.stores.memory import MemoryLog
from tests.soak import SOAK
from tests.stores.contract import EventLogContract, at_once
from tests.stores.drafts import Clock, draft

_epochs = itertools.count(1)


def memory_log(clock: Clock, **bounds: Any) -> MemoryLog:
    return MemoryLog(epoch=f"e{next(_epochs)}", clock=clock, **bounds)


class TestMemoryLog(EventLogContract):
    """Everything that the port promises."""

    @contextlib.asynccontextmanager
    async def open_log(
        self,
        clock: Clock,
        *,
        events_max: int = 1000,
        bytes_max: int = 10_000_000,
        age_max_s: float = 3600.0,
    ) -> AsyncIterator[EventLog]:
        log = memory_log(clock, events_max=events_max, bytes_max=bytes_max, age_max_s=age_max_s)
        yield log
        await log.close()

    async def a_moment_later(self, clock: Clock) -> None:
        clock.now += 60

    async def test_offsets_count_entries(self, log: EventLog, clock: Clock) -> None:
        """And each has the clock's time."""
        assert [await log.append([draft(), draft()]) for _ in range(3)] == [2, 4, 6]
        assert [entry.at for entry in await log.read(after=4, topics=None, limit=9)] == (
            [clock.now] * 2
        )

    async def test_it_takes_entries_without_waiting(self, log: EventLog) -> None:
        """As it says; so a writer that is cancelled knows that it has written nothing."""
        assert log.takes_at_once
        assert at_once(log.append([draft()], expected={draft().subject: 0})) == 1

    async def test_its_size_is_that_of_what_is_kept(self, clock: Clock) -> None:
        log = memory_log(clock, events_max=3, bytes_max=10_000, age_max_s=100)
        for number in range(10):
            await log.append([draft(size=number, detail=b"{}", state=b"{}")])
            kept = await log.read(after=0, topics=None, limit=100)
            assert (log.events, log.bytes) == (len(kept), sum(entry.size for entry in kept))


TOPICS = ("a", "b", "c")
EVENTS_MAX, BYTES_MAX, AGE_MAX = 8, 2000, 50.0


class MemoryAgainstAList(RuleBasedStateMachine):
    """Whatever is done to it, it is what a plain list would be, only faster."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.log = memory_log(
            self.clock, events_max=EVENTS_MAX, bytes_max=BYTES_MAX, age_max_s=AGE_MAX
        )
        self.all: list[Entry] = []
        self.kept: list[Entry] = []
        self.log.follow(self.all.append)
        self.loop = asyncio.new_event_loop()

    def teardown(self) -> None:
        self.loop.close()

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    @rule(
        drafts=st.lists(
            st.builds(
                lambda subject, topics, size: draft(subject, *topics, size=size),
                st.sampled_from(("x/1", "y/1", "z/1")),
                st.sets(st.sampled_from(TOPICS)).map(sorted),
                st.integers(0, 900),
            ),
            min_size=1,
            max_size=4,
        ),
        right=st.booleans(),
    )
    def append(self, drafts: list[Any], right: bool) -> None:
        subject = drafts[0].subject
        last = max((e.offset for e in self.all if e.subject == subject), default=0)
        before = len(self.all)
        try:
            head = self.run(self.log.append(drafts, expected={subject: last + (not right)}))
        except ExpectationFailed:
            assert not right
            assert len(self.all) == before
        else:
            assert right
            assert head == self.all[-1].offset == before + len(drafts)
            for entry in self.all[before:]:
                self.kept.append(entry)
                self.trim()

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.trim()

    def trim(self) -> None:
        while self.kept and (
            len(self.kept) > EVENTS_MAX
            or (sum(e.size for e in self.kept) > BYTES_MAX and len(self.kept) > 1)
            or self.kept[0].at < self.clock.now - AGE_MAX
        ):
            del self.kept[0]

    @rule(
        after=st.integers(0, 40),
        topics=st.none() | st.lists(st.sampled_from((*TOPICS, "d")), max_size=3),
        limit=st.integers(0, 10),
        until=st.none() | st.integers(0, 40),
        size_max=st.none() | st.integers(0, 3000),
    )
    def read(
        self,
        after: int,
        topics: list[str] | None,
        limit: int,
        until: int | None,
        size_max: int | None,
    ) -> None:
        of = [e for e in self.kept if topics is None or set(topics) & set(e.topics)]
        of = [e for e in of if e.offset > after]
        found: list[Entry] = []
        for entry in of:
            if until is not None and entry.offset > until:
                break
            size = sum(len(e.public) for e in [*found, entry])
            if len(found) == limit or (found and size_max is not None and size > size_max):
                break
            found.append(entry)
        read = self.log.read(
            after=after, topics=topics, limit=limit, until=until, size_max=size_max
        )
        assert self.run(read) == found

    @invariant()
    def its_bounds_are_those_of_the_list(self) -> None:
        assert self.log.oldest == (self.kept[0].offset if self.kept else self.log.head + 1)
        assert self.log.bytes == sum(entry.size for entry in self.kept)
        assert self.log.events == len(self.kept)
        for subject in ("x/1", "y/1", "z/1"):
            last = max((e.offset for e in self.all if e.subject == subject), default=0)
            assert self.log.last_offset(subject) == last


TestMemoryAgainstAList = MemoryAgainstAList.TestCase
if not SOAK:
    TestMemoryAgainstAList.settings = settings(max_examples=10)
