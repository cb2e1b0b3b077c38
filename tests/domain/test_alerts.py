"""Which events are worth an alert: what needs a person, and what says that it is over."""

from __future__ import annotations

from typing import Any

import pytest

import event_schemas
from gateway.domain.alerts import HOLD_MIN_S, KINDS_MAX, QUIET_S, TYPES, Seldom, is_alert


@pytest.mark.parametrize("type", event_schemas.TYPES)
def test_only_a_few_types_are_looked_at(type: str) -> None:
    assert is_alert(event_schemas.example(type)) is (
        # The example's worker is unhealthy, and its failure is one that passes.
        type in TYPES.keys() - {"agent_status_changed", "agent_error"}
    )


@pytest.mark.parametrize(
    ("event", "worth"),
    [
        *(({"type": "system_recovered", "scope": scope}, True) for scope in ("breaker", "domain")),
        *(({"type": "system_recovered", "scope": scope}, True) for scope in ("mode", "store")),
        *(({"type": "system_recovered", "scope": scope}, False) for scope in ("task", "agent")),
        ({"status": "offline", "reason": "heartbeat_lost"}, True),
        ({"status": "offline", "reason": "goodbye"}, False),
        ({"status": "quarantined", "reason": "health"}, True),
        ({"status": "unhealthy", "reason": "heartbeat_lost"}, False),
        ({"status": "healthy", "reason": "heartbeat"}, False),
    ],
)
def test_of_some_types_not_every_one(event: dict[str, Any], worth: bool) -> None:
    assert is_alert({"type": "agent_status_changed", **event}) is worth


@pytest.mark.parametrize(
    ("failure", "worth"),
    [
        ({"error_type": "auth_error", "error_code": "llm_auth_failed"}, True),
        ({"error_type": "processing_error", "error_code": "configuration_error"}, True),
        ({"estimated_recovery_time": HOLD_MIN_S}, True),
        ({"estimated_recovery_time": HOLD_MIN_S - 1}, False),
        ({"estimated_recovery_time": None}, False),
        ({"estimated_recovery_time": 600.0, "recovery_estimate_source": "default"}, False),
        ({"error_type": "auth_error", "severity": "info"}, False),
    ],
)
def test_of_failures_those_that_send_for_an_operator(failure: dict[str, Any], worth: bool) -> None:
    asked = {"error_code": "llm_rate_limit", "recovery_estimate_source": "upstream_retry_after"}
    event = {**event_schemas.example("agent_error"), **asked, "estimated_recovery_time": 1.0}
    assert is_alert({**event, **failure}) is worth


def failure(agent: str = "writer", code: str = "llm_auth_failed") -> dict[str, Any]:
    return {"type": "agent_error", "agent_name": agent, "error_code": code}


def test_one_kind_of_failure_is_told_once_an_hour_and_everything_else_each_time() -> None:
    seldom = Seldom()
    assert [seldom.passes(failure(), at) for at in (0.0, 1.0, QUIET_S - 1)] == [True, False, False]
    assert seldom.passes(failure(code="llm_permission_denied"), 1.0)
    assert seldom.passes(failure("reader"), 1.0)
    assert seldom.passes(failure(), QUIET_S)
    letter = {"type": "task_dead_lettered", "agent_name": "writer", "error_code": "llm_timeout"}
    assert seldom.passes(letter, 0.0)
    assert seldom.passes(letter, 1.0)


def test_of_too_many_kinds_the_one_told_longest_ago_is_forgotten() -> None:
    seldom = Seldom()
    assert all(seldom.passes(failure(f"agent-{number}"), 0.0) for number in range(KINDS_MAX + 1))
    assert not seldom.passes(failure("agent-1"), 1.0)
    assert seldom.passes(failure("agent-0"), 1.0)
