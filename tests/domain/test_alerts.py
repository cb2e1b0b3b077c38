"""Which events are worth an alert: what needs a person, and what says that it is over."""

from __future__ import annotations

from typing import Any

import pytest

import event_schemas
from gateway.domain.alerts import TYPES, is_alert


@pytest.mark.parametrize("type", event_schemas.TYPES)
def test_only_a_few_types_are_looked_at(type: str) -> None:
    assert is_alert(event_schemas.example(type)) is (
        type in TYPES.keys() - {"agent_status_changed"}  # the example's worker is unhealthy
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
