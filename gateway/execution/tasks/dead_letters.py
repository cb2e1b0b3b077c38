"""
Dead letters: tried again as a new task, discarded by an operator, or let go of at their bounds.

The rule: a letter is retried once. The new task and the note that the letter was retried are one
append, so that of two retries at once one makes the task, and the other is given it.
"""

from __future__ import annotations

from gateway.domain.dead_letter import DeadLetter
from gateway.domain.errors import Conflict, ExpectationFailed, NotFound
from gateway.domain.task import Task, subject_of
from gateway.execution.record.dead_letter_drafts import DeadLetterDrafts
from gateway.execution.record.intake import Decision, Intake
from gateway.execution.record.state import State
from gateway.execution.tasks.acceptance import Acceptance
from gateway.execution.tasks.order import Order
from gateway.ports import Draft

__all__ = ["DeadLetters"]


class _RetriedBefore(Exception):
    """Another caller was first; the new task is there already."""


class DeadLetters:
    """Retries and discards dead letters."""

    def __init__(
        self, *, state: State, intake: Intake, drafts: DeadLetterDrafts, acceptance: Acceptance
    ) -> None:
        self._state = state
        self._intake = intake
        self._drafts = drafts
        self._acceptance = acceptance

    def known(self, task_id: str) -> bool:
        """Whether there is a letter of this task."""
        return self._state.dead_letters.get(task_id, self._intake.clock.wall()) is not None

    async def retry(self, task_id: str, *, by: str, reason: str) -> Task:
        """
        Make a new task of a letter; give the one that an earlier retry made, if there was one.

        Args:
            by: The user that asks for it, for operators.
            reason: For operators, too: ``operator`` or ``owner``.

        Raises:
            NotFound: If there is no such letter.
            Conflict: If it was retried, and the task that was made is not kept any more.
            Rejected: If the agent's breaker is open, the queue is full, or the gateway is leaving.
        """

        def beside(new_id: str) -> Decision:
            letter = self._letter(task_id)
            if letter.retried_as is not None:
                raise _RetriedBefore
            draft = self._drafts.retried(letter, by=by, reason=reason, retried_as=new_id)
            return [draft], {subject_of(task_id): letter.last_offset}

        letter = self._letter(task_id)
        if letter.retried_as is None:
            try:
                return await self._acceptance.submit(Order.again(letter), beside=beside)
            except _RetriedBefore:
                letter = self._letter(task_id)
        made = self._state.tasks.get(letter.retried_as or "")
        if made is None:
            raise Conflict(
                f"dead letter {task_id} was retried as {letter.retried_as}, which has ended and is "
                "not kept any more; create a new task, or discard the letter",
                field="task_id",
            )
        return made

    async def discard(self, task_id: str, *, by: str) -> DeadLetter:
        """
        Let go of a letter, and give it for the last time.

        Args:
            by: The user that asks for it, for operators.

        Raises:
            NotFound: If there is no such letter (any more).
        """
        letter = self._letter(task_id)

        def decide(_: ExpectationFailed | None) -> Decision:
            return self._based(
                self._letter(task_id), self._drafts.discarded(letter, by=by, reason="operator")
            )

        await self._intake.decide(decide, about=f"dead letter {task_id}")
        return letter

    async def trim(self) -> bool:
        """
        Discard the oldest letter if it is too old, or if there are too many; the log says so.

        Returns:
            Whether another one has to go. One at a time, since other timers wait meanwhile.
        """
        await self._intake.decide(self._trim_one, about="the oldest dead letter")
        return self._over() is not None

    def _trim_one(self, _: ExpectationFailed | None) -> Decision | None:
        over = self._over()
        if over is None:
            return None  # another node was faster
        letter, reason = over
        return self._based(letter, self._drafts.discarded(letter, by=None, reason=reason))

    def _over(self) -> tuple[DeadLetter, str] | None:
        return self._state.dead_letters.over(self._intake.clock.wall())

    def _letter(self, task_id: str) -> DeadLetter:
        letter = self._state.dead_letters.get(task_id, self._intake.clock.wall())
        if letter is None:
            raise NotFound(
                f"there is no dead letter {task_id}: no such task was given up, or the letter was "
                "discarded; dead_letter.list shows those that there are",
                field="task_id",
            )
        return letter

    @staticmethod
    def _based(letter: DeadLetter, draft: Draft) -> Decision:
        return [draft], {subject_of(letter.task_id): letter.last_offset}
