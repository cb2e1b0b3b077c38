"""What a node has seen of the stream: followers, memory, gaps, and what no gateway wrote."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from gateway.domain.errors import ExpectationFailed
from gateway.ports import Draft, Entry
from gateway.stores.jetstream import view as view_module
from gateway.stores.jetstream.codec import SLOTS, pack, witness
from gateway.stores.jetstream.feed import Delivery
from gateway.stores.jetstream.stream import Bounds
from gateway.stores.jetstream.view import View
from gateway.stores.stamp import stamp
from gateway.stores.steady import Steady
from tests.stores.drafts import Clock, draft

CLOCK = Clock()
BOUNDS = Bounds(events_max=4, bytes_max=10**6, age_max_s=100.0, replicas=1)


PUBLIC = stamp(draft(), epoch="e", offset=SLOTS, at=CLOCK.now).public


def view_of(*, after: int = 0, followed_after: int = 0, **bounds: Any) -> View:
    view = View(bounds=dataclasses.replace(BOUNDS, **bounds), steady=Steady(CLOCK, at=CLOCK.now))
    view.begin(epoch="e", after=after, followed_after=followed_after)
    return view


def message(sequence: int, *drafts: Draft, id: str | None = None) -> Delivery:
    parcel = pack("S", drafts, payload_bytes_max=10**6)[0] if drafts else witness("S")
    return Delivery(sequence, CLOCK.now, parcel.subject, parcel.payload, id)


def foreign(sequence: int, subject: str = "S.task.1.a") -> Delivery:
    return Delivery(sequence, CLOCK.now, subject, b"hello", None)


# --- seeing -------------------------------------------------------------------------------------


def test_followers_are_told_of_each_entry_while_it_is_the_head() -> None:
    view = view_of()
    told: list[tuple[int, int]] = []
    view.readers.add(lambda entry: told.append((entry.offset, view.head)))
    assert view.take(message(1, draft(), draft()))
    assert view.take(message(2, draft("task/2")))
    assert told == [(15, 15), (16, 16), (32, 32)]
    assert (view.sequence, view.head, len(view.ring)) == (2, 32, 3)
    assert (view.subjects.last("task/1"), view.subjects.last("task/2")) == (16, 32)


def test_what_too_many_messages_follow_is_told_and_does_not_enter_the_ring() -> None:
    view = View(bounds=BOUNDS, steady=Steady(CLOCK, at=CLOCK.now))
    view.begin(epoch="e", after=0, followed_after=0, last=6)
    told: list[Entry] = []
    view.readers.add(told.append)
    for sequence in (1, 2, 3):
        assert view.take(message(sequence, draft()))
    assert (len(told), len(view.ring), view.floor) == (3, 1, 2 * SLOTS)
    assert view.subjects.last("task/1") == 3 * SLOTS


def test_a_message_that_comes_again_is_passed_over() -> None:
    view = view_of()
    told: list[Entry] = []
    view.readers.add(told.append)
    for sequence in (1, 2, 1, 2):
        assert view.take(message(sequence, draft()))
    assert len(told) == len(view.ring) == 2


def test_after_a_gap_nothing_is_taken() -> None:
    view = view_of()
    assert view.take(message(1, draft()))
    assert not view.take(message(3, draft()))
    assert (view.sequence, view.head) == (1, SLOTS)


def test_the_first_message_may_come_later_than_expected() -> None:
    """What was dropped before this node began is no gap."""
    view = view_of(after=5)
    assert view.take(message(8, draft()))
    assert not view.take(message(10, draft()))


def test_entries_that_the_followers_know_fill_the_memory_alone() -> None:
    view = view_of(followed_after=16)
    told: list[int] = []
    view.readers.add(lambda entry: told.append(entry.offset))
    view.take(message(1, draft(), draft()))
    view.take(message(2, draft()))
    assert told == [32]
    assert len(view.ring) == 3


def test_a_follower_that_raises_does_not_keep_an_entry_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nor from the memory; its mistake is logged."""
    view = view_of()
    told: list[Entry] = []

    def fail(_: Entry) -> None:
        raise RuntimeError("a mistake")

    view.readers.add(told.append)
    view.readers.add(fail)
    assert view.take(message(1, draft()))
    assert view.take(message(2, draft()))
    assert (len(told), len(view.ring), view.sequence) == (2, 2, 2)
    assert "a follower failed at offset 16" in caplog.text


def test_a_write_that_waits_for_its_message_learns_the_sequence() -> None:
    view = view_of()
    arrived: list[int] = []
    view.arrivals["w-1"] = arrived.append
    view.take(message(1, draft(), id="w-0"))
    view.take(message(2, draft()))
    view.take(message(3, draft(), id="w-1"))
    assert arrived == [3]


