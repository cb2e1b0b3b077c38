"""The operations of workers: each proves first which worker it is from."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.access import LOCAL_OPERATOR, Caller
from gateway.domain.errors import NotFound, NotPermitted
from gateway.execution.handlers.workers import DEFAULT_GRACE_S
from gateway.protocol.operations import OPERATIONS
from tests.execution.hands import MISSED_S, SCOPES, hand
from tests.execution.world import World

# What each call about a held task says beside its proof and its lease.
ABOUT_A_TASK: dict[str, dict[str, Any]] = {
    "task.heartbeat": {},
    "task.update": {"progress": 0.5},
    "task.complete": {"result": 1},
    "task.fail": {"message": "no"},
    "task.release": {},
}


@pytest.mark.parametrize("name", ["agent.heartbeat", "agent.remove", "task.claim", *ABOUT_A_TASK])
async def test_a_call_without_the_workers_secret_changes_nothing(here: World, name: str) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim()
    before = len(here.events)
    lease = {"task_id": worker.claimed["task_id"], "term": 1}
    params = {**lease, **ABOUT_A_TASK[name]} if name in ABOUT_A_TASK else {}
    for proof in ({}, {"agent_secret": "another"}):
        with pytest.raises(NotPermitted) as refused:
            await here.call(name, worker.caller, agent_id=worker.agent_id, **proof, **params)
        assert refused.value.field == "agent_secret"
    assert len(here.events) == before
    await worker.tell("task.complete", result=1)


@pytest.mark.parametrize("name", sorted(ABOUT_A_TASK))
async def test_every_call_of_a_worker_is_a_sign_of_life(here: World, name: str) -> None:
    worker = await hand(here)
    await here.submit("writer", timeout=100.0)
    await worker.claim()
    await here.passing(MISSED_S + 0.1)
    assert worker.status == "suspect"
    await worker.tell(name, **ABOUT_A_TASK[name])
    assert worker.status == "healthy"
    for task_id in list(here.state.live):
        await here.call("task.cancel", task_id=task_id)


@pytest.mark.parametrize(
    ("name", "status"),
    [("task.complete", "succeeded"), ("task.fail", "dead_lettered"), ("task.release", "pending")],
)
async def test_a_call_that_moves_a_task_answers_with_the_task(
    here: World, name: str, status: str
) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer", max_attempts=1)
    await worker.claim()
    params = {**ABOUT_A_TASK[name], "error_type": "rate_limit"} if name == "task.fail" else {}
    shown = await worker.tell(name, **{**ABOUT_A_TASK[name], **params})
    assert (shown["task_id"], shown["status"]) == (task_id, status)
    for left in list(here.state.live):
        await here.call("task.cancel", task_id=left)


async def test_workers_are_listed_by_status_and_handle_in_pages(here: World) -> None:
    silent = await hand(here, "writer")
    await here.passing(MISSED_S + 0.1)
    others = [await hand(here, handle) for handle in ("writer", "painter")]

    async def listed(**params: Any) -> list[str]:
        answer = await here.call("agent.list", **params)
        return [worker["agent_id"] for worker in answer["items"]]

    first, second = (worker.agent_id for worker in others)
    assert await listed() == [silent.agent_id, first, second]
    assert await listed(status="suspect") == [silent.agent_id]
    assert await listed(handle="writer") == [silent.agent_id, first]
    assert await listed(handle="writer", status="healthy") == [first]
    assert await listed(limit=2, cursor="2") == [second]


async def test_one_worker_is_shown_and_an_unknown_one_is_not_found(here: World) -> None:
    worker = await hand(here, domain="zone-1")
    shown = await here.call("agent.get", agent_id=worker.agent_id)
    assert (shown["agent_id"], shown["domain"], shown["status"]) == (
        worker.agent_id,
        "zone-1",
        "healthy",
    )
    assert "secret" not in str(shown)
    with pytest.raises(NotFound):
        await here.call("agent.get", agent_id="unknown")


async def test_a_worker_gets_half_a_minute_to_leave_unless_it_is_given_other_time(
    here: World,
) -> None:
    worker = await hand(here)
    for params, grace_s in (({}, DEFAULT_GRACE_S), ({"grace": 3}, 3)):
        await here.call("agent.shutdown", agent_id=worker.agent_id, **params)
        assert (await worker.beat())["shutdown"] == {"grace": grace_s}


async def test_workers_report_and_operators_ask_them_to_leave(here: World) -> None:
    """Each needs its own right."""
    worker = await hand(here)
    assert OPERATIONS["agent.shutdown"].scope == "admin"
    with pytest.raises(NotPermitted):
        await here.call("agent.shutdown", Caller("w", SCOPES), agent_id=worker.agent_id)
    reader = Caller("ann", frozenset({"events:read"}))
    with pytest.raises(NotPermitted):
        await here.call("agent.heartbeat", reader, **worker.proof)
    await here.call("agent.remove", LOCAL_OPERATOR, agent_id=worker.agent_id)
    assert here.state.workers[worker.agent_id].removed
