"""The drafts about waits: why a task does not move, and that its worker is heard again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from gateway.domain.facts import Progressed
from gateway.domain.task import Task
from gateway.domain.timestamps import rfc3339
from gateway.execution.record.task_drafts import TaskDrafts
from gateway.ports import Draft

__all__ = ["Wait", "WaitingDrafts"]

# What developers read, and what is added where the end is known.
WORDS: Mapping[str, tuple[str, str]] = {
    "breaker": ("the breaker {name} holds it back", ", it probes at {until}"),
    "upstream": ("the upstream {name} has asked not to be called", " before {until}"),
    "worker": ("nobody serves {name}", ", it is given up at {until}"),
    "worker_contact": ("its worker {name} is silent", ", and given up at {until}"),
    "thread": ("the thread of its last attempt still runs", ""),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Wait:
    """
    Why a task does not move.

    Attributes:
        waits_for: breaker, upstream, worker, worker_contact or thread.
        name: Which one.
        until: When that is decided, in seconds since the Unix epoch; None: not known.
    """

    waits_for: str
    name: str
    until: float | None


class WaitingDrafts:
    """
    Makes the drafts about waits.

    Args:
        drafts: Makes any event about a task.
    """

    def __init__(self, drafts: TaskDrafts) -> None:
        self._drafts = drafts

    def waiting(self, task: Task, wait: Wait, *, similar: Sequence[str]) -> Draft:
        """
        Tell why a task does not move.

        Args:
            similar: Agents that are served, where the task's own is not.
        """
        what, how_long = WORDS[wait.waits_for]
        words = what if wait.until is None else what + how_long
        until = None if wait.until is None else rfc3339(wait.until)
        return self._drafts.of_task(
            "task_waiting",
            task,
            severity="warning",
            message=words.format(name=wait.name, until=until),
            waits_for=wait.waits_for,
            name=wait.name,
            until=until,
            **({"similar": list(similar)} if similar else {}),
        )

    def heard_again(self, task: Task) -> Draft:
        """Tell that a task goes on: its worker, which was silent, is heard."""
        return self._drafts.of_task(
            "task_progress",
            task,
            message="its worker is heard again",
            fact=Progressed(),
            progress=task.progress,
            step=task.step,
        )
