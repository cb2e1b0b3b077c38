"""The kept part of a log in memory: its three bounds, its index by topic, and what it costs."""

from __future__ import annotations

from typing import Any

from gateway.ports import Entry
from gateway.stores.ring import Ring, _Offsets
from gateway.stores.stamp import stamp
from tests.stores.drafts import draft


def ring(*, events_max: int = 100, bytes_max: int = 10**6, age_max_s: float = 1000.0) -> Ring:
    return Ring(events_max=events_max, bytes_max=bytes_max, age_max_s=age_max_s)


def entry(offset: int, *topics: str, at: float = 0.0, size: int = 0) -> Entry:
    return stamp(draft("x/1", *topics, size=size), epoch="e", offset=offset, at=at)


def offsets(ring: Ring, **options: Any) -> list[int]:
    given = {
        "after": 0,
        "topics": None,
        "limit": 100,
        "until": 10**6,
        "size_max": None,
        **options,
    }
    return [entry.offset for entry in ring.read(**given)]


def test_an_empty_ring_has_no_oldest_entry() -> None:
    empty = ring()
    empty.trim(10**9)
    assert (len(empty), empty.size, empty.oldest, empty.dropped, empty.aged) == (0, 0, None, 0, 0)
    assert offsets(empty) == offsets(empty, topics=["a"]) == []


# --- bounds -------------------------------------------------------------------------------------


def test_at_the_bound_by_count_all_stay_and_one_over_it_the_oldest_goes() -> None:
    kept = ring(events_max=3)
    for offset in (16, 32, 48):
        kept.add(entry(offset))
    assert (offsets(kept), kept.oldest, kept.dropped) == ([16, 32, 48], 16, 0)
    kept.add(entry(64))
    assert (offsets(kept), kept.oldest, kept.dropped, kept.aged) == ([32, 48, 64], 32, 16, 0)


def test_an_entry_that_is_passed_over_counts_as_dropped_and_as_aged_if_it_is_too_old() -> None:
    kept = ring(age_max_s=10.0)
    kept.pass_over(entry(16, at=1.0), now=20.0)
    kept.pass_over(entry(32, at=15.0), now=20.0)
    kept.add(entry(48, at=15.0))
    assert (offsets(kept), kept.oldest, kept.dropped, kept.aged) == ([48], 48, 32, 16)


def test_at_the_bound_by_bytes_all_stay_and_one_byte_over_it_the_oldest_goes() -> None:
    size = entry(1).size
    kept = ring(bytes_max=3 * size)
    for offset in (1, 2, 3):
        kept.add(entry(offset))
    assert (len(kept), kept.size) == (3, 3 * size)
    exact = ring(bytes_max=3 * size)
    for offset in (1, 2, 3):
        exact.add(entry(offset, size=int(offset == 3)))
    assert (offsets(exact), exact.size) == ([2, 3], 2 * size + 1)


def test_an_entry_that_alone_is_over_the_bytes_stays_until_the_next_one() -> None:
    kept = ring(bytes_max=10)
    kept.add(entry(1))
    assert offsets(kept) == [1]
    kept.add(entry(2))
    assert offsets(kept) == [2]


def test_an_entry_goes_after_its_time_and_not_at_it() -> None:
    kept = ring(age_max_s=100.0)
    kept.add(entry(1, at=1000.0))
    kept.add(entry(2, at=1001.0))
    kept.trim(1100.0)
    assert offsets(kept) == [1, 2]
    kept.trim(1100.5)
    assert (offsets(kept), kept.dropped, kept.aged) == ([2], 1, 1)
    kept.trim(10_000.0)
    assert (len(kept), kept.size, kept.oldest, kept.aged) == (0, 0, None, 2)


# --- reading ------------------------------------------------------------------------------------


def test_topics_are_merged_in_order_and_each_entry_is_given_once() -> None:
    kept = ring()
    for offset, topics in enumerate([("a",), ("b",), ("a", "b"), (), ("c",)], 1):
        kept.add(entry(offset, *topics))
    assert offsets(kept, topics=["b", "a", "a"]) == [1, 2, 3]
    assert offsets(kept, topics=["c", "unknown"]) == [5]
    assert offsets(kept, topics=[]) == []
    assert offsets(kept, after=1, topics=["a", "b"], limit=1) == [2]
    assert offsets(kept, after=1, until=3) == [2, 3]
    assert offsets(kept, limit=0) == []


def test_so_many_bytes_are_given_yet_always_one_entry() -> None:
    kept = ring()
    for offset in (1, 2, 3):
        kept.add(entry(offset))
    size = len(entry(1).public)
    assert offsets(kept, size_max=0) == [1]
    assert offsets(kept, size_max=2 * size - 1) == [1]
    assert offsets(kept, size_max=2 * size) == [1, 2]


# --- what it costs ------------------------------------------------------------------------------


def test_an_index_forgets_what_was_dropped() -> None:
    """Dropping the oldest costs constant time, and memory does not grow with what is gone."""
    index = _Offsets()
    for number in range(10_000):
        index.cells.append(number)
        if len(index) > 10:
            index.drop_first()
    assert list(index.after(0, 10_000)) == list(range(9990, 10_000))
    assert len(index.cells) < 3000


def test_a_ring_that_turned_often_is_no_larger() -> None:
    """A topic without a kept entry costs nothing."""
    kept = ring(events_max=10, age_max_s=10**9)
    for offset in range(1, 5001):
        kept.add(entry(offset, f"task:{offset}", "all", at=float(offset)))
    assert len(kept) == 10
    assert set(kept._by_topic) == {"all", *(f"task:{number}" for number in range(4991, 5001))}
    assert kept.oldest == 4991
