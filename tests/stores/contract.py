"""
What every event log has to do: one suite, run over each implementation.

A subclass says how to open a log and how its time passes. The guarantees are those of
``gateway.ports.EventLog``; by how much offsets grow is left to the implementation.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import orjson
import pytest

from gateway.domain.errors import ExpectationFailed
from gateway.domain.timestamps import rfc3339
from gateway.ports import Entry, EventLog, Snapshot
from tests.stores.drafts import Clock, draft

__all__ = ["EventLogContract", "at_once"]

Result = TypeVar("Result")


def at_once(reading: Coroutine[Any, Any, Result]) -> Result:
    """Give what ``reading`` returns without waiting for anything; it fails if it waits."""
    try:
        reading.send(None)
    except StopIteration as end:
        found: Result = end.value
        return found
    raise AssertionError("it waited")


# How far a store's own clock may be from the test's.
CLOCKS_APART_S = 60.0


class EventLogContract:
    """
    Subclass it and say how to open a log.

    Attributes:
        keeps_snapshots: Whether a snapshot that was saved is given back.
    """

    keeps_snapshots = False

    def open_log(
        self,
        clock: Clock,
        *,
        events_max: int = 1000,
        bytes_max: int = 10_000_000,
        age_max_s: float = 3600.0,
    ) -> AbstractAsyncContextManager[EventLog]:
        """Open an empty log with these bounds, and start it."""
        raise NotImplementedError

    async def a_moment_later(self, clock: Clock) -> None:
        """Let the log's own time move on, so that two entries differ in it."""
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
        assert log.last_offset("task/1") == 0
        assert log.epoch

    async def test_offsets_strictly_grow_from_one_on(self, log: EventLog) -> None:
        offsets = [await log.append([draft()]) for _ in range(5)]
        assert offsets[0] >= 1
        assert offsets == sorted(set(offsets))
        assert log.head == offsets[-1]
        assert await self.read(log) == offsets

    async def test_nothing_is_kept_before_the_first_entry(self, log: EventLog) -> None:
        """A reader that begins at ``oldest`` has missed nothing."""
        first = await log.append([draft()])
        assert 1 <= log.oldest <= first

    async def test_what_is_kept_is_counted(self, log: EventLog) -> None:
        """A store that is asked now and then may know of more than this node has read."""
        assert (log.events, log.bytes) == (0, 0)
        await log.append([draft("a/1")])
        await log.append([draft("a/2"), draft("a/3")])
        assert log.events == 3
        assert log.bytes > 0

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
        first, second, third = await self.read(log)
        assert (log.last_offset("a/1"), log.last_offset("b/1")) == (last, second)
        assert first < second < third == last

    async def test_many_drafts_of_few_subjects_stay_in_order(self, log: EventLog) -> None:
        """However an implementation bundles them."""
        drafts = [
            draft(f"task/{number // 40 % 2}")._replace(body=b'{"number":%d}' % number)
            for number in range(200)
        ]
        assert await log.append(drafts, expected={"task/0": 0, "task/1": 0}) == log.head
        entries = await log.read(after=0, topics=None, limit=1000)
        numbers = [orjson.loads(entry.public)["number"] for entry in entries]
        assert numbers == list(range(200))
        assert [entry.subject for entry in entries] == [each.subject for each in drafts]
        assert log.last_offset("task/1") == entries[-41].offset
        assert log.last_offset("task/0") == entries[-1].offset

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
        assert (entry.subject, entry.topics) == ("task/1", ("user:a",))
        assert abs(entry.at - clock.now) < CLOCKS_APART_S
        assert public["timestamp"] == rfc3339(entry.at)

    async def test_any_name_may_be_a_subject_a_topic_and_a_type(self, log: EventLog) -> None:
        """Whatever the store's own names may not hold."""
        names = ["a.b", "*", ">", "a b", "ä/ö", "", "x" * 128, "=", "a/b/c", "%2E", "~@:-_"]
        for name in names:
            await log.append([draft(f"kind/{name}", f"user:{name}", f"task:{name}")])
        await log.append([draft("alone", "system")])
        entries = await log.read(after=0, topics=None, limit=100)
        assert [entry.subject for entry in entries] == [f"kind/{n}" for n in names] + ["alone"]
        for name, entry in zip(names, entries, strict=False):
            assert entry.topics == (f"user:{name}", f"task:{name}")
            assert await self.read(log, topics=[f"user:{name}"]) == [entry.offset]
            with pytest.raises(ExpectationFailed):
                await log.append([draft(entry.subject)], expected={entry.subject: 0})

    async def test_without_detail_both_views_are_one(self, log: EventLog) -> None:
        await log.append([draft()])
        (entry,) = await log.read(after=0, topics=None, limit=1)
        assert entry.operator == entry.public
        assert entry.size == len(entry.public)

    async def test_the_logs_time_never_goes_back(self, log: EventLog, clock: Clock) -> None:
        await log.append([draft()])
        clock.set_s = -100
        await log.append([draft()])
        first, second = await log.read(after=0, topics=None, limit=2)
        assert second.at >= first.at

    @pytest.mark.parametrize("set_s", [-3600.0, 3600.0])
    async def test_a_clock_that_is_set_moves_no_time_of_the_log(
        self, log: EventLog, clock: Clock, set_s: float
    ) -> None:
        await log.append([draft()])
        clock.set_s = set_s
        clock.now += 5
        await log.append([draft()])
        first, second = await log.read(after=0, topics=None, limit=2)
        assert second.at - first.at == pytest.approx(5, abs=0.001)
        assert await log.time() - second.at == pytest.approx(0, abs=0.001)

    async def test_the_logs_time_is_that_of_its_entries(self, log: EventLog) -> None:
        before = await log.time()
        await log.append([draft()])
        (entry,) = await log.read(after=0, topics=None, limit=1)
        assert before <= entry.at <= await log.time()

    # --- deciding -------------------------------------------------------------------------------

    async def test_a_decision_on_what_is_so_is_accepted(self, log: EventLog) -> None:
        offset = await log.append([draft("a/1")], expected={"a/1": 0})
        await log.append([draft("b/1")])
        again = await log.append([draft("a/1")], expected={"a/1": offset, "c/1": 0, "d/1": 0})
        assert await log.append([draft("e/1")], expected={"a/1": again}) == log.head
        assert len(await self.read(log)) == 4

    async def test_a_decision_on_what_has_changed_is_refused_whole(self, log: EventLog) -> None:
        offset = await log.append([draft("a/1")])
        seen: list[Entry] = []
        log.follow(seen.append)
        for expected in (
            {"a/1": 0},
            {"a/1": offset + 1},
            {"a/1": offset - 1},
            {"b/1": 0, "a/1": 0},
            {"b/1": offset},
            {"c/1": offset},
        ):
            with pytest.raises(ExpectationFailed):
                await log.append([draft("b/1"), draft("a/1")], expected=expected)
        assert await self.read(log) == [offset]
        assert (log.last_offset("b/1"), seen) == (0, [])

    async def test_a_refusal_names_the_subject_and_both_offsets(self, log: EventLog) -> None:
        offset = await log.append([draft("a/1")])
        with pytest.raises(ExpectationFailed) as refused:
            await log.append([draft("a/1")], expected={"a/1": 7})
        told = (refused.value.subject, refused.value.expected, refused.value.actual)
        assert told == ("a/1", 7, offset)

    async def test_of_many_decisions_at_once_exactly_one_wins(self, log: EventLog) -> None:
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

    async def test_when_an_append_returns_its_entries_have_been_followed(
        self, log: EventLog
    ) -> None:
        """So the next decision of the same writer is based on them."""
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
        offsets = await self.read(log)
        assert (first, second) == (offsets[1:3], offsets[2:4])
        leave_first()

    async def test_the_same_reader_may_follow_twice(self, log: EventLog) -> None:
        seen: list[int] = []

        def reader(entry: Entry) -> None:
            seen.append(entry.offset)

        leave = log.follow(reader)
        log.follow(reader)
        first = await log.append([draft()])
        leave()
        second = await log.append([draft()])
        assert seen == [first, first, second]

    async def test_readers_are_called_in_the_order_in_which_they_came(self, log: EventLog) -> None:
        """The folds before the readers that act on them."""
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
        """Several entries come one by one, also to a reader that asks the log in between."""
        seen: list[tuple[int, int, list[int]]] = []
        log.follow(
            lambda entry: seen.append(
                (entry.offset, log.head, at_once(self.read(log, topics=["user:a"])))
            )
        )
        await log.append([draft("a/1", "user:a"), draft("a/1", "user:a"), draft("a/1", "user:a")])
        offsets = await self.read(log)
        assert seen == [
            (offset, offset, offsets[:number]) for number, offset in enumerate(offsets, 1)
        ]

    async def test_after_closing_no_reader_is_called_and_leaving_is_fine(
        self, log: EventLog
    ) -> None:
        seen: list[Entry] = []
        leave = log.follow(seen.append)
        await log.append([draft()])
        await log.close()
        leave()
        assert len(seen) == 1

    # --- reading --------------------------------------------------------------------------------

    async def test_reading_goes_on_after_a_position(self, log: EventLog) -> None:
        at = [0] + [await log.append([draft()]) for _ in range(10)]
        assert await self.read(log, after=at[3], limit=4) == at[4:8]
        assert await self.read(log, after=at[9]) == [at[10]]
        assert await self.read(log, after=at[10]) == []
        assert await self.read(log, after=10 * at[10]) == []
        assert await self.read(log, limit=0) == []
        assert await self.read(log, after=at[3], until=at[5]) == at[4:6]
        assert await self.read(log, after=at[3], until=10 * at[10], limit=2) == at[4:6]
        assert await self.read(log, after=at[3], until=at[2]) == []

    async def test_reading_goes_on_inside_what_was_appended_at_once(self, log: EventLog) -> None:
        """A browser may have received the first frames of several."""
        await log.append([draft(), draft(), draft()])
        offsets = await self.read(log)
        for place, offset in enumerate(offsets):
            assert await self.read(log, after=offset) == offsets[place + 1 :]
            assert await self.read(log, until=offset) == offsets[: place + 1]

    async def test_reading_by_topics_merges_them_in_order_and_each_entry_once(
        self, log: EventLog
    ) -> None:
        topics = (("a",), ("b",), ("a", "b"), (), ("c",), ("b", "c"), ("a",))
        at = [0] + [await log.append([draft("x/1", *its)]) for its in topics]

        async def places(**options: Any) -> list[int]:
            return [at.index(offset) for offset in await self.read(log, **options)]

        assert await places(topics=["a"]) == [1, 3, 7]
        assert await places(topics=["a", "b"]) == [1, 2, 3, 6, 7]
        assert await places(topics=["b", "a", "a"]) == [1, 2, 3, 6, 7]
        assert await places(topics=["b", "a"], after=at[2], limit=2) == [3, 6]
        assert await places(topics=["b", "c"], until=at[5]) == [2, 3, 5]
        assert await places(topics=["unknown"]) == []
        assert await places(topics=[]) == []
        assert await places(topics=(name for name in "ac")) == [1, 3, 5, 6, 7]

    async def test_scanning_goes_on_until_there_are_no_more(self, log: EventLog) -> None:
        """However many are looked at in one call, none is passed over and none comes twice."""
        topics = (("a",), (), ("b",), (), ("a", "b"), (), (), ("a",))
        at = [await log.append([draft("x/1", *its)]) for its in topics]
        assert await log.scan(after=at[-1], topics=None, limit=2) == ([], None)
        for wanted, places in ((["a"], [0, 4, 7]), (["c"], []), (None, range(8)), ([], [])):
            for limit in (1, 2, 100):
                found: list[int] = []
                after: int | None = 0
                while after is not None:
                    entries, after = await log.scan(after=after, topics=wanted, limit=limit)
                    assert len(entries) <= limit
                    found += [entry.offset for entry in entries]
                assert found == [at[place] for place in places]

    async def test_reading_stops_at_so_many_bytes_yet_gives_one(self, log: EventLog) -> None:
        at = [await log.append([draft(size=1000)]) for _ in range(5)]
        assert await self.read(log, size_max=1) == at[:1]
        assert await self.read(log, size_max=2500) == at[:2]
        assert await self.read(log, after=at[1], size_max=10_000) == at[2:]

    # --- bounds ---------------------------------------------------------------------------------

    async def test_over_the_count_the_oldest_go(self, clock: Clock) -> None:
        async with self.open_log(clock, events_max=3) as log:
            at = [await log.append([draft(f"task/{n}", "t", f"only:{n}")]) for n in range(5)]
            assert await self.read(log) == at[2:]
            assert at[1] < log.oldest <= at[2]
            assert log.head == at[4]
            assert await self.read(log, topics=["t"], after=at[0]) == at[2:]
            assert await self.read(log, topics=["only:0"]) == []

    async def test_over_the_bytes_the_oldest_go_and_the_newest_stays(self, clock: Clock) -> None:
        async with self.open_log(clock, bytes_max=5000) as log:
            at = [await log.append([draft(size=900)]) for _ in range(10)]
            kept = await self.read(log)
            # Each implementation counts a little that is not the entry's own.
            assert kept in (at[-4:], at[-3:])
            await log.append([draft(size=4000)])
            assert await self.read(log) == [log.head]

    async def test_after_their_time_entries_go_without_another_append(self, clock: Clock) -> None:
        async with self.open_log(clock, age_max_s=100) as log:
            offsets = [await log.append([draft("a/1", "t")])]
            await self.a_moment_later(clock)
            offsets.append(await log.append([draft("a/1", "t")]))
            first, second = await log.read(after=0, topics=None, limit=2)
            assert second.at > first.at
            clock.now += first.at + 99.999 - await log.time()
            assert await self.read(log) == offsets
            clock.now += second.at + 99.999 - await log.time()
            assert offsets[0] < log.oldest <= offsets[1]
            assert await self.read(log) == offsets[1:]
            assert await self.read(log, topics=["t"]) == offsets[1:]
            clock.now += 0.002
            assert (log.oldest, log.head) == (offsets[1] + 1, offsets[1])
            assert await self.read(log) == await self.read(log, topics=["t"]) == []
            assert await log.append([draft("a/1")]) > offsets[1]

    async def test_what_was_last_said_of_a_subject_outlives_its_entry(self, clock: Clock) -> None:
        """A task may live on in silence, and its next decision still counts."""
        async with self.open_log(clock, events_max=3) as log:
            offset = await log.append([draft("quiet/1")])
            for number in range(4):
                await log.append([draft(f"task/{number}")])
            assert log.oldest > offset
            assert log.last_offset("quiet/1") == offset
            with pytest.raises(ExpectationFailed):
                await log.append([draft("quiet/1")], expected={"quiet/1": 0})
            await log.append([draft("quiet/1")], expected={"quiet/1": offset})

    async def test_a_subject_silent_for_very_long_can_still_be_decided_about(
        self, clock: Clock
    ) -> None:
        """A breaker that stayed closed for months opens when it has to."""
        async with self.open_log(clock, events_max=3) as log:
            first = await log.append([draft("quiet/1")])
            for number in range(100):
                await log.append([draft(f"task/{number}")])
            offset = await log.append([draft("quiet/1")], expected={"quiet/1": first})
            assert log.last_offset("quiet/1") == offset
            with pytest.raises(ExpectationFailed):
                await log.append([draft("quiet/1")], expected={"quiet/1": first})
            with pytest.raises(ExpectationFailed):
                await log.append([draft("unheard/1")], expected={"unheard/1": offset})

    # --- the log itself -------------------------------------------------------------------------

    async def test_another_log_has_another_epoch(self, clock: Clock) -> None:
        async with self.open_log(clock) as one, self.open_log(clock) as two:
            assert one.epoch != two.epoch

    async def test_a_log_that_is_open_is_there(self, log: EventLog) -> None:
        told: list[bool] = []
        end = log.watch(lambda: told.append(log.available))
        assert (log.available, log.reason, log.stale) == (True, None, False)
        assert told == []
        end()
        end()

    async def test_the_newest_snapshot_is_given_back_or_none_is(self, log: EventLog) -> None:
        assert await log.load_snapshot() is None
        for number in range(4):
            offset = await log.append([draft()])
            saved = Snapshot(offset, number, bytes([number]) * number * 700_000)
            await log.save_snapshot(saved)
            loaded = await log.load_snapshot()
            assert loaded == (saved if self.keeps_snapshots else None)
