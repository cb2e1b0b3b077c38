"""
Assignment: one attempt at a task, as it is given to the process that makes it.

Plain data, so that a worker elsewhere makes it from a claim as the gateway does from a task.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from gateway.domain.preserved import Kept
from gateway.domain.task import Task

__all__ = ["Assignment"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """
    What an attempt has to know. It stays the same, whatever becomes of the task meanwhile.

    Attributes:
        task_id: The task's id.
        user_id: The user that the task belongs to.
        agent_name: The agent that does it; empty: the task names none.
        attempt: The number of the attempt, from 1.
        term: The term of the lease under which it is made; reports carry it.
        input: What was asked, as JSON.
        preserved: What earlier attempts left.
        limit_s: Seconds that the attempt has.
        traceparent: The span that the task was asked for in; None: the caller named none.
    """

    task_id: str
    user_id: str
    agent_name: str
    attempt: int
    term: int
    input: Any
    preserved: Kept
    limit_s: float
    traceparent: str | None = None

    @classmethod
    def of(cls, task: Task, *, limit_s: float) -> Assignment:
        """Assign the attempt that ``task`` has just begun."""
        return cls(
            task_id=task.task_id,
            user_id=task.user_id,
            agent_name=task.agent_name or "",
            attempt=task.attempt,
            term=task.term,
            input=task.input,
            preserved=task.preserved.kept(),
            limit_s=limit_s,
            traceparent=task.traceparent,
        )
