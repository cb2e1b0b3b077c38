"""The store does not answer for a while: callers are told, and the rest is made up for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway import Task
from gateway.domain.errors import Unavailable
from tests.execution.conftest import OpenWorld
from tests.execution.world import World, away_world


async def test_a_caller_is_told_to_come_back_while_the_store_is_away(open_world: OpenWorld) -> None:
    here, log = await away_world(open_world)
    log.away = True
    with pytest.raises(Unavailable) as refused:
        await here.submit("nobody")
    assert refused.value.retry_after
    log.away = False
    assert len(here.said("task_submitted")) == 0
    await here.submit("nobody")


async def test_a_result_that_the_store_did_not_take_is_told_when_it_is_back(
    open_world: OpenWorld,
) -> None:
    here, log = await away_world(open_world)

    @here.gateway.agent("slow")
    async def slow(task: Task) -> str:
        await here.passing(5)
        return "done"

    task_id = await here.submit("slow")
    await here.passing(1)
    log.away = True
    await here.passing(9)
    log.away = False
    assert (await here.done(task_id)).result == "done"


def told_now(here: World) -> Mapping[str, object] | None:
    return here.engine.degradation


async def test_what_is_told_while_it_is_away_is_recorded_when_it_is_back(
    open_world: OpenWorld,
) -> None:
    """Nothing can be recorded meanwhile, so whoever is connected is told without an event."""
    here, log = await away_world(open_world)
    log.away = True
    told = told_now(here)
    assert told is not None
    await here.passing(5)
    assert told_now(here) is told
    assert here.said("graceful_degradation") == []
    log.away = False
    assert told_now(here) is None
    await here.passing(1)
    (degraded,) = here.said("graceful_degradation")
    (recovered,) = here.said("system_recovered")
    assert {name: degraded[name] for name in told if name != "user_message"} == {
        name: value for name, value in told.items() if name != "user_message"
    }
    assert recovered["degradation_id"] == told["degradation_id"]
    assert recovered["recovery_time"] == 5.0


async def test_a_store_that_goes_away_again_before_it_is_recorded_was_away_all_the_time(
    open_world: OpenWorld,
) -> None:
    here, log = await away_world(open_world)
    log.away = True
    told = told_now(here)
    log.away = False
    log.away = True
    await here.passing(5)
    assert told_now(here) is told
    log.away = False
    await here.passing(1)
    assert [event["recovery_time"] for event in here.said("system_recovered")] == [5.0]
