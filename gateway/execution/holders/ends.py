"""
Ends: callers in this process that wait until a task has ended.

They are woken by the log's own word for the end, so that an end that another node decided wakes
them too.
"""

from __future__ import annotations

import asyncio

from gateway.domain.errors import NotFound
from gateway.domain.task import Task
from gateway.execution.record.state import State

__all__ = ["Ends"]


class Ends:
    """Wakes the callers that wait for the end of a task."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._waiting: dict[str, list[asyncio.Future[Task]]] = {}

    async def of(self, task_id: str) -> Task:
        """
        Wait until a task has ended; cancelling ends the wait, not the task.

        Raises:
            KeyError: If there is no such task.
            NotFound: If the task was lost with its log while the caller waited.
        """
        task = self._state.tasks[task_id]
        if not task.live:
            return task
        end: asyncio.Future[Task] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(task_id, []).append(end)
        try:
            return await end
        finally:
            waiting = self._waiting.get(task_id, [])
            if end in waiting:
                waiting.remove(end)
            if not waiting:
                self._waiting.pop(task_id, None)

    def ended(self, task: Task) -> None:
        """Wake the callers that wait for ``task``, which has ended."""
        for end in self._waiting.pop(task.task_id, ()):
            if not end.done():
                end.set_result(task)

    def clear(self) -> None:
        """Tell every caller that its task is lost with the log."""
        for task_id in list(self._waiting):
            for end in self._waiting.pop(task_id):
                if not end.done():
                    end.set_exception(NotFound(f"task {task_id} was lost with its log"))
