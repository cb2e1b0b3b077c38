"""The store does not answer for a while: callers are told, and the rest is made up for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway import Task
from gateway.domain.errors import Unavailable
from tests.execution.conftest import OpenWorld
from tests.execution.kept import Cluster, until_killed
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
    """Nothing can be recorded meanwhile, so every connection is told without an event."""
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


async def test_what_is_degraded_says_what_still_works(open_world: OpenWorld) -> None:
    here, log = await away_world(open_world)
    assert told_now(here) is None
    log.away = True
    told = told_now(here)
    assert told is not None
    assert (told["scope"], told["mode"]) == ("store", "store_away")
    assert told["available_features"] == ["live_events", "reading"]
    assert told["disabled_features"] == ["new_tasks", "recording"]
    assert told["user_message"]
    log.away = False


async def test_two_absences_are_two_degradations(open_world: OpenWorld) -> None:
    here, log = await away_world(open_world)
    for _ in range(2):
        log.away = True
        await here.passing(3)
        log.away = False
        await here.passing(1)
    degraded = here.said("graceful_degradation")
    recovered = here.said("system_recovered")
    ids = [event["degradation_id"] for event in degraded]
    assert len(set(ids)) == 2
    assert ids == [event["degradation_id"] for event in recovered]
    assert [event["error_id"] for event in degraded] == [event["error_id"] for event in recovered]
    assert {event["user_id"] for event in degraded + recovered} == {"*"}


async def test_an_absence_that_another_node_has_recorded_is_not_recorded_again() -> None:
    cluster = Cluster()
    one, two = cluster.node(), cluster.node()
    async with until_killed(one.engine), until_killed(two.engine):
        one.log.away = two.log.away = True
        await cluster.passing(5)
        one.log.away = False
        await cluster.passing(1)
        two.log.away = False
        await cluster.passing(1)
        assert not two.engine.parts.absences.over
    assert len(cluster.said("system_recovered", scope="store")) == 1


async def test_an_absence_is_dropped_when_the_log_is_read_anew() -> None:
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        absences = node.engine.parts.absences
        node.log.away = True
        assert absences.degradation is not None
        absences.forget()
        node.log.away = False
        await cluster.passing(1)
        assert not absences.over
    assert cluster.said("graceful_degradation") == []
