"""The runner: this process takes tasks for its own agents, and goes on whatever happens."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import pytest

from gateway import Gateway, Task
from gateway.domain.errors import StoreUnavailable
from gateway.domain.own_failures import agent_lost
from gateway.execution.guards.breakers import Admission
from gateway.ports import Draft
from tests.execution.conftest import OpenWorld
from tests.execution.hands import ends, slow
from tests.execution.kept import Cluster, until_killed
from tests.execution.world import World, away_world


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


async def test_a_start_that_the_store_did_not_take_is_tried_again() -> None:
    """Though nothing else happens, and the store was never told to be away."""
    cluster = Cluster()
    node = cluster.node(slow(cluster, seconds=1))
    refusals = [StoreUnavailable("insufficient resources")]

    async def refuse_once(drafts: Sequence[Draft]) -> None:
        if drafts[-1].type == "task_started" and refusals:
            raise refusals.pop()

    async with until_killed(node.engine):
        await cluster.passing(1)
        node.log.before = refuse_once
        await node.gateway.submit("slow")
        await cluster.passing(5)
        assert ends(cluster) == [("succeeded", None)]


async def test_a_node_that_stood_still_makes_no_attempt_under_anothers_term() -> None:
    """When it learns that its start was taken, the task has been taken from it."""
    cluster = Cluster()
    made: list[int] = []

    def declare(gateway: Gateway) -> None:
        @gateway.agent("writer", timeout=100.0)
        async def write(task: Task) -> str:
            made.append(task.attempt)
            return "by the first"

    node = cluster.node(declare)
    first = [True]

    async def taken(drafts: Sequence[Draft]) -> None:
        if drafts[-1].type == "task_started" and first:
            first.clear()
            task_id = orjson.loads(drafts[-1].body)["task_id"]
            lost = agent_lost("heartbeat_lost")
            lifecycle = node.engine.parts.lifecycle
            await lifecycle.fail(task_id, 1, lost, cause="agent_lost")
            await lifecycle.start(
                task_id,
                holder="another",
                limit_s=100.0,
                way=Admission("writer", 0),
                lease_ttl_s=1000.0,
            )

    node.log.after = taken
    async with until_killed(node.engine):
        task_id = (await node.gateway.submit("writer")).task_id
        await cluster.passing(5)
        assert made == []
        assert node.state.tasks[task_id].holder == "another"


# --- slots ---------------------------------------------------------------------------------------


@pytest.mark.requirement("WEFT-W20")
@pytest.mark.parametrize("slots", [1, 2, 5])
async def test_as_many_attempts_run_at_once_as_there_are_slots(
    open_world: OpenWorld, slots: int
) -> None:
    here = await open_world(workers=slots)

    @here.gateway.agent("slow", timeout=100.0)
    async def slow(task: Task) -> None:
        await here.passing(10)

    runner = here.engine.parts.runner
    ids = [await here.submit("slow") for _ in range(6)]
    await here.passing(1)
    assert runner.busy == slots
    assert [runner.has(task_id) for task_id in ids] == [True] * slots + [False] * (6 - slots)
    for task_id in ids:
        await here.done(task_id)
    assert runner.busy == 0


async def test_a_paused_runner_takes_nothing_new_and_ends_what_it_has(here: World) -> None:
    @here.gateway.agent("slow", timeout=100.0)
    async def slow(task: Task) -> None:
        await here.passing(10)

    first = await here.submit("slow")
    await here.passing(1)
    here.engine.parts.runner.pause()
    second = await here.submit("slow")
    await here.done(first)
    await here.passing(10)
    assert here.state.tasks[second].status == "pending"
    await here.call("task.cancel", task_id=second)


async def test_tasks_of_other_agents_are_left_to_workers(here: World) -> None:
    @here.gateway.agent("mine")
    async def mine(task: Task) -> None:
        pass

    other = await here.submit("writer")
    await here.run("mine")
    assert here.state.tasks[other].status == "pending"
    await here.call("task.cancel", task_id=other)


# --- mistakes of our own -------------------------------------------------------------------------
