"""What callers may ask about tasks, and what they may not."""

from __future__ import annotations

from typing import Any

import pytest

from event_schemas import Validator
from gateway.protocol.task_operations import TASK_OPERATIONS

BY_NAME = {operation.name: operation for operation in TASK_OPERATIONS}


def taken(name: str, given: dict[str, Any]) -> bool:
    return Validator(dict(BY_NAME[name].params)).is_valid(given)


def test_callers_of_tasks_create_read_cancel_and_retry() -> None:
    assert {name: operation.scope for name, operation in BY_NAME.items()} == {
        "task.create": "tasks:write",
        "task.list": "events:read",
        "task.get": "events:read",
        "task.partial": "events:read",
        "task.cancel": "tasks:write",
        "task.retry": "tasks:write",
    }
    # Who may create a task may read it, too, without a right to events.
    as_well = {name: each.or_scope for name, each in BY_NAME.items() if each.or_scope}
    assert as_well == {"task.get": "tasks:write", "task.partial": "tasks:write"}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("task.create", {"agent": "writer"}),
        ("task.create", {"capability": "write", "input": None}),
        ("task.create", {"agent": "writer", "input": {"any": [1, "json"]}, "user_id": "42"}),
        ("task.create", {"agent": "writer", "priority": 0, "timeout": 0.5, "max_attempts": 1}),
        ("task.create", {"agent": "writer", "priority": 10, "max_attempts": 100}),
        ("task.create", {"agent": "writer", "idempotency_key": "k" * 255}),
        ("task.list", {}),
        ("task.list", {"status": "waiting", "agent": "writer", "limit": 500, "cursor": "7"}),
        ("task.get", {"task_id": "t1", "min_position": "e:7"}),
        ("task.partial", {"task_id": "t1"}),
        ("task.cancel", {"task_id": "t1"}),
        ("task.retry", {"task_id": "t1"}),
    ],
)
def test_a_request_within_its_bounds_is_taken(name: str, given: dict[str, Any]) -> None:
    assert taken(name, given)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("task.create", {"agent": "a b"}),
        ("task.create", {"agent": "writer", "priority": 11}),
        ("task.create", {"agent": "writer", "priority": -1}),
        ("task.create", {"agent": "writer", "timeout": 0}),
        ("task.create", {"agent": "writer", "max_attempts": 0}),
        ("task.create", {"agent": "writer", "max_attempts": 101}),
        ("task.create", {"agent": "writer", "idempotency_key": ""}),
        ("task.create", {"agent": "writer", "idempotency_key": "k" * 256}),
        ("task.create", {"agent": "writer", "task_id": "mine"}),
        ("task.list", {"status": "lost"}),
        ("task.list", {"limit": 0}),
        ("task.get", {}),
        ("task.get", {"task_id": "t1", "min_position": "e:"}),
        ("task.cancel", {"task_id": "t1", "reason": "why not"}),
        ("task.retry", {"task_id": ""}),
    ],
)
def test_a_request_beyond_its_bounds_is_refused(name: str, given: dict[str, Any]) -> None:
    assert not taken(name, given)
