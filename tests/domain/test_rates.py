"""Buckets: what they let through, what they say about the rest, and what they keep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.rates import Buckets, wait_told


def test_a_burst_passes_and_then_one_for_each_interval() -> None:
    buckets = Buckets(rate=10, burst=3)
    assert [buckets.take("ann", 100.0) for _ in range(3)] == [0, 0, 0]
    assert round(buckets.take("ann", 100.0), 6) == 0.1
    # What is refused costs nothing.
    assert round(buckets.take("ann", 100.05), 6) == 0.05
    assert buckets.take("ann", 100.1) == 0
    assert buckets.take("ann", 100.1) > 0
    # A bucket holds no more than its burst, however long nobody asks.
    assert [buckets.take("ann", 900.0) > 0 for _ in range(4)] == [False, False, False, True]


def test_each_key_has_its_own() -> None:
    buckets = Buckets(rate=1, burst=1)
    assert buckets.take("ann", 0.0) == 0
    assert buckets.take("ann", 0.0) > 0
    assert buckets.take("bob", 0.0) == 0


def test_a_bucket_that_is_full_again_is_forgotten() -> None:
    """A client can name any number of keys; none of them stays."""
    buckets = Buckets(rate=1000, burst=2000)
    for number in range(10_000):
        assert buckets.take(f"u{number}", 50.0 + number / 1000) == 0
        # Those of two bursts at the most: each began to fill within the last.
        assert len(buckets) <= 2 * 2000 + 1
    buckets.take("last", 100.0)
    assert len(buckets) == 1


@given(
    rate=st.sampled_from([0.5, 3, 1000]),
    burst=st.integers(1, 50),
    pauses=st.lists(st.floats(0, 0.5), min_size=1, max_size=200),
)
def test_no_schedule_gets_more_than_the_burst_and_the_rate(
    rate: float, burst: int, pauses: list[float]
) -> None:
    buckets = Buckets(rate=rate, burst=burst)
    now, taken = 1000.0, 0
    for pause in pauses:
        now += pause
        wait_s = buckets.take("ann", now)
        taken += wait_s == 0
        assert taken <= burst + rate * (now - 1000.0) + 0.01
        if wait_s:
            # The time that is told is when there is one, and no earlier.
            assert buckets.take("ann", now + wait_s * 0.9) > 0
            assert buckets.take("ann", now + wait_s) == 0
            now, taken = now + wait_s, taken + 1


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.0, 0.0), (1e-10, 0.0), (0.0001, 0.001), (0.0012, 0.002), (0.07, 0.07), (30.0, 30.0)],
)
def test_a_wait_is_told_no_shorter_than_it_is(seconds: float, told: float) -> None:
    """A request after what was told would be refused again."""
    assert wait_told(seconds) == told


def test_what_has_several_tokens_takes_them_together_and_more_than_all_takes_all() -> None:
    buckets = Buckets(rate=100, burst=1000)
    assert buckets.take("ann", 0.0, 600) == 0
    assert round(buckets.take("ann", 0.0, 500), 6) == 1.0
    assert buckets.take("ann", 1.0, 500) == 0
    assert buckets.take("ann", 2.0, 5000) > 8
    assert buckets.take("ann", 11.0, 5000) == 0
    assert buckets.take("bob", 11.0, 5000) == 0


def test_what_is_charged_is_owed_and_no_more_than_a_burst_of_it() -> None:
    buckets = Buckets(rate=100, burst=1000)
    buckets.charge("ann", 0.0, 900)
    assert buckets.wait_s("ann", 0.0) == 0
    buckets.charge("ann", 0.0, 600)
    assert round(buckets.wait_s("ann", 0.0), 6) == 5.0
    assert buckets.wait_s("ann", 5.0) == 0
    buckets.charge("ann", 5.0, 10**9)
    assert round(buckets.wait_s("ann", 5.0), 6) == 10.0
    assert buckets.wait_s("bob", 5.0) == 0
    # What is owed is no longer kept than it takes to make up for it.
    buckets.charge("bob", 40.0, 1)
    assert len(buckets) == 1


def test_a_bucket_tells_how_full_it_is() -> None:
    buckets = Buckets(rate=10, burst=100)
    assert buckets.left("ann", 0.0) == 1.0
    buckets.take("ann", 0.0, 60)
    assert buckets.left("ann", 0.0) == pytest.approx(0.4)
    assert buckets.left("ann", 3.0) == pytest.approx(0.7)
    assert buckets.left("ann", 60.0) == 1.0
    buckets.charge("ann", 60.0, 150)
    assert buckets.left("ann", 60.0) == pytest.approx(-0.5)
