"""Waiting: why a task does not move, as its events tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["MOVES", "Waiting", "waiting_after"]

# What was told last: ``waits_for``, ``name`` and ``until``.
Waiting = dict[str, Any]

# What ends a wait that was told: each is told to the task's owner, too.
MOVES = frozenset(
    {
        "task_started",
        "task_progress",
        "partial_result",
        "agent_error",
        "recovery_attempt",
        "task_finished",
    }
)


def waiting_after(before: Waiting | None, event: Mapping[str, Any]) -> Waiting | None:
    """Tell what a task waits for after one more of its events; None: it moves."""
    if event["type"] == "task_waiting":
        return {name: event[name] for name in ("waits_for", "name", "until")}
    return None if event["type"] in MOVES else before
