"""
Causes: which failure another one goes back to, by what a task's caller has named as its cause.

A caller names a task or an event of one. A failure goes back to the ``agent_error`` that opened the
failure of that task, or of the next one up that has failed, and a chain of failures to its first:
one root. The rule: only tasks of the same user are followed, so that nobody learns of an event of
another's. And a root is decided when a failure opens, from what the log had before, so that
nothing goes back to itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.domain.task import Task

__all__ = ["CHAIN_MAX", "EVENT_IDS_MAX", "NAMED", "Causes"]

# So many tasks up the chain are looked at, and so many events of a task are known, the newest.
CHAIN_MAX = 16
EVENT_IDS_MAX = 32
# The types of a task's events by which it may be named.
NAMED = frozenset(
    {"task_submitted", "task_started", "agent_error", "task_dead_lettered", "task_finished"}
)


class Causes:
    """Which task an event is of. A task that has succeeded is no cause, and not known here."""

    def __init__(self) -> None:
        self._task_of: dict[str, Task] = {}

    def came(self, task: Task) -> None:
        """Know a task by the events that it has."""
        for event_id in task.event_ids:
            self._task_of[event_id] = task

    def told(self, task: Task, event: Mapping[str, Any]) -> None:
        """Know a task by one more of its events."""
        if event["type"] not in NAMED:
            return
        if task.status == "succeeded":
            self.went(task)
            task.event_ids = ()
            return
        if len(task.event_ids) == EVENT_IDS_MAX:
            self._task_of.pop(task.event_ids[0], None)
        task.event_ids = (*task.event_ids, event["event_id"])[-EVENT_IDS_MAX:]
        self._task_of[event["event_id"]] = task

    def went(self, task: Task) -> None:
        """Forget a task."""
        for event_id in task.event_ids:
            self._task_of.pop(event_id, None)

    def root_of(self, task: Task, tasks: Mapping[str, Task]) -> str | None:
        """
        Give the event_id of the ``agent_error`` that a failure of ``task`` goes back to.

        None: to none but its own; or what was named is not known, or not the user's own.
        """
        if task.error_id is not None:  # it was decided when the failure opened
            return (task.last_error or {}).get("causation_id")
        above = task
        for _ in range(CHAIN_MAX):
            named = above.causation_id
            if named is None or (found := tasks.get(named) or self._task_of.get(named)) is None:
                return None
            if found.user_id != task.user_id:
                return None
            if found.root is not None or not found.live:
                return found.root
            above = found
        return None
