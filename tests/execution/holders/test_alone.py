"""A process alone on its log is listed with its agents, as a worker is."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import Task
from gateway.domain.errors import NotFound
from gateway.execution.holders.alone import HANDLE
from tests.execution.hands import hand
from tests.execution.kept import Cluster
from tests.execution.world import World


async def listed(here: World, **asked: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await here.call("agent.list", **asked))["items"]
    return items


async def test_its_agents_are_listed_before_workers_and_with_what_it_holds(here: World) -> None:
    assert await listed(here) == []

    @here.gateway.agent("writer")
    async def writer(task: Task) -> str:
        await here.passing(50)
        return "done"

    task_id = await here.submit("writer")
    await here.until(lambda: here.said("task_started"))
    worker = await hand(here)
    own, other = await listed(here)
    assert other["agent_id"] == worker.agent_id
    assert (own["handle"], own["agents"], own["tasks"]) == (HANDLE, ["writer"], [task_id])
    assert (own["status"], own["health_score"]) == ("healthy", 1.0)
    assert own["last_heartbeat"] > own["registered_at"]
    assert await here.call("agent.get", agent_id=own["agent_id"]) == own
    assert await listed(here, handle=HANDLE) == [own]
    assert await listed(here, status="offline") == []


async def test_it_is_no_worker_that_others_could_speak_for(here: World) -> None:
    here.gateway.agent("writer")(lambda task: None)
    (own,) = await listed(here)
    for operation in ("agent.heartbeat", "agent.remove", "task.claim"):
        with pytest.raises(NotFound):
            await here.call(operation, agent_id=own["agent_id"], agent_secret="x" * 16)


async def test_a_node_among_others_is_listed_once_as_it_has_registered() -> None:
    assert Cluster().node().engine.parts.alone is None
