"""Membership: this process as a worker among the others on its log."""

from __future__ import annotations

from gateway.domain.access import LOCAL_OPERATOR
from tests.execution.hands import slow
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
