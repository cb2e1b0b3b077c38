"""Orphans: a task that looks held and is not is freed, long before its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.execution.guards.breakers import Admission
from gateway.ports import Draft
from tests.execution.hands import SOON_S, ends, hand, registered, slow
from tests.execution.kept import Cluster, until_killed
from tests.execution.world import World


async def test_after_a_hole_in_the_log_a_task_that_ran_here_is_begun_again() -> None:
    cluster = Cluster()
    node = cluster.node(slow(cluster, seconds=5))
    async with until_killed(node.engine):
        await cluster.passing(1)
        await node.gateway.submit("slow")
        await cluster.passing(1)
        node.log.begin_anew()
        await cluster.passing(SOON_S)
        assert ends(cluster) == [("succeeded", None)]
        assert cluster.said("agent_error") == []


async def test_a_block_of_a_node_that_was_killed_ends() -> None:
    """Also where the node had no agents of its own to be known by."""
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):

        async def block() -> None:
            async with node.gateway.attempt("search", user_id="ann"):
                await cluster.passing(10_000)

        running = asyncio.ensure_future(block())
        await cluster.passing(5)
        node.log.away = True
    # Nothing of a process that was killed goes on: not its block, nor the telling of its end.
    for _ in range(2):
        running.cancel()
        await cluster.passing(0.1)
    other = cluster.node()
    async with until_killed(other.engine):
        await cluster.passing(SOON_S)
        ((outcome, _),) = ends(cluster)
        assert outcome in ("failed", "dead_lettered")


async def test_a_task_that_could_not_be_taken_from_a_dead_node_is_taken_later() -> None:
    """The store was away whenever its silence was looked at."""
    cluster = Cluster()
    dead = cluster.node(slow(cluster, seconds=900))
    async with until_killed(dead.engine):
        await cluster.passing(1)
        await dead.gateway.submit("slow", timeout=2000.0)
        await cluster.passing(1)
    node = cluster.node(slow(cluster, seconds=1))

    async def refuse(drafts: Sequence[Draft]) -> None:
        if any(draft.type == "agent_error" for draft in drafts):
            raise StoreUnavailable("it did not answer in time", in_doubt=True)

    async with until_killed(node.engine):
        await cluster.passing(3)
        node.log.before = refuse
        await cluster.passing(20)
        node.log.before = None
        await cluster.passing(SOON_S)
        assert ends(cluster) == [("succeeded", None)]


async def test_a_claim_over_http_is_lost_when_its_lease_ends_and_not_before() -> None:
    """Though its worker has been offline for long: it may be busy, and has promised nothing."""
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        caller, proof = await registered(node)
        await node.gateway.submit("writer", timeout=3000.0)
        await node.engine.call("task.claim", {**proof, "lease_ttl": 120}, caller)
        await cluster.passing(119)
        assert node.state.workers[proof["agent_id"]].status == "offline"
        assert cluster.said("agent_error") == []
        await cluster.passing(2)
        (lost,) = cluster.said("agent_error")
        assert lost["error_code"] == "lease_expired"


# --- what is not there ---------------------------------------------------------------------------


@pytest.mark.parametrize("reserved", [False, True])
async def test_a_task_of_a_node_that_was_never_registered_is_freed_when_it_would_be_known(
    reserved: bool,
) -> None:
    """A node may hold its first task before the others know it, though not for long."""
    cluster = Cluster(offline_after=15.0)
    node = cluster.node()
    async with until_killed(node.engine):
        parts = node.engine.parts
        order = parts.acceptance.order(
            "writer",
            input=None,
            user_id="ann",
            timeout=1000.0,
            reserved_for="unknown-node" if reserved else None,
        )
        task = await parts.acceptance.submit(order)
        if not reserved:
            way = Admission("writer", 0)
            await parts.lifecycle.start(task.task_id, holder="unknown-node", limit_s=900.0, way=way)
        await parts.reactions._orphans.free()
        await cluster.passing(14.9)
        await parts.reactions._orphans.free()
        assert cluster.said("agent_error") == []
        await cluster.passing(0.2)
        await parts.reactions._orphans.free()
        (lost,) = cluster.said("agent_error")
        assert (lost["error_type"], lost["error_code"]) == ("agent_lost", "heartbeat_lost")
        assert node.state.tasks[task.task_id].live is not reserved


async def test_a_task_that_this_process_holds_and_does_not_do_is_given_back() -> None:
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        parts = node.engine.parts
        task_id = (await node.gateway.submit("writer", timeout=1000.0)).task_id
        way = Admission("writer", 0)
        await parts.lifecycle.start(task_id, holder=parts.runner.holder, limit_s=900.0, way=way)
        await parts.reactions._orphans.free()
        task = node.state.tasks[task_id]
        assert (task.status, task.holder) == ("pending", None)
        assert cluster.said("agent_error") == []


async def test_a_task_of_a_healthy_worker_is_left_alone() -> None:
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        caller, proof = await registered(node, "s")
        await node.gateway.submit("writer", timeout=1000.0)
        await node.engine.call("task.claim", proof, caller)
        before = len(cluster.entries)
        await node.engine.parts.reactions._orphans.free()
        assert len(cluster.entries) == before


# --- beginnings that turn up ---------------------------------------------------------------------


@pytest.mark.parametrize(("term", "undone"), [(1, False), (2, True), (3, False)])
async def test_only_the_beginning_that_turned_up_is_undone(
    here: World, term: int, undone: bool
) -> None:
    """Under a later term the task has another holder."""
    worker = await hand(here)
    task_id = await here.submit("writer")
    await worker.claim()
    await worker.tell("task.release")
    await worker.claim()
    await here.engine.parts.reactions._orphans.undo(task_id, term)
    assert (here.state.tasks[task_id].holder is None) is undone
    await here.engine.parts.reactions._orphans.undo("unknown", term)
    if undone:
        await worker.claim()
    await worker.tell("task.complete", result=1)
