"""The store does not answer for a while: who asks is told, and the rest is made up for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway import Task
from gateway.domain.errors import Unavailable
from tests.execution.conftest import OpenWorld
from tests.execution.world import AwayLog, World


async def away_world(open_world: OpenWorld) -> tuple[World, AwayLog]:
    logs: list[AwayLog] = []

    def wrap(log: object) -> AwayLog:
        logs.append(AwayLog(log))  # type: ignore[arg-type]
        return logs[0]

    return await open_world(wrap=wrap), logs[0]


async def test_who_asks_while_it_is_away_is_told_to_come_back(open_world: OpenWorld) -> None:
    here, log = await away_world(open_world)
    log.away = True
    with pytest.raises(Unavailable) as refused:
        await here.submit("nobody")
    assert refused.value.retry_after
    log.away = False
    assert len(here.said("task_submitted")) == 0
    await here.submit("nobody")


async def test_a_task_that_could_not_be_started_is_started_later(open_world: OpenWorld) -> None:
    """And the worker of this process goes on."""
    here, log = await away_world(open_world)

    @here.gateway.agent("echo")
    async def echo(task: Task) -> str:
        return "done"

    first = await here.submit("echo")
    log.away = True
    await here.passing(10)
    log.away = False
    second = await here.submit("echo")
    assert (await here.done(first)).result == "done"
    assert (await here.done(second)).result == "done"


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


async def test_a_deadline_that_passed_meanwhile_ends_the_task_when_it_is_back(
    open_world: OpenWorld,
) -> None:
    here, log = await away_world(open_world)
    task_id = await here.submit("nobody", timeout=10.0)
    log.away = True
    await here.passing(20)
    log.away = False
    await here.passing(20)
    assert here.state.tasks[task_id].status == "failed"


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


async def test_one_that_goes_away_again_before_that_is_recorded_was_away_all_the_time(
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
