"""
Left threads: a plain function that runs on past its limit cannot be stopped.

The rule: the next attempt does not begin while the thread of the last one runs, since both would
do the same work at once. Here that is known of the gateway's own processes; another node goes by
what ``task_waiting`` has told, for as long as the node that told it is there.
"""

from __future__ import annotations

from gateway.attempts.attempt import Attempts
from gateway.domain.task import Task
from gateway.execution.record.state import State

__all__ = ["LeftThreads"]


class LeftThreads:
    """
    Tells which task's last attempt still runs.

    Args:
        state: Knows the other nodes.
        attempts: Know the threads of this process.
    """

    def __init__(self, state: State, attempts: Attempts) -> None:
        self._state = state
        self._attempts = attempts

    def here(self, task: Task) -> bool:
        """Whether the last attempt at ``task`` has left a thread running in this process."""
        return task.attempt > 0 and self._attempts.left_running(task.task_id, task.attempt)

    def running(self, task: Task, *, by: str) -> bool:
        """Whether the last attempt still runs, so that ``by`` (an agent_id) may not begin."""
        if self.here(task):
            return True
        told = task.waiting_for
        if told is None or told["waits_for"] != "thread" or not task.attempts:
            return False
        node = self._state.workers.get(task.attempts[-1].agent_id)
        return node is not None and node.agent_id != by and node.takes_work
