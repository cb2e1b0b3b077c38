"""Orphans: a task that looks held and is not is freed, long before its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.domain.errors import StoreUnavailable
from gateway.ports import Draft
from tests.execution.hands import SOON_S, ends, registered, slow
from tests.execution.kept import Cluster, until_killed


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
