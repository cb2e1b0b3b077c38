"""Reactions: new entries have consequences, entries read again have none, open tasks go on."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from gateway import Gateway, Task
from gateway.domain.errors import NotFound
from gateway.errors import RateLimited
from gateway.execution.reactions import EXPIRE_EVERY_S
from tests.execution.hands import SOON_S, ends, registered
from tests.execution.kept import Cluster, Node, until_killed
from tests.execution.world import World


async def claimed(node: Node, session: str | None = None, **params: Any) -> str:
    """Let a new worker claim a new task; gives the task's id."""
    caller, proof = await registered(node, session)
    task_id = (await node.gateway.submit("writer", timeout=3000.0)).task_id
    await node.engine.call("task.claim", {**proof, **params}, caller)
    return task_id


# --- what is read again ---------------------------------------------------------------------------


async def test_a_log_that_is_read_again_adds_nothing_to_it() -> None:
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        await claimed(node, "s", lease_ttl=60)
        await node.gateway.submit("writer", timeout=3000.0)
        before = len(cluster.entries)
    async with until_killed(cluster.node().engine):
        await cluster.passing(1)
        assert len(cluster.entries) == before


# --- what is open goes on -------------------------------------------------------------------------


async def test_a_lease_begins_afresh_after_a_start_and_ends_then() -> None:
    """While no node ran, the worker could renew it nowhere."""
    cluster = Cluster()
    first = cluster.node()
    async with until_killed(first.engine):
        task_id = await claimed(first, lease_ttl=20)
        await cluster.passing(5)
    node = cluster.node()
    async with until_killed(node.engine):
        await cluster.passing(19.9)
        assert node.state.tasks[task_id].status == "running"
        await cluster.passing(0.3)
        assert [event["error_code"] for event in cluster.said("agent_error")] == ["lease_expired"]


@pytest.mark.parametrize("limit", ["queue", "deadline"])
async def test_a_task_that_waits_still_ends_at_its_limit_after_a_start(limit: str) -> None:
    cluster = Cluster(queue_timeout=30.0 if limit == "queue" else 300.0)
    first = cluster.node()
    async with until_killed(first.engine):
        await first.gateway.submit("writer", timeout=3000.0 if limit == "queue" else 30.0)
        await cluster.passing(10)
    async with until_killed(cluster.node().engine):
        await cluster.passing(19.9)
        assert ends(cluster) == []
        await cluster.passing(15)
        reason = "no_worker" if limit == "queue" else "caller_deadline"
        assert [end for _, end in ends(cluster)] == [reason]


async def test_a_task_in_backoff_is_tried_again_at_its_time_after_a_start() -> None:
    cluster = Cluster()

    def declare(gateway: Gateway) -> None:
        @gateway.agent("limited", max_attempts=2)
        async def limited(task: Task) -> str:
            if task.attempt == 1:
                raise RateLimited(retry_after=40.0)
            return "done"

    first = cluster.node(declare)
    async with until_killed(first.engine):
        await cluster.passing(1)
        await first.gateway.submit("limited")
        await cluster.passing(10)
    async with until_killed(cluster.node(declare).engine):
        await cluster.passing(25)
        assert ends(cluster) == []
        await cluster.passing(10)
        assert ends(cluster) == [("succeeded", None)]


# --- a log that is lost ---------------------------------------------------------------------------


async def test_with_its_log_everything_is_lost_that_is_known_of_it(here: World) -> None:
    """Each part that remembers, works or waits drops it; the log that comes knows none of it."""
    parts = here.engine.parts
    stopped = asyncio.Event()

    @here.gateway.agent("slow", timeout=500.0)
    async def slow(task: Task) -> None:
        try:
            await here.passing(400)
        finally:
            stopped.set()

    task_id = await here.submit("slow")
    waiting = asyncio.create_task(parts.ends.of(task_id))
    await here.call("agent.register", handle="writer")
    await here.passing(1)
    parts.reactions.clear()
    with pytest.raises(NotFound):
        await waiting
    assert (here.state.tasks, dict(here.state.workers), parts.monitor._due) == ({}, {}, [])
    await here.until(stopped.is_set, within=5)
    assert not parts.runner.has(task_id)
    # A lost log leaves a task open; the recording that is checked is another one.
    here.entries.clear()


# --- now and then ---------------------------------------------------------------------------------


async def test_orphans_and_what_is_too_old_are_looked_for_every_half_minute() -> None:
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        looked: list[float] = []
        free = node.engine.parts.reactions._orphans.free

        async def noted() -> None:
            looked.append(cluster.clock.monotonic())
            await free()

        node.engine.parts.reactions._orphans.free = noted  # type: ignore[method-assign]
        await cluster.passing(2 * SOON_S)
    apart = [later - at for at, later in itertools.pairwise(looked)]
    assert apart == pytest.approx([EXPIRE_EVERY_S] * len(apart), abs=0.01)
    assert len(looked) >= 3
