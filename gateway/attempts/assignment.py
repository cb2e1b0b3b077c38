"""Assignment: one attempt at a task, as it is given to the process that makes it."""

from __future__ import annotations

import dataclasses
from typing import Any

from gateway.domain.preserved import Kept
from gateway.domain.task import Task

__all__ = ["Assignment"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """
    What an attempt has to know. It does not change, whatever becomes of the task meanwhile.

    Attributes:
        attempt: Which try at the task this is, from 1.
        term: Of the lease under which it is made; reports carry it.
        input: What is asked, as JSON.
        preserved: What earlier attempts left.
        limit_s: Seconds that the attempt has.
    """

    task_id: str
    user_id: str
    agent_name: str
    attempt: int
    term: int
    input: Any
    preserved: Kept
    limit_s: float

    @classmethod
    def of(cls, task: Task, *, limit_s: float) -> Assignment:
        """Assign the attempt that ``task`` has just been started for."""
        return cls(
            task_id=task.task_id,
            user_id=task.user_id,
            agent_name=task.agent_name or "",
            attempt=task.attempt,
            term=task.term,
            input=task.input,
            preserved=task.preserved.kept(),
            limit_s=limit_s,
        )
