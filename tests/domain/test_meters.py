"""Meters: buckets, names with a bound, and the time from a failure to its news."""

from __future__ import annotations

import math

import pytest

from gateway.domain.meters import DETECTED_MAX, NAMES_MAX, OTHER, Frequent, Histogram, Meters, Names


@pytest.mark.parametrize(
    ("value", "bucket"),
    [(-1.0, 0), (0.0, 0), (1.0, 0), (math.nextafter(1.0, 2.0), 1), (2.0, 1), (2.1, 2), (1e9, 2)],
)
def test_a_bound_belongs_to_its_bucket(value: float, bucket: int) -> None:
    measured = Histogram((1.0, 2.0))
    measured.observe(value, times=3)
    assert measured.cumulative() == [
        (1.0, 3 if bucket == 0 else 0),
        (2.0, 3 if bucket <= 1 else 0),
        (math.inf, 3),
    ]
    assert measured.sum == 3 * max(0.0, value)


def test_the_first_names_keep_their_own_for_ever() -> None:
    names = Names()
    own = [f"agent{number}" for number in range(NAMES_MAX)]
    assert [names.of(name) for name in own] == own
    assert names.of("one-more") == OTHER
    assert names.of("agent0") == "agent0"
    assert list(names) == own


def test_a_name_that_the_others_have_is_one_of_them() -> None:
    """Two series of one name and one label make a scrape worthless."""
    names = Names()
    assert names.of(OTHER) == OTHER
    assert list(names) == []


def test_for_one_name_more_the_least_frequent_makes_way() -> None:
    """However many names come in, those that come often stay, and the total is exact."""
    counted = Frequent()
    for name in ("often", "often", "seldom", *(f"once{n}" for n in range(3 * NAMES_MAX)), "often"):
        counted.count(name)
    assert counted.most(1) == [("often", 3)]
    assert len(counted.most(10 * NAMES_MAX)) == NAMES_MAX
    assert counted.total == 3 * NAMES_MAX + 4


def test_an_agent_that_nobody_has_registered_counts_with_the_others() -> None:
    meters = Meters()
    meters.ended("known", "failed")
    meters.ended(None, "dead_lettered")
    meters.ended(None, "dead_lettered")
    assert meters.finished == {("known", "failed"): 1, (OTHER, "dead_lettered"): 2}
    assert list(meters.agents) == ["known"]


def test_of_one_attempt_the_first_detection_counts() -> None:
    """The reporter tries again while the store is away; the user has waited since the first."""
    meters = Meters()
    meters.detected("task/1", 1, 10.0)
    meters.detected("task/1", 1, 13.0)
    meters.told("task/1", 14.0)
    assert meters.detection.sum == 4.0
    meters.told("task/1", 20.0)
    assert meters.detection.cumulative()[-1] == (math.inf, 1)


def test_a_failure_that_nobody_was_told_of_does_not_make_the_next_one_late() -> None:
    meters = Meters()
    meters.detected("task/1", 1, 10.0)
    meters.detected("task/1", 2, 100.0)
    meters.told("task/1", 101.0)
    assert meters.detection.sum == 1.0


def test_what_was_detected_is_bounded_and_the_oldest_goes() -> None:
    meters = Meters()
    for number in range(DETECTED_MAX + 1):
        meters.detected(f"task/{number}", 1, 0.0)
    meters.told("task/0", 1.0)
    meters.told("task/1", 1.0)
    assert meters.detection.cumulative()[-1] == (math.inf, 1)