def test_a_message_without_entries_moves_the_sequence_and_not_the_head() -> None:
    view = view_of()
    view.take(message(1, draft()))
    assert view.take(message(2))
    assert (view.sequence, view.head) == (2, SLOTS)


# --- what no gateway wrote ----------------------------------------------------------------------


def test_a_foreign_message_is_counted_and_remembered_by_its_subject() -> None:
    view = view_of()
    assert view.take(foreign(1))
    assert view.take(message(2, draft()))
    assert view.take(foreign(3))
    assert view.take(foreign(4, "S.task"))
    assert (view.foreign, view.skipped) == (3, {"task/1": 3, "": 4})
    assert (view.sequence, view.head) == (4, 2 * SLOTS)


def test_of_foreign_messages_the_first_is_logged_and_few_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    view = view_of()
    for sequence in range(1, 1002):
        view.take(foreign(sequence, f"S.task.{sequence}.a"))
    assert [record.getMessage().split()[1] for record in caplog.records] == ["1", "1001"]
    assert len(view.skipped) == 1000
    assert "task/1" not in view.skipped


# --- where it begins ----------------------------------------------------------------------------


def test_nothing_seen_means_nothing_kept() -> None:
    view = view_of()
    assert (view.head, view.oldest, view.floor) == (0, 1, 0)
    late = view_of(after=5)
    assert (late.head, late.floor) == (5 * SLOTS, 5 * SLOTS)


def test_the_floor_is_where_the_memory_begins() -> None:
    view = view_of(after=1)
    for sequence in range(2, 6):
        view.take(message(sequence, draft()))
    assert view.floor == SLOTS
    view.take(message(6, draft()))
    assert view.floor == 2 * SLOTS


@pytest.mark.parametrize(("events_max", "bytes_max"), [(2, 10**6), (1000, 2 * len(PUBLIC) + 1)])
def test_the_memory_has_bounds_of_its_own(
    monkeypatch: pytest.MonkeyPatch, events_max: int, bytes_max: int
) -> None:
    """A log of a million entries is not kept by every node; the stream has what is older."""
    monkeypatch.setattr(view_module, "TAIL_EVENTS_MAX", events_max)
    monkeypatch.setattr(view_module, "TAIL_BYTES_MAX", bytes_max)
    view = view_of(events_max=1000)
    for sequence in range(1, 6):
        view.take(message(sequence, draft()))
    assert (len(view.ring), view.floor, view.oldest) == (2, 3 * SLOTS, 1)


def test_oldest_follows_the_count_before_the_server_is_asked() -> None:
    view = view_of()
    for sequence in range(1, 5):
        view.take(message(sequence, draft()))
    assert view.oldest == 1
    view.take(message(5, draft()))
    assert view.oldest == SLOTS + 1


def test_oldest_follows_what_the_server_said() -> None:
    view = view_of()
    for sequence in range(1, 4):
        view.take(message(sequence, draft()))
    view.first = 3
    assert view.oldest == 2 * SLOTS + 1
    view.first = 9  # more than this node has seen
    assert view.oldest == view.head + 1


def test_oldest_follows_the_age_of_what_is_in_memory() -> None:
    clock = Clock()
    view = View(bounds=BOUNDS, steady=Steady(clock, at=clock.now))
    view.begin(epoch="e", after=0, followed_after=0)
    view.take(message(1, draft()))
    clock.now += BOUNDS.age_max_s
    assert view.oldest == 1
    clock.now += 0.001
    assert view.oldest == SLOTS + 1


# --- beginning anew -----------------------------------------------------------------------------


async def test_beginning_anew_drops_everything_and_ends_every_wait() -> None:
    view = view_of()
    view.take(message(1, draft()))
    waiting = asyncio.ensure_future(view.wait_for(7))
    await asyncio.wait([asyncio.ensure_future(view.wait_for(1))])
    assert not waiting.done()
    view.begin(epoch="f", after=3, followed_after=0)
    await waiting
    assert (view.epoch, view.sequence, view.head, len(view.ring)) == ("f", 3, 3 * SLOTS, 0)
    assert view.subjects.last("task/1") == 0
    view.subjects.check({"task/1": 3 * SLOTS})
    with pytest.raises(ExpectationFailed):
        view.subjects.check({"task/1": 3 * SLOTS + 1})


async def test_a_wait_ends_with_its_message_and_not_before() -> None:
    view = view_of()
    waits = [asyncio.ensure_future(view.wait_for(sequence)) for sequence in (2, 1, 2)]
    cancelled = asyncio.ensure_future(view.wait_for(1))
    await asyncio.wait([asyncio.ensure_future(view.wait_for(0))])
    cancelled.cancel()
    view.take(message(1, draft()))
    await waits[1]
    assert [wait.done() for wait in waits] == [False, True, False]
    view.take(message(2, draft()))
    await asyncio.gather(*waits)
