"""
What every event log has to do: one suite, run over each implementation.

A subclass says how to open a log; time is the test's own. The guarantees are those in
``gateway.ports.EventLog``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson
import pytest

from gateway.domain.errors import ExpectationFailed
from gateway.ports import Draft, Entry, EventLog

__all__ = ["Clock", "EventLogContract", "draft"]


class Clock:
    """Time that the test sets."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def draft(subject: str = "task/1", *topics: str, size: int = 0, **options: Any) -> Draft:
    """One entry to be; ``size`` bytes larger than the smallest."""
    body = orjson.dumps({"type": "notification", "subject": subject, "payload": "x" * size})
    return Draft(subject, "notification", topics, False, body, **options)


class EventLogContract:
    """Subclass it and say how to open a log."""

    def open_log(
        self,
        clock: Clock,
        *,
        events_max: int = 1000,
        bytes_max: int = 10_000_000,
        age_max_s: float = 3600.0,
    ) -> AbstractAsyncContextManager[EventLog]:
        """Open an empty log with these bounds."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    async def log(self, clock: Clock) -> AsyncIterator[EventLog]:
        async with self.open_log(clock) as log:
            yield log

    async def read(self, log: EventLog, **options: Any) -> list[int]:
        given = {"after": 0, "topics": None, "limit": 1000, **options}
        return [entry.offset for entry in await log.read(**given)]

    # --- appending ------------------------------------------------------------------------------

    async def test_an_empty_log_says_so(self, log: EventLog) -> None:
        assert (log.head, log.oldest) == (0, 1)
        assert await self.read(log) == []
        assert (log.count(after=0, topics=None), log.newest(None)) == (0, 0)
        assert log.last_offset("task/1") == 0
        assert log.epoch

    async def test_offsets_begin_at_one_and_strictly_grow(self, log: EventLog) -> None:
        offsets = [await log.append([draft()]) for _ in range(5)]
        assert offsets[0] == 1
        assert offsets == sorted(set(offsets))
        assert log.head == offsets[-1]

    async def test_several_drafts_stand_next_to_each_other(self, log: EventLog) -> None:
        """Whatever else is appended at the same time."""
        await asyncio.gather(
            *(log.append([draft(f"task/{n}"), draft(f"lock/{n}")]) for n in range(20))
        )
        entries = await log.read(after=0, topics=None, limit=100)
        subjects = [entry.subject for entry in entries]
        assert len(subjects) == 40
        for first, second in zip(subjects[::2], subjects[1::2], strict=True):
            assert first.replace("task", "lock") == second

    async def test_append_returns_the_offset_of_the_last_draft(self, log: EventLog) -> None:
        last = await log.append([draft("a/1"), draft("b/1"), draft("a/1")])
        assert (log.last_offset("a/1"), log.last_offset("b/1")) == (last, last - 1)

    async def test_an_entry_is_the_draft_with_its_place_and_time(
        self, log: EventLog, clock: Clock
    ) -> None:
        offset = await log.append([draft("task/1", "user:a", detail=b'{"d":1}', state=b'{"s":2}')])
        (entry,) = await log.read(after=0, topics=None, limit=1)
        public, operator = orjson.loads(entry.public), orjson.loads(entry.operator)
        assert (public["epoch"], public["offset"]) == (log.epoch, offset)
        assert public["timestamp"].endswith("Z")
        assert "detail" not in public
        assert operator == {**public, "detail": {"d": 1}}
        assert b'"s"' not in entry.operator
        assert entry.state == b'{"s":2}'
        assert (entry.subject, entry.topics, entry.at) == ("task/1", ("user:a",), clock.now)

    async def test_without_detail_both_views_are_one(self, log: EventLog) -> None:
        await log.append([draft()])
        (entry,) = await log.read(after=0, topics=None, limit=1)
        assert entry.operator == entry.public
        assert entry.size == len(entry.public)

    async def test_the_logs_time_never_goes_back(self, log: EventLog, clock: Clock) -> None:
        await log.append([draft()])
        clock.now -= 100
        await log.append([draft()])
        first, second = await log.read(after=0, topics=None, limit=2)
        assert second.at >= first.at

    # --- deciding -------------------------------------------------------------------------------

    async def test_a_decision_on_what_is_so_is_accepted(self, log: EventLog) -> None:
        offset = await log.append([draft("a/1")], expected={"a/1": 0})
        await log.append([draft("b/1")])
        assert await log.append([draft("a/1")], expected={"a/1": offset, "c/1": 0}) == 3

    async def test_a_decision_on_what_has_changed_is_refused_whole(self, log: EventLog) -> None:
        offset = await log.append([draft("a/1")])
        seen: list[Entry] = []
        log.follow(seen.append)
        for expected in ({"a/1": 0}, {"a/1": offset + 1}, {"b/1": 0, "a/1": 0}, {"b/1": 1}):
            with pytest.raises(ExpectationFailed):
                await log.append([draft("b/1"), draft("a/1")], expected=expected)
        assert await self.read(log) == [offset]
        assert (log.last_offset("b/1"), seen) == (0, [])

    async def test_a_refusal_names_the_subject_and_both_offsets(self, log: EventLog) -> None:
        await log.append([draft("a/1")])
        with pytest.raises(ExpectationFailed) as refused:
            await log.append([draft("a/1")], expected={"a/1": 7})
        assert (refused.value.subject, refused.value.expected, refused.value.actual) == (
            "a/1",
            7,
            1,
        )

    async def test_of_many_who_decide_at_once_exactly_one_wins(self, log: EventLog) -> None:
        """And nothing of the losers' is in the log."""
        base = await log.append([draft("task/1")])

        async def decide(number: int) -> bool:
            with contextlib.suppress(ExpectationFailed):
                await log.append(
                    [draft(f"other/{number}"), draft("task/1")], expected={"task/1": base}
                )
                return True
            return False

        assert sum(await asyncio.gather(*(decide(number) for number in range(50)))) == 1
        assert len(await self.read(log)) == 3

    async def test_decisions_about_different_subjects_do_not_disturb_each_other(
        self, log: EventLog
    ) -> None:
        await asyncio.gather(
            *(log.append([draft(f"task/{n}")], expected={f"task/{n}": 0}) for n in range(50))
        )
        assert len(await self.read(log)) == 50

    # --- following ------------------------------------------------------------------------------

    async def test_followers_see_each_entry_once_in_order(self, log: EventLog) -> None:
        seen: list[int] = []
        log.follow(lambda entry: seen.append(entry.offset))
        await asyncio.gather(*(log.append([draft(), draft()]) for _ in range(10)))
        assert seen == await self.read(log)

    async def test_who_appends_has_been_followed_when_it_returns(self, log: EventLog) -> None:
        """Own writes are read by whoever decides next."""
        seen: list[int] = []
        log.follow(lambda entry: seen.append(entry.offset))
        for _ in range(5):
            offset = await log.append([draft(), draft()])
            assert seen[-1] == offset == log.head

    async def test_a_follower_begins_where_it_joined_and_ends_when_it_leaves(
        self, log: EventLog
    ) -> None:
        await log.append([draft()])
        first: list[int] = []
        second: list[int] = []
        leave_first = log.follow(lambda entry: first.append(entry.offset))
        await log.append([draft()])
        leave_second = log.follow(lambda entry: second.append(entry.offset))
        await log.append([draft()])
        leave_first()
        await log.append([draft()])
        leave_second()
        await log.append([draft()])
        assert (first, second) == ([2, 3], [3, 4])
        leave_first()

    async def test_the_same_reader_may_follow_twice(self, log: EventLog) -> None:
        seen: list[int] = []

        def reader(entry: Entry) -> None:
            seen.append(entry.offset)

        leave = log.follow(reader)
        log.follow(reader)
        await log.append([draft()])
        leave()
        await log.append([draft()])
        assert seen == [1, 1, 2]

    async def test_readers_are_called_in_the_order_in_which_they_came(self, log: EventLog) -> None:
        """Folds before whoever acts on them."""
        seen: list[str] = []
        for name in "abc":
            log.follow(lambda entry, name=name: seen.append(name))  # type: ignore[misc]
        await log.append([draft(), draft()])
        assert seen == list("abcabc")

    async def test_a_reader_that_another_one_has_ended_hears_no_more(self, log: EventLog) -> None:
        seen: list[int] = []
        leave: list[Any] = []
        log.follow(lambda entry: leave[0]())
        leave.append(log.follow(lambda entry: seen.append(entry.offset)))
        await log.append([draft()])
        assert seen == []

    async def test_inside_a_reader_the_log_ends_with_what_is_read(self, log: EventLog) -> None:
        """Several entries come one by one, also to whoever asks the log in between."""
        seen: list[tuple[int, int, int, int]] = []
        log.follow(
            lambda entry: seen.append(
                (
                    entry.offset,
                    log.head,
                    log.newest(["user:a"]),
                    log.count(after=0, topics=["user:a"]),
                )
            )
        )
        await log.append([draft("a/1", "user:a"), draft("a/1", "user:a"), draft("a/1", "user:a")])
        assert seen == [(1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3)]

    async def test_after_closing_nobody_is_called_and_leaving_is_fine(self, log: EventLog) -> None:
        leave = log.follow(lambda entry: None)
        await log.close()
        leave()

    # --- reading --------------------------------------------------------------------------------

    async def test_reading_goes_on_after_a_position(self, log: EventLog) -> None:
        for _ in range(10):
            await log.append([draft()])
        assert await self.read(log, after=3, limit=4) == [4, 5, 6, 7]
        assert await self.read(log, after=9) == [10]
        assert await self.read(log, after=10) == []
        assert await self.read(log, after=100) == []
        assert await self.read(log, limit=0) == []
        assert await self.read(log, after=3, until=5) == [4, 5]
        assert await self.read(log, after=3, until=100, limit=2) == [4, 5]
        assert await self.read(log, after=3, until=2) == []

    async def test_reading_by_topics_merges_them_in_order_and_each_entry_once(
        self, log: EventLog
    ) -> None:
        topics = (("a",), ("b",), ("a", "b"), (), ("c",), ("b", "c"), ("a",))
        for its in topics:
            await log.append([draft("x/1", *its)])
        assert await self.read(log, topics=["a"]) == [1, 3, 7]
        assert await self.read(log, topics=["a", "b"]) == [1, 2, 3, 6, 7]
        assert await self.read(log, topics=["b", "a", "a"]) == [1, 2, 3, 6, 7]
        assert await self.read(log, topics=["b", "a"], after=2, limit=2) == [3, 6]
        assert await self.read(log, topics=["b", "c"], until=5) == [2, 3, 5]
        assert await self.read(log, topics=["nobody"]) == []
        assert await self.read(log, topics=[]) == []
        assert await self.read(log, topics=(name for name in "ac")) == [1, 3, 5, 6, 7]
        assert log.count(after=2, topics=["a", "b"]) == 3
        assert log.count(after=0, topics=["a"]) == 3
        assert log.count(after=0, topics=None) == 7
        assert (log.newest(["a"]), log.newest(["b", "c"]), log.newest(["d"])) == (7, 6, 0)
        assert log.newest(None) == 7

    async def test_reading_stops_at_so_many_bytes_yet_gives_one(self, log: EventLog) -> None:
        for _ in range(5):
            await log.append([draft(size=1000)])
        assert await self.read(log, size_max=1) == [1]
        assert await self.read(log, size_max=2500) == [1, 2]
        assert await self.read(log, after=2, size_max=10_000) == [3, 4, 5]

    # --- bounds ---------------------------------------------------------------------------------

    async def test_over_the_count_the_oldest_go(self, clock: Clock) -> None:
        async with self.open_log(clock, events_max=3) as log:
            for number in range(5):
                await log.append([draft(f"task/{number}", "t", f"only:{number}")])
            assert await self.read(log) == [3, 4, 5]
            assert (log.oldest, log.head) == (3, 5)
            assert await self.read(log, topics=["t"], after=1) == [3, 4, 5]
            assert await self.read(log, topics=["only:0"]) == []
            assert (log.newest(["only:0"]), log.count(after=0, topics=["t"])) == (0, 3)

    async def test_over_the_bytes_the_oldest_go_and_the_newest_stays(self, clock: Clock) -> None:
        async with self.open_log(clock, bytes_max=2500) as log:
            for _ in range(5):
                await log.append([draft(size=900)])
            assert await self.read(log) == [4, 5]
            await log.append([draft(size=5000)])
            assert await self.read(log) == [6]

    async def test_after_their_time_entries_go_without_anybody_writing(self, clock: Clock) -> None:
        async with self.open_log(clock, age_max_s=100) as log:
            await log.append([draft("a/1", "t")])
            clock.now += 60
            await log.append([draft("a/1", "t")])
            clock.now += 40
            assert await self.read(log) == [1, 2]
            clock.now += 1
            assert (log.count(after=0, topics=["t"]), log.newest(["t"])) == (1, 2)
            assert (log.oldest, await self.read(log)) == (2, [2])
            clock.now += 100
            assert (log.newest(["t"]), log.newest(None)) == (0, 0)
            assert (log.oldest, log.head, await self.read(log)) == (3, 2, [])
            assert await log.append([draft("a/1")]) == 3

    async def test_what_was_last_said_of_a_subject_outlives_its_entry(self, clock: Clock) -> None:
        """A task may live on in silence, and its next decision still counts."""
        async with self.open_log(clock, events_max=3) as log:
            await log.append([draft("quiet/1")])
            for number in range(4):
                await log.append([draft(f"task/{number}")])
            assert log.oldest > 1
            assert log.last_offset("quiet/1") == 1
            with pytest.raises(ExpectationFailed):
                await log.append([draft("quiet/1")], expected={"quiet/1": 0})
            await log.append([draft("quiet/1")], expected={"quiet/1": 1})

    async def test_a_subject_silent_for_very_long_can_still_be_decided_about(
        self, clock: Clock
    ) -> None:
        """A breaker that stayed closed for months opens when it has to."""
        async with self.open_log(clock, events_max=3) as log:
            await log.append([draft("quiet/1")])
            for number in range(100):
                await log.append([draft(f"task/{number}")])
            offset = await log.append([draft("quiet/1")], expected={"quiet/1": 1})
            assert log.last_offset("quiet/1") == offset
            with pytest.raises(ExpectationFailed):
                await log.append([draft("quiet/1")], expected={"quiet/1": 1})
            with pytest.raises(ExpectationFailed):
                await log.append([draft("unheard/1")], expected={"unheard/1": offset})

    async def test_another_log_has_another_epoch(self, clock: Clock) -> None:
        async with self.open_log(clock) as one, self.open_log(clock) as two:
            assert one.epoch != two.epoch
