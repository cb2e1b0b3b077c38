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

# What developers read; ``{s}`` is how long, in seconds.
WORDS: Mapping[str, tuple[str, str]] = {
    "breaker": ("the breaker {name} holds it back", ", it probes in {s} s"),
    "upstream": ("the upstream {name} has asked not to be called", " for {s} s"),
    "worker": ("nobody serves {name}", ", it is given up in {s} s"),
    "worker_contact": ("its worker {name} is silent", ", and given up in {s} s"),
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

    def waiting(self, task: Task, wait: Wait, *, similar: Sequence[str], now: float) -> Draft:
        """
        Tell why a task does not move.

        Args:
            similar: Agents that are served, where the task's own is not.
            now: Seconds since the Unix epoch.
        """
        what, how_long = WORDS[wait.waits_for]
        words = what if wait.until is None else what + how_long
        left_s = 0.0 if wait.until is None else max(0.0, wait.until - now)
        return self._drafts.of_task(
            "task_waiting",
            task,
            severity="warning",
            message=words.format(name=wait.name, s=f"{left_s:.1f}".removesuffix(".0")),
            waits_for=wait.waits_for,
            name=wait.name,
            until=None if wait.until is None else rfc3339(wait.until),
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
