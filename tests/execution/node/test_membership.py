"""Membership: this process as a worker among the others on its log."""

from __future__ import annotations

import contextlib

from gateway.domain.access import LOCAL_OPERATOR
from gateway.domain.errors import AttemptOver
from tests.execution.hands import SOON_S, ends, slow
from tests.execution.kept import Cluster, until_killed


async def test_a_node_that_was_removed_comes_back() -> None:
    """It lives, and goes on to do tasks."""
    cluster = Cluster()
    node = cluster.node(slow(cluster, seconds=1))
    async with until_killed(node.engine):
        await cluster.passing(1)
        holder = node.engine.parts.runner.holder
        await node.engine.call("agent.remove", {"agent_id": holder}, LOCAL_OPERATOR)
        await cluster.passing(10)
        assert not node.state.workers[holder].removed


async def test_a_node_without_agents_is_not_listed_until_it_runs_a_block() -> None:
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        await cluster.passing(10)
        assert node.state.workers == {}
        async with node.gateway.attempt("search"):
            await cluster.passing(3)
        (worker,) = node.state.workers.values()
        assert (worker.handle, worker.type) == ("gateway", "node")


async def test_a_node_with_agents_is_a_worker_for_them_and_stays_well() -> None:
    cluster = Cluster()
    node = cluster.node(slow(cluster, seconds=1, timeout=77.0))
    async with until_killed(node.engine):
        await cluster.passing(30)
        (worker,) = node.state.workers.values()
        assert worker.agent_id == node.engine.parts.runner.holder
        assert [(name, policy.timeout_s) for name, policy in worker.agents.items()] == [
            ("slow", 77.0)
        ]
        assert (worker.status, worker.by_socket) == ("healthy", True)
        assert cluster.said("agent_status_changed") == []


async def test_a_node_that_leaves_gives_its_tasks_back_and_ends_those_of_its_blocks() -> None:
    cluster = Cluster()
    node = cluster.node(slow(cluster, seconds=500))
    membership = node.engine.parts.membership
    assert membership is not None
    async with until_killed(node.engine):
        await cluster.passing(1)
        task_id = (await node.gateway.submit("slow", timeout=3000.0)).task_id
        await cluster.passing(1)
        node.engine.parts.runner.pause()
        with contextlib.suppress(AttemptOver):
            async with node.gateway.attempt("search") as task:
                await membership.leave()
                assert ends(cluster) == [("failed", "shutdown")]
                task.append("more")
        assert node.state.tasks[task_id].status == "pending"
        assert cluster.said("agent_error", task_id=task_id) == []
        # It beats no more, and is not registered again, until it begins anew.
        await membership.beat()
        holder = node.engine.parts.runner.holder
        assert node.state.workers[holder].removed
        membership.begin()
        await membership.beat()
        assert not node.state.workers[holder].removed


async def test_the_tasks_of_a_node_that_was_killed_go_on_elsewhere() -> None:
    cluster = Cluster()
    dead = cluster.node(slow(cluster, seconds=900))
    async with until_killed(dead.engine):
        await cluster.passing(1)
        await dead.gateway.submit("slow", timeout=2000.0)
        await cluster.passing(1)
        dead.log.away = True
    async with until_killed(cluster.node(slow(cluster, seconds=1)).engine):
        await cluster.passing(SOON_S)
    assert ends(cluster) == [("succeeded", None)]
    assert [event["error_code"] for event in cluster.said("agent_error")] == ["heartbeat_lost"]
