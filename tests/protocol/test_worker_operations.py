"""What workers may say, and that they prove who they are whenever they do."""

from __future__ import annotations

from typing import Any

import pytest

from event_schemas import Validator
from gateway.protocol.worker_operations import WORKER_OPERATIONS

BY_NAME = {operation.name: operation for operation in WORKER_OPERATIONS}
LEASE = {"task_id": "t1", "agent_id": "w1", "agent_secret": "s", "term": 1}
UNDER_A_LEASE = {"task.heartbeat", "task.update", "task.complete", "task.fail", "task.release"}


def taken(name: str, given: dict[str, Any]) -> bool:
    return Validator(dict(BY_NAME[name].params)).is_valid(given)


def test_workers_act_and_others_look_at_them() -> None:
    others = {n: each.scope for n, each in BY_NAME.items() if each.scope != "agent"}
    assert others == {
        "agent.list": "events:read",
        "agent.get": "events:read",
        "agent.shutdown": "admin",
    }


@pytest.mark.parametrize("name", [n for n, each in BY_NAME.items() if each.scope == "agent"])
def test_whatever_a_worker_does_it_may_prove_which_worker_it_is(name: str) -> None:
    assert {"agent_id", "agent_secret"} <= set(BY_NAME[name].params["properties"])


@pytest.mark.parametrize("name", sorted(UNDER_A_LEASE))
@pytest.mark.parametrize("missing", ["task_id", "agent_id", "term"])
def test_what_is_said_of_a_task_names_its_lease(name: str, missing: str) -> None:
    whole = LEASE | ({"message": "boom"} if name == "task.fail" else {})
    assert taken(name, whole)
    assert not taken(name, {field: value for field, value in whole.items() if field != missing})
    assert not taken(name, {**whole, "term": 0})
    assert "stale_term" in BY_NAME[name].errors


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("task.claim", {"agent_id": "w1"}),
        ("task.claim", {"agent_id": "w1", "task_id": "t1", "wait": 30, "lease_ttl": 0.1}),
        ("task.update", {**LEASE, "progress": None, "step": None}),
        ("task.update", {**LEASE, "progress": 1, "step": "outline", "data": {"any": "json"}}),
        ("task.update", {**LEASE, "text": "x" * 65_536, "plan": ["a"] * 256}),
        ("task.complete", {**LEASE, "result": None, "steps": {"a": 1}}),
        ("task.fail", {**LEASE, "message": "", "retry_after": 0, "error_code": "x" * 64}),
        ("task.fail", {**LEASE, "message": "m", "text": "x" * 262_144, "plan": None}),
        ("agent.register", {"handle": "workers"}),
        ("agent.register", {"handle": "h", "agents": [{"name": "writer"}], "domain": None}),
        ("agent.heartbeat", {"agent_id": "w1", "status": "draining", "loop_lag": 0.02}),
        ("agent.heartbeat", {"agent_id": "w1", "health": 0}),
        ("agent.heartbeat", {"agent_id": "w1", "health": 1}),
        ("agent.list", {"status": "suspect", "handle": "workers"}),
        ("agent.get", {"agent_id": "w1"}),
        ("agent.remove", {"agent_id": "w1", "agent_secret": "s"}),
        ("agent.shutdown", {"agent_id": "w1", "grace": 86_400}),
    ],
)
def test_a_report_within_its_bounds_is_taken(name: str, given: dict[str, Any]) -> None:
    assert taken(name, given)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("task.claim", {"task_id": "t1"}),
        ("task.claim", {"agent_id": "w1", "wait": 30.1}),
        ("task.claim", {"agent_id": "w1", "wait": -1}),
        ("task.update", {**LEASE, "progress": 1.01}),
        ("task.update", {**LEASE, "step": ""}),
        ("task.update", {**LEASE, "data": 1}),
        ("task.update", {**LEASE, "data": 1, "step": None}),
        ("task.update", {**LEASE, "text": "x" * 65_537}),
        ("task.update", {**LEASE, "plan": ["a"] * 257}),
        ("task.complete", {**LEASE, "steps": []}),
        ("task.fail", LEASE),
        ("task.fail", {**LEASE, "message": "x" * 4_097}),
        ("task.fail", {**LEASE, "message": "m", "retry_after": 86_401}),
        ("agent.register", {}),
        ("agent.register", {"handle": "h", "agents": [{"timeout": 1}]}),
        ("agent.register", {"handle": "h", "agents": [{"name": "a", "max_attempts": 0}]}),
        ("agent.register", {"handle": "h", "agents": [{"name": "a", "surprise": 1}]}),
        ("agent.register", {"handle": "h", "agents": [{"name": "a"}] * 65}),
        ("agent.heartbeat", {"agent_id": "w1", "status": "asleep"}),
        ("agent.heartbeat", {"agent_id": "w1", "loop_lag": -1}),
        ("agent.heartbeat", {"agent_id": "w1", "health": -0.01}),
        ("agent.heartbeat", {"agent_id": "w1", "health": 1.01}),
        ("agent.heartbeat", {"agent_id": "w1", "health": True}),
        ("agent.list", {"status": "gone"}),
        ("agent.shutdown", {"agent_id": "w1", "grace": -1}),
    ],
)
def test_a_report_beyond_its_bounds_is_refused(name: str, given: dict[str, Any]) -> None:
    assert not taken(name, given)


def test_data_without_its_step_is_refused_in_words_that_help() -> None:
    validator = Validator(dict(BY_NAME["task.update"].params))
    (missing,) = validator.violations({**LEASE, "data": 1})
    assert (missing.field, missing.message) == ("step", "is required together with data")
    (null,) = validator.violations({**LEASE, "data": 1, "step": None})
    assert (null.field, null.message) == ("step", "must be of type string, is null")


def test_of_what_workers_ask_only_a_claim_waits() -> None:
    """The worker may disconnect meanwhile, and a task that it took has to be given back."""
    assert [name for name, operation in BY_NAME.items() if operation.waits] == ["task.claim"]


def test_a_claim_that_finds_nothing_gives_null() -> None:
    result = Validator(dict(BY_NAME["task.claim"].result))
    assert result.is_valid(None)
    assert result.is_valid({"task_id": "t1", "term": 1, "mode": "fallback"})
    assert not result.is_valid({"task_id": "t1", "mode": "other"})
