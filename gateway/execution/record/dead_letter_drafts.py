"""The drafts about dead letters: one was added, retried, discarded."""

from __future__ import annotations

from typing import Literal

from gateway.domain.dead_letter import DeadLetter
from gateway.domain.redaction import Redacted
from gateway.domain.task import Task, subject_of
from gateway.execution.record.intake import Intake
from gateway.ports import Draft

__all__ = ["DeadLetterDrafts"]


class DeadLetterDrafts:
    """Makes the drafts about dead letters; each stands on its task's subject."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def added(self, task: Task, reason: str) -> Draft:
        """Note for operators that a task is about to end as a dead letter, and why."""
        return self._changed(task, "added", reason=reason)

    def retried(self, letter: DeadLetter, *, by: str, reason: str, retried_as: str) -> Draft:
        """Note that a new task repeats the letter's; ``by`` is the user that asked for it."""
        return self._changed(letter, "retried", reason=reason, by=by, retried_as=retried_as)

    def discarded(self, letter: DeadLetter, *, by: str | None, reason: str) -> Draft:
        """Note that a letter is gone; ``by`` is the user that asked for it, None: a bound."""
        return self._changed(letter, "discarded", reason=reason, by=by)

    def _changed(
        self,
        of: Task | DeadLetter,
        action: Literal["added", "retried", "discarded"],
        *,
        reason: str,
        by: str | None = None,
        retried_as: str | None = None,
    ) -> Draft:
        told = f"retried as {retried_as}" if retried_as else f"{action}: {reason}"
        return self._intake.draft(
            "dead_letter_changed",
            subject_of(of.task_id),
            message=f"dead letter {told}",
            agent_name=of.agent_name,
            task_id=of.task_id,
            detail=None if by is None else Redacted({"by": by}),
            action=action,
            reason=reason,
            retried_as=retried_as,
        )
