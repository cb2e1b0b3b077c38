"""Workers as a fold over the log, and how alive one is by what was heard of it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.agent import AgentPolicy
from gateway.domain.attempt import Attempt
from gateway.domain.facts import Registered, StatusChanged, Submitted
from gateway.domain.task import Task, submitted
from gateway.domain.worker import (
    MISSED_SHARE,
    ORDER,
    Liveness,
    Status,
    Worker,
    attempted,
    came_back,
    changed,
    digest_of,
    reason_of,
    registered,
    status_by_beat,
    subject_of,
    view,
)

NOW = 1_800_000_000.0
TIMEOUT_S, OFFLINE_S = 6.0, 15.0


def worker(**more: Any) -> Worker:
    event = {
        "agent_id": "w1",
        "handle": "writers",
        "capabilities": ["draw"],
        "domain": "eu",
    } | more
    fact = Registered(
        agents=(AgentPolicy("writer"), AgentPolicy("editor")),
        secret_digest=digest_of("secret"),
        owner="ann",
        by_socket=True,
        type="python",
    )
    return registered(event, fact, at=NOW, offset=3)


def made(*, moved: bool = False) -> Task:
    """A task whose attempt began now."""
    order: dict[str, Any] = {"event_id": "e1", "task_id": "t1", "user_id": "ann"}
    order |= {"agent_name": "writer", "priority": 5, "timeout": 300.0, "max_attempts": 3}
    task = submitted(order, Submitted(), at=NOW, offset=1, bytes_max=1000)
    task.attempts.append(Attempt(1, "w1", "primary", NOW, term=1, moved=moved))
    return task


def ended(type: str, **fields: Any) -> dict[str, Any]:
    return {"type": type, **fields}


def status_after(silent_s: float, *, connected: bool = True) -> tuple[Status, float | None]:
    live = Liveness(100.0, connected=connected)
    return status_by_beat(
        live, now=100.0 + silent_s, timeout_s=TIMEOUT_S, offline_after_s=OFFLINE_S
    )


def test_a_worker_begins_as_it_was_registered() -> None:
    one = worker()
    assert (one.agent_id, one.status, one.health_score) == ("w1", "healthy", 1.0)
    assert (one.registered_at, one.last_offset) == (NOW, 3)
    assert subject_of(one.agent_id) == "agent/w1"


def test_a_worker_is_known_by_its_secret_of_which_only_a_digest_is_kept() -> None:
    one = worker()
    assert one.proves("secret")
    assert not one.proves("Secret")
    assert "secret" not in one.secret_digest


@pytest.mark.parametrize(
    ("agent", "capability", "can"),
    [
        ("writer", None, True),
        ("reader", None, False),
        (None, "draw", True),
        (None, "sing", False),
        # A task that names its agent goes by the name alone.
        ("reader", "draw", False),
    ],
)
def test_a_worker_can_do_its_agents_tasks_and_those_of_its_capabilities(
    agent: str | None, capability: str | None, can: bool
) -> None:
    assert worker().can_do(agent, capability) is can


@pytest.mark.parametrize("status", ORDER)
def test_a_worker_takes_work_while_it_is_healthy_or_suspect(status: Status) -> None:
    one = worker()
    one.status = status
    assert one.takes_work is (status in ("healthy", "suspect"))
    one.removed = True
    assert not one.takes_work


def test_a_worker_that_gets_worse_opens_a_failure_and_ends_it_when_it_is_well() -> None:
    one = worker()
    for at, status in ((1, "suspect"), (2, "unhealthy")):
        event = {"status": status, "health_score": 0.5, "error_id": "e1"}
        changed(one, event, StatusChanged(), at=NOW + at)
    assert (one.status, one.error_id, one.worse_since) == ("unhealthy", "e1", NOW + 1)
    changed(one, {"status": "healthy", "health_score": 1.0}, StatusChanged(), at=NOW + 3)
    assert (one.error_id, one.worse_since, one.removed) == (None, None, False)


def test_a_quarantine_lasts_through_an_absence_and_the_trial_until_a_success() -> None:
    one = worker()
    event = {"health_score": 0.2, "error_id": "e1", "error_code": "stalled"}
    for status, quarantined in (
        ("suspect", False),
        ("quarantined", True),
        ("offline", True),
        ("quarantined", True),
        ("healthy", False),
    ):
        changed(one, {**event, "status": status, "reason": status}, StatusChanged(), at=NOW)
        assert one.quarantined is quarantined
        assert one.reason == status
    assert one.on_trial
    again = worker()
    came_back(again, one)
    assert (again.on_trial, again.error_code) == (True, "stalled")
    assert again.reason == "healthy"
    attempted(again, made(), ended("task_finished", outcome="failed"), at=NOW)
    assert again.on_trial
    attempted(again, made(), ended("task_finished", outcome="succeeded"), at=NOW)
    assert not again.on_trial


@pytest.mark.parametrize(
    ("told", "lasted_s", "moved", "failing", "still"),
    [
        ({"error_type": "agent_lost", "error_code": "stalled"}, 1.0, False, 0.5, 0.5),
        ({"error_type": "agent_lost", "error_code": "stalled"}, 1.0, True, 0.5, 0.0),
        ({"error_type": "agent_lost", "error_code": "lease_expired"}, 1.0, False, 0.5, 0.5),
        ({"error_type": "agent_lost", "error_code": "heartbeat_lost"}, 1.0, False, 0.5, 0.0),
        ({"error_type": "timeout", "error_code": "task_timeout"}, 30.0, False, 0.5, 0.5),
        ({"error_type": "timeout", "error_code": "network_timeout"}, 1.0, False, 0.5, 0.0),
        ({"error_type": "rate_limit", "error_code": "llm_rate_limit"}, 30.0, False, 0.5, 0.0),
        ({"error_type": "timeout", "error_code": "caller_deadline"}, 30.0, False, 0.0, 0.0),
        ({"error_type": "cancelled", "error_code": "cancelled"}, 30.0, False, 0.0, 0.0),
        ({"error_type": "auth_error", "error_code": "llm_auth_failed"}, 1.0, False, 0.0, 0.0),
    ],
)
def test_what_an_attempts_end_says_of_its_worker(
    told: dict[str, Any], lasted_s: float, moved: bool, failing: float, still: float
) -> None:
    one = worker()
    task = made(moved=moved)
    attempted(one, task, ended("agent_error", cause="reported", **told), at=NOW + lasted_s)
    assert (one.health.failing, one.health.still) == (failing, still)


def test_a_limit_that_the_gateway_had_to_end_stood_still_and_a_silent_workers_lease_did_not() -> (
    None
):
    one = worker()
    late = ended("agent_error", cause="timeout", error_type="timeout", error_code="task_timeout")
    attempted(one, made(), late, at=NOW + 1)
    assert one.health.still == 0.5
    silent = worker()
    silent.status = "offline"
    lost = ended(
        "agent_error", cause="agent_lost", error_type="agent_lost", error_code="lease_expired"
    )
    attempted(silent, made(), lost, at=NOW + 60)
    assert (silent.health.failing, silent.health.still) == (0.5, 0.0)


def test_a_goodbye_is_not_taken_back_by_a_later_status() -> None:
    one = worker()
    event = {"status": "offline", "health_score": 1.0}
    changed(one, event, StatusChanged(removed=True), at=NOW)
    changed(one, {**event, "status": "healthy"}, StatusChanged(), at=NOW + 1)
    assert one.removed


@pytest.mark.parametrize(
    ("silent_s", "status", "again_s"),
    [
        (0.0, "healthy", TIMEOUT_S * MISSED_SHARE),
        (3.999, "healthy", TIMEOUT_S * MISSED_SHARE),
        (4.0, "suspect", TIMEOUT_S),
        (5.999, "suspect", TIMEOUT_S),
        (6.0, "unhealthy", OFFLINE_S),
        (14.999, "unhealthy", OFFLINE_S),
        (15.0, "offline", None),
        (9999.0, "offline", None),
    ],
)
def test_silence_makes_a_worker_worse_step_by_step(
    silent_s: float, status: Status, again_s: float | None
) -> None:
    again_at = None if again_s is None else 100.0 + again_s
    assert status_after(silent_s) == (status, again_at)


def test_a_worker_whose_connection_is_lost_is_suspect_at_once() -> None:
    assert status_after(0.0, connected=False) == ("suspect", 106.0)
    assert status_after(6.0, connected=False)[0] == "unhealthy"


@pytest.mark.parametrize(
    ("status", "heard", "reason"),
    [
        ("healthy", {}, "heartbeat"),
        ("suspect", {"connected": False}, "connection_lost"),
        ("suspect", {}, "heartbeat_missed"),
        ("suspect", {"blocked": True, "connected": False}, "loop_blocked"),
        ("unhealthy", {"blocked": True}, "heartbeat_lost"),
        ("offline", {"connected": False}, "heartbeat_lost"),
    ],
)
def test_a_status_has_its_reason(status: Status, heard: dict[str, Any], reason: str) -> None:
    assert reason_of(status, Liveness(NOW, **heard)) == reason


def test_a_worker_stands_on_the_wire_without_its_secret() -> None:
    shown = view(worker(), beat_at=NOW, tasks=["t1"], health_score=0.25)
    assert shown["agents"] == ["writer", "editor"]
    assert (shown["tasks"], shown["last_heartbeat"]) == (["t1"], "2027-01-15T08:00:00.000Z")
    assert shown["health_score"] == 0.25
    assert not {"secret_digest", "owner"} & shown.keys()
    assert view(worker(), beat_at=None, tasks=[], health_score=1.0)["last_heartbeat"] is None
