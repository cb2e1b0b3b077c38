"""A clock that is set, or runs apart from the log's time, is told of, and moves nothing."""

from __future__ import annotations

import pytest

from gateway.execution.node.skew import LOOK_S, SKEW_S_MAX, STEP_S, Skew
from tests.execution.kept import Cluster, until_killed
from tests.execution.world import VirtualClock, world
from tests.stores.drafts import Clock


@pytest.mark.parametrize(
    ("ahead_s", "said"), [(45.0, "45.0 s behind"), (-3.0, "3.0 s ahead of"), (1.0, None)]
)
async def test_a_clock_that_differs_from_the_logs_is_told_of_once(
    caplog: pytest.LogCaptureFixture, ahead_s: float, said: str | None
) -> None:
    cluster = Cluster()
    clock = VirtualClock()
    clock.ahead_s = ahead_s
    node = cluster.node(clock=clock)
    async with until_killed(node.engine):
        await cluster.passing(3 * LOOK_S)
        doubt = node.engine.doubt
    told = [record.getMessage() for record in caplog.records if "clock" in record.getMessage()]
    assert told == [] if said is None else [doubt]
    assert str(said) in str(doubt)


async def test_what_comes_late_because_it_was_missed_is_no_other_clock(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = Cluster()
    node, other = cluster.node(), cluster.node()
    async with until_killed(node.engine), until_killed(other.engine):
        node.log.behind = True
        for _ in range(20):
            await other.gateway.submit("nobody")
        await cluster.passing(60)
        node.log.behind = False
        for _ in range(20):
            await other.gateway.submit("nobody")
            await cluster.passing(1)
    assert "clock" not in caplog.text


async def test_a_step_is_logged_within_a_look(caplog: pytest.LogCaptureFixture) -> None:
    async with world() as here:
        clock = here.engine.clock
        assert isinstance(clock, VirtualClock)
        await here.passing(LOOK_S)
        clock.ahead_s = -3600.0
        await here.passing(LOOK_S + 1)
        clock.ahead_s = 0.0
        await here.passing(LOOK_S + 1)
        assert here.engine.doubt is None
    told = [record.getMessage() for record in caplog.records if "clock" in record.getMessage()]
    assert [line[:47] for line in told if line.startswith("this machine")] == [
        "this machine's clock was set back by 3600.0 s; ",
        "this machine's clock was set forward by 3600.0 ",
    ]
    assert len(told) == 3  # and the difference, while there is one


@pytest.mark.parametrize("set_s", [STEP_S, -STEP_S, STEP_S + 0.01, -STEP_S - 0.01])
def test_a_step_is_told_over_its_bound(caplog: pytest.LogCaptureFixture, set_s: float) -> None:
    machine = Clock()
    skew = Skew(machine, Clock())
    skew.look()
    machine.set_s = set_s
    skew.look()
    skew.look()
    assert len(caplog.records) == (abs(set_s) > STEP_S)


@pytest.mark.parametrize("set_s", [SKEW_S_MAX, -SKEW_S_MAX, SKEW_S_MAX + 0.1, -SKEW_S_MAX - 0.1])
def test_skew_is_told_over_its_bound_and_again_after_the_clocks_have_agreed(
    caplog: pytest.LogCaptureFixture, set_s: float
) -> None:
    machine, log = Clock(), Clock()
    skew = Skew(machine, log)
    for times in (1, 2):
        log.set_s = set_s
        skew.look()
        skew.look()
        assert len(caplog.records) == times * (abs(set_s) > SKEW_S_MAX)
        log.set_s = 0.0
        skew.look()
