"""The drafts about workers: a secret is kept by its digest, and a loss is one failure."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.access import Caller
from gateway.domain.errors import InvalidParams
from gateway.domain.worker import ORDER, Status, Worker, digest_of
from gateway.execution.record.worker_drafts import agents_of
from gateway.ports import Draft
from tests.execution.record.room import Room, body_of, fact_of

SECRET = "a secret of the worker"
ANN = Caller("ann", frozenset({"agent"}), session_id="s1")


def params(*agents: dict[str, Any], **given: Any) -> dict[str, Any]:
    return {"handle": "writer", **({"agents": list(agents)} if agents else {}), **given}


def drafted(room: Room, params: dict[str, Any], caller: Caller = ANN) -> Draft:
    return room.worker_drafts.registered("w1", SECRET, params, agents_of(params), caller)


async def registered(room: Room) -> Worker:
    await room.intake.append([drafted(room, params())])
    return room.state.workers["w1"]


async def change(room: Room, worker: Worker, status: Status, **options: Any) -> list[str]:
    """Append a change; returns the types of its events."""
    given = {"reason": "heartbeat_missed", "score": 1.0, **options}
    drafts, expected = room.worker_drafts.changed(worker, status, **given)
    await room.intake.append(drafts, expected=expected)
    return [draft.type for draft in drafts]


# --- a registration --------------------------------------------------------------------------


def test_a_workers_secret_is_nowhere_in_the_log() -> None:
    draft = drafted(Room(), params())
    assert SECRET not in (draft.body + (draft.state or b"")).decode()
    assert fact_of(draft)["secret_digest"] == digest_of(SECRET)
    assert "digest" not in draft.body.decode()


def test_a_registration_names_the_owner_and_the_way_that_the_worker_came() -> None:
    by_socket = fact_of(drafted(Room(), params(type="python")))
    assert (by_socket["owner"], by_socket["by_socket"], by_socket["type"]) == (
        "ann",
        True,
        "python",
    )
    by_http = fact_of(drafted(Room(), params(), Caller("bob", frozenset())))
    assert (by_http["owner"], by_http["by_socket"]) == ("bob", False)


def test_a_worker_that_names_no_agents_has_one_by_its_handle() -> None:
    event = body_of(drafted(Room(), params()))
    assert (event["agents"], event["agent_name"]) == (["writer"], "writer")
    assert (event["capabilities"], event["domain"]) == ([], None)


async def test_an_agent_is_treated_as_its_worker_says() -> None:
    room = Room()
    agent = {"name": "search", "timeout": 7, "max_attempts": 2, "upstream": "llm", "fallback": True}
    about = params(agent, {"name": "plain"}, domain="eu", capabilities=["x"])
    await room.intake.append([drafted(room, about)])
    worker = room.state.workers["w1"]
    policy, plain = worker.agents["search"], worker.agents["plain"]
    assert (policy.timeout_s, policy.max_attempts, policy.upstream) == (7, 2, "llm")
    assert (policy.fallback, plain.fallback) == ("search-fallback", None)
    assert (plain.timeout_s, plain.max_attempts, plain.breaker) == (30.0, 0, "plain")
    assert (worker.domain, worker.capabilities) == ("eu", ("x",))


def test_a_fallbacks_name_is_no_longer_than_a_name_may_be() -> None:
    name = "n" * 128
    draft = drafted(Room(), params({"name": name, "fallback": 1}))
    assert len(fact_of(draft)["agents"][0]["fallback"]) == 128


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"timeout": 86_400 * 8}, {"max_attempts": -1}])
def test_limits_that_no_agent_may_have_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams) as refused:
        agents_of(params({"name": "search", **wrong}))
    assert refused.value.field == "agents"


# --- a change of status ----------------------------------------------------------------------


async def test_a_worker_that_gets_worse_is_one_failure_until_it_is_well() -> None:
    room = Room()
    worker = await registered(room)
    for status in ("suspect", "unhealthy", "offline"):
        assert await change(room, worker, status) == ["agent_status_changed"]
    room.clock.now += 9
    assert await change(room, worker, "healthy") == ["agent_status_changed", "system_recovered"]
    told = room.said("agent_status_changed")
    assert [event["severity"] for event in told] == ["warning", "error", "error", "info"]
    (recovered,) = room.said("system_recovered")
    assert {event["error_id"] for event in told[:3]} == {recovered["error_id"]}
    assert (recovered["scope"], recovered["recovery_time"]) == ("agent", 9.0)
    assert (worker.status, worker.error_id) == ("healthy", None)


async def test_a_suspect_has_lost_its_connection_and_an_unhealthy_worker_its_beat() -> None:
    room = Room()
    worker = await registered(room)
    await change(room, worker, "suspect")
    await change(room, worker, "unhealthy")
    codes = [event["error_code"] for event in room.said("agent_status_changed")]
    assert codes == ["connection_lost", "heartbeat_lost"]
    estimates = {event["estimated_recovery_time"] for event in room.said("agent_status_changed")}
    assert estimates == {room.settings.heartbeat_timeout}


async def test_a_worker_that_does_its_tasks_badly_is_told_so_with_its_score() -> None:
    room = Room()
    worker = await registered(room)
    about: dict[str, Any] = {"reason": "health", "heals_in_s": 7.8904}
    await change(room, worker, "suspect", score=0.4, **about)
    await change(room, worker, "quarantined", score=0.25004, **about)
    await change(room, worker, "healthy", score=0.5, **about)
    warned, quarantined, well = room.said("agent_status_changed")
    assert [event["health_score"] for event in (warned, quarantined, well)] == [0.4, 0.25, 0.5]
    assert {event["reason"] for event in (warned, quarantined, well)} == {"health"}
    for event in (warned, quarantined):
        assert (event["error_type"], event["error_code"]) == ("agent_lost", "stalled")
        assert (event["estimated_recovery_time"], event["severity"]) == (
            7.89,
            "warning" if event is warned else "error",
        )
    assert warned["user_message"] == "The agent is not working as well as it should."
    assert "error_code" not in well
    (recovered,) = room.said("system_recovered")
    assert recovered["error_id"] == warned["error_id"] == quarantined["error_id"]
    assert recovered["error_code"] == "stalled"


async def test_a_worker_that_gets_better_by_a_step_tells_no_failure() -> None:
    room = Room()
    worker = await registered(room)
    await change(room, worker, "unhealthy")
    assert await change(room, worker, "suspect") == ["agent_status_changed"]
    assert "error_id" not in room.said("agent_status_changed")[-1]
    assert worker.error_id is not None


async def test_a_goodbye_is_no_failure() -> None:
    room = Room()
    worker = await registered(room)
    assert await change(room, worker, "offline", removed=True) == ["agent_status_changed"]
    (event,) = room.said("agent_status_changed")
    assert ("error_id" in event, event["severity"], event["reason"]) == (
        False,
        "info",
        "heartbeat_missed",
    )
    assert worker.removed


async def test_a_worker_that_was_never_ill_does_not_recover() -> None:
    room = Room()
    worker = await registered(room)
    assert await change(room, worker, "healthy") == ["agent_status_changed"]


async def test_a_change_is_decided_on_the_workers_last_entry() -> None:
    room = Room()
    worker = await registered(room)
    for status in ORDER[1:3]:
        _, expected = room.worker_drafts.changed(worker, status, "r", score=1.0)
        assert expected == {"agent/w1": worker.last_offset}
        await change(room, worker, status)
