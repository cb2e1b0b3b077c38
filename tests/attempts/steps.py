"""An attempt without a gateway, as far as its parts need one."""

from __future__ import annotations

from typing import Any

from gateway.attempts.assignment import Assignment
from gateway.attempts.pieces import Pieces
from gateway.attempts.task import Resources, Task
from gateway.domain.preserved import Kept

__all__ = ["TEXT_CHARS", "Attempt", "assignment"]

# How much text may wait, and how large a step may be.
TEXT_CHARS = 1000


def assignment(**changes: Any) -> Assignment:
    """Assign the second attempt at a task, under its third term."""
    whole: dict[str, Any] = {
        "task_id": "0190-task",
        "user_id": "ann",
        "agent_name": "echo",
        "attempt": 2,
        "term": 3,
        "input": None,
        "preserved": Kept({}, ""),
        "limit_s": 30.0,
    }
    return Assignment(**{**whole, **changes})


class Attempt:
    """
    An attempt that goes nowhere: a task to speak to, and what was said to it.

    Attributes:
        woken: How often the teller would have been woken.
    """

    def __init__(self, **changes: Any) -> None:
        self.woken = 0
        self.assignment = assignment(**changes)
        self.pieces = Pieces(
            task_id=self.assignment.task_id,
            attempt=self.assignment.attempt,
            chars_max=TEXT_CHARS,
            wake=self._wake,
        )
        self.resources = Resources()
        self.task = Task(
            self.assignment,
            pieces=self.pieces,
            resources=self.resources,
            step_bytes_max=TEXT_CHARS,
        )

    def _wake(self) -> None:
        self.woken += 1
