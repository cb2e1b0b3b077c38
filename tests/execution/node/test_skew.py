"""Clocks that run apart are told of: what is decided by both would be decided wrongly."""

from __future__ import annotations

import pytest

from gateway.execution.node.skew import ENTRIES, SKEW_S_MAX, SUSPECTED_S, Skew
from gateway.ports import Entry
from tests.execution.kept import Cluster, until_killed
from tests.execution.world import VirtualClock


@pytest.mark.parametrize(
    ("ahead_s", "said"),
    [(45.0, "45.0 s ahead of"), (-3.0, "3.0 s behind"), (1.0, None), (0.0, None)],
)
async def test_a_clock_that_differs_from_the_stores_is_told_of_once(
    caplog: pytest.LogCaptureFixture, ahead_s: float, said: str | None
) -> None:
    cluster = Cluster()
    clock = VirtualClock()
    clock.ahead_s = ahead_s
    node = cluster.node(clock=clock)
    async with until_killed(node.engine):
        for _ in range(150):
            await node.gateway.submit("nobody")
            await clock.sleep(0.2)
    told = [record.getMessage() for record in caplog.records if "clock" in record.getMessage()]
    assert len(told) == (said is not None)
    assert all(str(said) in message for message in told)


async def test_what_comes_late_because_it_was_missed_is_no_other_clock(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = Cluster()
    node, other = cluster.node(), cluster.node()
    async with until_killed(node.engine), until_killed(other.engine):
        node.log.behind = True
        for _ in range(150):
            await other.gateway.submit("nobody")
        await cluster.passing(60)
        node.log.behind = False
        for _ in range(150):
            await other.gateway.submit("nobody")
            await cluster.passing(0.2)
    assert "clock" not in caplog.text


def entry(at: float) -> Entry:
    """An entry that the log accepted ``at``."""
    return Entry(1, at, "s", "notification", (), False, b"{}", b"{}", None)


def arrive(skew: Skew, clock: HandClock, *, late_s: float, count: int = ENTRIES) -> None:
    """Let entries arrive, all of one age."""
    for _ in range(count):
        skew.seen(entry(clock.now - late_s))


class HandClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("late_s", [SKEW_S_MAX, SKEW_S_MAX + 0.01, -SKEW_S_MAX, -SKEW_S_MAX - 0.01])
def test_skew_is_told_over_its_bound(caplog: pytest.LogCaptureFixture, late_s: float) -> None:
    clock = HandClock()
    skew = Skew(clock)
    for _ in range(3):
        arrive(skew, clock, late_s=late_s)
        clock.now += SUSPECTED_S
    assert len(caplog.records) == (abs(late_s) > SKEW_S_MAX)


@pytest.mark.parametrize(("after_s", "told"), [(SUSPECTED_S - 0.1, 0), (SUSPECTED_S, 1)])
def test_skew_is_told_when_it_has_lasted(
    caplog: pytest.LogCaptureFixture, after_s: float, told: int
) -> None:
    clock = HandClock()
    skew = Skew(clock)
    arrive(skew, clock, late_s=9.0)
    clock.now += after_s
    arrive(skew, clock, late_s=9.0)
    assert len(caplog.records) == told


def test_entries_are_judged_by_the_youngest_of_them(caplog: pytest.LogCaptureFixture) -> None:
    """Those that were under way for long say nothing about the clocks."""
    clock = HandClock()
    skew = Skew(clock)
    for _ in range(5):
        arrive(skew, clock, late_s=60.0, count=ENTRIES - 1)
        arrive(skew, clock, late_s=0.1, count=1)
        clock.now += SUSPECTED_S
    assert caplog.records == []


def test_skew_is_told_again_after_the_clocks_have_agreed(caplog: pytest.LogCaptureFixture) -> None:
    clock = HandClock()
    skew = Skew(clock)
    for late_s, told in ((9.0, 1), (9.0, 1), (0.0, 1), (-9.0, 2)):
        for _ in range(2):
            arrive(skew, clock, late_s=late_s)
            clock.now += SUSPECTED_S
        assert len(caplog.records) == told
