"""The draft of a refusal."""

from __future__ import annotations

import pytest

from gateway.domain.agent import AgentPolicy
from tests.execution.record.room import Room, body_of

SEARCH = AgentPolicy("search")


@pytest.mark.parametrize(
    ("reason", "code", "source"),
    [
        ("circuit_breaker_open", "circuit_open", "breaker_cooldown"),
        ("priority_load_shedding", "capacity_exceeded", "default"),
        ("draining", "capacity_exceeded", "default"),
        ("rate_limited", "too_many_requests", "default"),
    ],
)
def test_a_refusal_is_told_to_the_user_that_asked(reason: str, code: str, source: str) -> None:
    draft = Room(SEARCH).refusal_drafts.rejected(
        reason=reason, user_id="ann", policy=SEARCH, retry_after_s=1.23456, error_id=None, count=3
    )
    event = body_of(draft)
    assert (event["user_id"], event["reason"], event["severity"]) == ("ann", reason, "warning")
    assert (event["error_code"], event["recovery_estimate_source"]) == (code, source)
    assert event["count"] == 3
    assert event["retry_after"] == event["estimated_recovery_time"] == 1.235
