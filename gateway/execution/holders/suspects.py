"""
Suspects: where a process ended with several tasks, any of them may have ended it.

The rule: a worker has one suspect at a time, beside as many other tasks as it likes. If its
process ends again, that one has done it, and the others lose no attempt. Waiting until a process
is empty would tell as much and cost all the work that it could do meanwhile.
"""

from __future__ import annotations

from gateway.domain.attempt import suspect
from gateway.domain.task import Task
from gateway.domain.worker import Worker
from gateway.execution.record.state import State

__all__ = ["Suspects"]


class Suspects:
    """Tells, during one look of a claim, which tasks its worker may not have besides its own."""

    def __init__(self, state: State, worker: Worker) -> None:
        self._state = state
        self._worker = worker
        self._holds_one: bool | None = None

    @property
    def passed_over(self) -> bool:
        """Whether a task was not for this worker; another one may have it."""
        return self._holds_one is True

    def too_many_with(self, task: Task) -> bool:
        """Whether the worker would hold two suspects, with ``task``."""
        if not suspect(task.attempts):
            return False
        if self._holds_one is None:
            held = self._state.held_by(self._worker.agent_id)
            self._holds_one = any(suspect(other.attempts) for other in held)
        return self._holds_one
