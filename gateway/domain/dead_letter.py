"""
Dead letters: tasks that were given up, kept for operators with everything to try them again.

    (a task ends as dead_lettered) → kept → discarded, or too old
                                     kept → retried, once, as a new task; still kept

A letter outlives its task's record, so it holds the whole order and every attempt's error. It
changes by entries of its task's log subject only.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.domain.attempt import past_errors
from gateway.domain.packed import opened
from gateway.domain.task import Task
from gateway.domain.timestamps import rfc3339

__all__ = [
    "AGE_MAX_S",
    "KEPT_BYTES_MAX",
    "KEPT_MAX",
    "UNRECORDED_MAX",
    "DeadLetter",
    "DeadLetters",
    "of_task",
    "view",
]

# A letter is listed for this long, in seconds, unless it is discarded before.
AGE_MAX_S = 7 * 86_400.0
# Letters that are kept, and their bytes as they are listed. Over either bound the oldest is
# discarded, and the log says so; the newest stays in any case.
KEPT_MAX = 10_000
KEPT_BYTES_MAX = 64 * 1024 * 1024
# Letters over the bound whose discarding is not in the log yet. Past this the oldest is dropped
# without a record: a log whose readers have all stopped discarding must not fill the memory.
UNRECORDED_MAX = 1_000


@dataclasses.dataclass(slots=True)
class DeadLetter:
    """
    One task that was given up. Times are seconds since the Unix epoch.

    Attributes:
        reason: Why it was given up: attempts_exhausted, no_worker, retry_budget, fallback_failed.
        attempts: How many were made.
        errors: The error of each attempt that failed, in order.
        sequence: Offset of its end: older letters have smaller ones.
        finished_event_id: Of the task's end, which causes the task that it is retried as.
        size: In bytes, as it is listed.
        retried_as: The task that repeats it; None: it was not retried.
        last_offset: Newest offset of the task's log subject, which a decision expects.
    """

    task_id: str
    user_id: str
    agent_name: str | None
    capability: str | None
    priority: int
    input: Any
    timeout_s: float
    max_attempts: int
    correlation_id: str | None
    reason: str
    attempts: int
    errors: list[dict[str, Any]]
    died_at: float
    sequence: int
    finished_event_id: str | None
    last_offset: int
    size: int = 0
    retried_as: str | None = None
    title: str | None = None


def of_task(task: Task, reason: str) -> DeadLetter:
    """Make the letter of a task that has just ended as dead-lettered."""
    assert task.finished_at is not None
    return DeadLetter(
        task_id=task.task_id,
        user_id=task.user_id,
        agent_name=task.agent_name,
        capability=task.capability,
        priority=task.priority,
        input=task.input,
        timeout_s=task.timeout_s,
        max_attempts=task.max_attempts,
        correlation_id=task.correlation_id,
        reason=reason,
        attempts=task.attempt,
        errors=past_errors(task.attempts),
        died_at=task.finished_at,
        sequence=task.last_offset,
        finished_event_id=task.finished_event_id,
        last_offset=task.last_offset,
        title=task.title,
    )


class DeadLetters:
    """
    All letters that are kept.

    Attributes:
        by_task: Letters by the id of their task, the oldest first.
        size: In bytes, of all together.
    """

    def __init__(self) -> None:
        self.by_task: dict[str, DeadLetter] = {}
        self.size = 0

    def get(self, task_id: str, now: float) -> DeadLetter | None:
        """Give a letter that is still listed; None: there is none, or it is too old."""
        letter = self.by_task.get(task_id)
        return None if letter is None or _too_old(letter, now) else letter

    def newest_first(self, now: float) -> Iterator[DeadLetter]:
        """Give the letters that are listed."""
        too_old = now - AGE_MAX_S
        for letter in reversed(self.by_task.values()):
            if letter.died_at > too_old:
                yield letter

    def since(self, at: float) -> Iterator[DeadLetter]:
        """Give the letters of tasks that were given up after ``at``, the newest first."""
        return itertools.takewhile(
            lambda letter: letter.died_at > at, reversed(self.by_task.values())
        )

    def over(self, now: float) -> tuple[DeadLetter, str] | None:
        """Give a letter that is to be discarded, and the reason; None: all are within bounds."""
        oldest = next(iter(self.by_task.values()), None)
        if oldest is None:
            return None
        if _too_old(oldest, now):
            return oldest, "too_old"
        if len(self.by_task) > KEPT_MAX or (self.size > KEPT_BYTES_MAX and len(self.by_task) > 1):
            return oldest, "too_many"
        return None

    def add(self, letter: DeadLetter) -> None:
        """Keep one more letter, the newest."""
        self.by_task[letter.task_id] = letter
        self.size += letter.size
        while len(self.by_task) > KEPT_MAX + UNRECORDED_MAX:
            self._drop(next(iter(self.by_task)))

    def moved(self, task_id: str, event: Mapping[str, Any], *, offset: int) -> None:
        """Fold one more entry of a task's subject, if the task is a letter."""
        letter = self.by_task.get(task_id)
        if letter is None:
            return
        letter.last_offset = offset
        if event["type"] != "dead_letter_changed":
            return
        if event["action"] == "retried":
            letter.retried_as = event["retried_as"]
        elif event["action"] == "discarded":
            self._drop(task_id)

    def _drop(self, task_id: str) -> None:
        self.size -= self.by_task.pop(task_id).size


def _too_old(letter: DeadLetter, now: float) -> bool:
    return letter.died_at <= now - AGE_MAX_S


def view(letter: DeadLetter) -> dict[str, Any]:
    """A letter as it stands on the wire."""
    shown: dict[str, Any] = {
        "task_id": letter.task_id,
        "agent_name": letter.agent_name,
        "user_id": letter.user_id,
        "input": opened(letter.input),
        "reason": letter.reason,
        "attempts": letter.attempts,
        "errors": letter.errors,
        "died_at": rfc3339(letter.died_at),
    }
    if letter.retried_as is not None:
        shown["retried_as"] = letter.retried_as
    return shown
