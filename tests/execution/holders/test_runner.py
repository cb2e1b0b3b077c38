"""The runner: this process takes tasks for its own agents, and goes on whatever happens."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from gateway import Gateway, Task
from gateway.domain.errors import StoreUnavailable
from gateway.domain.own_failures import agent_lost
from gateway.execution.guards.breakers import Admission
from gateway.ports import Draft
from tests.execution.conftest import OpenWorld
from tests.execution.hands import ends, slow
from tests.execution.kept import Cluster, until_killed
from tests.execution.world import away_world


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
