"""What a process counts of tasks: their ends, failures as they are noticed, refused reports."""

from __future__ import annotations

import pytest

from gateway import Task
from gateway.domain.agent import AgentPolicy
from gateway.domain.error_codes import failure_with
from gateway.domain.errors import Conflict, StaleTerm
from gateway.domain.meters import OTHER, Meters
from gateway.domain.own_failures import cancelled
from gateway.domain.recovery import Next
from gateway.errors import RateLimited
from tests.execution.conftest import OpenWorld
from tests.execution.record.room import Room
from tests.execution.world import World, another_node, away_world

SEARCH = AgentPolicy("search", max_attempts=2)
DOWN = failure_with("upstream_unavailable")


def noticed(meters: Meters) -> list[tuple[int, float]]:
    """Term and time of what was noticed, and is not told yet."""
    return list(meters._detected.values())


async def test_each_end_counts_once_by_agent_and_outcome() -> None:
    room = Room(SEARCH)
    life = room.lifecycle
    done, lost, late = await room.running(), await room.running(), await room.task()
    await life.succeed(done.task_id, 1, "done")
    await life.fail(lost.task_id, 1, DOWN, cause="exception")
    assert room.meters.finished == {("search", "succeeded"): 1}
    room.clock.now += 60
    await room.start(lost)
    await life.fail(lost.task_id, 2, DOWN, cause="exception")
    await life.end(late.task_id, cancelled("user"), cause="cancelled", after=Next("cancelled"))
    with pytest.raises(Conflict):
        await life.end(late.task_id, cancelled("user"), cause="cancelled", after=Next("cancelled"))
    await life.cleaned(done.task_id, 1, resources=["locks"], memory_freed=0, leftovers=[])
    assert room.meters.finished == {
        ("search", "succeeded"): 1,
        ("search", "dead_lettered"): 1,
        ("search", "cancelled"): 1,
    }


async def test_a_name_that_nobody_has_registered_makes_no_series() -> None:
    room = Room(SEARCH)
    for task in (await room.task("made-up"), await room.task(None, capability="draw")):
        await room.lifecycle.give_up(task.task_id, cancelled("user"))
    assert room.meters.finished == {(OTHER, "cancelled"): 2}


async def test_of_several_nodes_the_one_that_ends_a_task_counts_it(here: World) -> None:
    """The counts of all nodes can be added up."""
    async with another_node(here) as there:
        task_id = await here.submit("nobody", timeout=10.0)
        await there.call("task.cancel", task_id=task_id)
        assert not here.state.tasks[task_id].live
        await here.passing(30)
        counts = [sum(node.engine.meters.finished.values()) for node in (here, there)]
        assert counts == [0, 1]


async def test_a_report_under_an_old_term_counts_wherever_it_is_refused() -> None:
    room = Room(SEARCH)
    task = await room.running()
    with pytest.raises(StaleTerm):
        await room.lifecycle.succeed(task.task_id, 2, "late")
    with pytest.raises(StaleTerm):
        await room.lifecycle.cleaned(task.task_id, 7, resources=[], memory_freed=0, leftovers=[])
    assert room.meters.stale_terms == 2


async def test_a_failure_is_noticed_when_it_is_decided_at_the_latest() -> None:
    room = Room(SEARCH)
    task = await room.running()
    with pytest.raises(StaleTerm):
        await room.lifecycle.fail(task.task_id, 3, DOWN, cause="exception")
    assert noticed(room.meters) == []
    await room.lifecycle.fail(task.task_id, 1, DOWN, cause="exception")
    assert noticed(room.meters) == [(1, room.clock.now)]


async def test_the_wait_for_a_store_that_is_away_counts_from_the_moment_that_the_agent_raised(
    open_world: OpenWorld,
) -> None:
    """A failure that nobody can be told of is the silence that is to be measured."""
    here, log = await away_world(open_world)

    @here.gateway.agent("failing", max_attempts=1)
    async def failing(task: Task) -> None:
        log.away = True
        task.append("what is told before the failure, and waits for the store")
        await here.passing(1)
        raise RateLimited("no")

    task_id = await here.submit("failing")
    await here.until(lambda: log.away)
    raised_at = here.engine.clock.monotonic() + 1
    await here.passing(20)
    log.away = False
    await here.done(task_id)
    ((term, at),) = noticed(here.engine.meters)
    assert term == 1
    assert at == pytest.approx(raised_at, abs=0.1)


async def test_an_agent_over_its_limit_is_noticed_at_its_limit(here: World) -> None:
    @here.gateway.agent("slow", timeout=5.0, max_attempts=1)
    async def slow(task: Task) -> None:
        await here.passing(100)

    began_at = here.engine.clock.monotonic()
    await here.run("slow")
    ((_, at),) = noticed(here.engine.meters)
    assert at == pytest.approx(began_at + 5.0, abs=0.1)
