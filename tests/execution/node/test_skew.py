"""Clocks that run apart are told of: what is decided by both would be decided wrongly."""

from __future__ import annotations

import pytest

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
