"""The drafts about locks: one is held from now on, has been given back, has run out."""

from __future__ import annotations

from gateway.domain.facts import Locked
from gateway.domain.lock import Lock, State, subject_of
from gateway.domain.timestamps import rfc3339
from gateway.execution.record.intake import Decision, Intake
from gateway.execution.record.state import State as Folds
from gateway.ports import Draft

__all__ = ["LockDrafts"]


class LockDrafts:
    """
    Makes the drafts about locks.

    Args:
        intake: Makes drafts.
        folds: Give the locks that are held for a task.
    """

    def __init__(self, intake: Intake, folds: Folds) -> None:
        self._intake = intake
        self._folds = folds

    def changed(self, lock: Lock, state: State, ttl_s: float | None) -> Draft:
        """
        Note for operators what a lock is from now on.

        Args:
            ttl_s: How long it is held from now on, in seconds; None: until its task lets go of it,
                or not any more.
        """
        expires_at = None if ttl_s is None else self._intake.clock.wall() + ttl_s
        return self._intake.draft(
            "lock_changed",
            subject_of(lock.resource_key),
            message=f"lock {lock.resource_key} {state} by {lock.holder}",
            task_id=lock.task_id,
            fact=Locked(owner=lock.owner, ttl=ttl_s, task_id=lock.task_id),
            lock_id=lock.lock_id,
            resource_key=lock.resource_key,
            holder=lock.holder,
            term=lock.term,
            state=state,
            expires_at=None if expires_at is None else rfc3339(expires_at),
        )

    def let_go(self, task_id: str) -> Decision:
        """Give back every lock of a task that leaves its holder, in the append that takes it."""
        locks = self._folds.locks.of_task(task_id)
        drafts = [self.changed(lock, "released", None) for lock in locks]
        return drafts, {subject_of(lock.resource_key): lock.last_offset for lock in locks}

    def expired(self, lock: Lock) -> Draft:
        """Tell operators and agents that a lock ran out without being given back."""
        return self._intake.draft(
            "lock_expired",
            subject_of(lock.resource_key),
            severity="warning",
            message=f"lock {lock.resource_key} of {lock.holder} ran out at term {lock.term}",
            recipient_id=lock.owner,
            lock_id=lock.lock_id,
            resource_key=lock.resource_key,
            holder=lock.holder,
            term=lock.term,
        )
