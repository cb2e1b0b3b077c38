"""
Locks: a resource has one holder at a time, and each holder a higher term than the one before.

Three rules. An end is decided by time: from ``expires_at`` on a lock is over, though no timer has
come by yet, and what is renewed too late is refused. A refused acquisition leaves nothing behind.
A lock that is held for a task is taken with the task's lease, in one append, and ends with it:
whatever takes the task from its holder gives the lock back in the same append (``Lifecycle``).
"""

from __future__ import annotations

import contextlib
import dataclasses

from gateway.domain.access import GATEWAY, LOCAL_OPERATOR, Caller
from gateway.domain.errors import (
    Conflict,
    ExpectationFailed,
    LockHeld,
    NotFound,
    NotPermitted,
    RateLimitedRequest,
)
from gateway.domain.lock import Lock, subject_of
from gateway.domain.worker import Worker
from gateway.execution.monitor import Monitor
from gateway.execution.record.intake import Decision, Intake
from gateway.execution.record.lock_drafts import LockDrafts
from gateway.execution.record.state import State
from gateway.ports import Draft

__all__ = ["HELD_MAX", "HELD_MAX_TASK", "HELD_MAX_USER", "Locks"]

# Locks that are held at once, by everyone together; more are refused until some end.
HELD_MAX = 10_000
# Of these, by one user; more are refused. On an open gateway "local" is everyone.
HELD_MAX_USER = HELD_MAX // 4
# Locks that are held for one task; more are refused, since all of them end in one append.
HELD_MAX_TASK = 16
# Names behind which stands more than one user.
MANY = (GATEWAY.user_id, LOCAL_OPERATOR.user_id)
# When to come back if nothing tells how long a lock will be held, in seconds.
RETRY_AFTER_S = 1.0


class Locks:
    """
    Gives locks, renews them, and ends them when they run out.

    Args:
        own_holder: The name under which this process holds what is its own.
    """

    def __init__(
        self,
        *,
        own_holder: str,
        state: State,
        intake: Intake,
        drafts: LockDrafts,
        monitor: Monitor,
    ) -> None:
        self._own_holder = own_holder
        self._state = state
        self._intake = intake
        self._drafts = drafts
        self._monitor = monitor
        # Ids of locks whose task was not held by their holder when it was last looked.
        self._left: set[str] = set()

    async def acquire(
        self, resource_key: str, holder: str, ttl_s: float, caller: Caller
    ) -> tuple[Lock, bool]:
        """
        Take a lock, or renew it when ``holder`` has it already.

        Returns:
            The lock, and whether it was renewed.

        Raises:
            Conflict: If it has ended before it could be told.
            LockHeld: If another holder has it.
            NotPermitted: If the holder's name is in use by another user.
            RateLimitedRequest: If too many are held.
        """
        mine: Lock | None = None
        lock_id = self._intake.ids.uuid7()

        def decide(_: ExpectationFailed | None) -> Decision | None:
            nonlocal mine
            now = self._monitor.now
            known = self._state.locks.by_key.get(resource_key)
            self._require_name(holder, caller)
            if known is not None and known.held(now):
                if known.holder != holder:
                    raise self._held(known, now)
                mine = known
                if known.task_id is not None:
                    return None  # it is renewed with the task's lease
                return self._based(known, self._drafts.changed(known, "held", ttl_s))
            mine = None
            new = self._new(resource_key, lock_id, holder, caller.user_id)
            return self._taken(known, new, ttl_s)

        await self._intake.decide(decide, about=f"lock {resource_key}")
        # By now the resource may have another lock, which is not this holder's.
        lock = mine or self._state.locks.of_id(lock_id)
        if lock is None or lock.state != "held":
            raise self._ended(lock_id)
        try:
            self._require_name(holder, caller)
        except NotPermitted:
            # Another user took the name at the same moment, with another resource, and was first.
            with contextlib.suppress(Conflict, NotFound):  # it has ended already
                await self.release(lock.lock_id, holder, lock.term, caller)
            raise
        return lock, mine is not None

    async def renew(
        self, lock_id: str, holder: str, term: int, ttl_s: float, caller: Caller
    ) -> Lock:
        """
        Let a lock end later; one that is held for a task ends with it, and stays as it is.

        Raises:
            NotFound: If there is no such lock, or it has ended long ago.
            Conflict: If it has ended, though that may not be in the log yet.
            LockHeld, NotPermitted: If it is another holder's.
        """

        lock = self._of(lock_id, holder, term, caller)

        def decide(_: ExpectationFailed | None) -> Decision | None:
            nonlocal lock
            lock = self._of(lock_id, holder, term, caller)
            if not lock.held(self._monitor.now):
                raise self._ended(lock_id)
            if lock.task_id is not None:
                return None  # it is renewed with the task's lease
            return self._based(lock, self._drafts.changed(lock, "held", ttl_s))

        await self._intake.decide(decide, about=f"lock {lock_id}")
        if lock.state != "held":
            raise self._ended(lock_id)
        return lock

    async def release(self, lock_id: str, holder: str, term: int, caller: Caller) -> Lock:
        """
        Give a lock back; once it was given back, again it does nothing.

        Raises:
            NotFound, Conflict, LockHeld, NotPermitted: As for ``renew``.
        """

        lock = self._of(lock_id, holder, term, caller)

        def decide(_: ExpectationFailed | None) -> Decision | None:
            nonlocal lock
            lock = self._of(lock_id, holder, term, caller)
            if lock.state == "released":
                return None
            if not lock.held(self._monitor.now):
                raise Conflict(f"lock {lock_id} ran out before", code="lock_expired")
            return self._based(lock, self._drafts.changed(lock, "released", None))

        await self._intake.decide(decide, about=f"lock {lock_id}")
        # The record that was decided about: by now the resource may have another lock.
        return lock

    # --- for claims -------------------------------------------------------------------------

    def for_task(self, resource_key: str, worker: Worker, task_id: str | None) -> Decision:
        """
        Decide that a task's holder also holds a lock, to be appended with the task's lease.

        A lock that the worker has already for no task becomes the task's, under the same id.

        Args:
            task_id: None: it is only asked whether some task could have it.

        Raises:
            LockHeld: If another holder has it, or the worker has it for another task.
            RateLimitedRequest: If too many are held.
        """
        now = self._monitor.now
        known = self._state.locks.by_key.get(resource_key)
        if known is not None and known.held(now):
            if known.holder != worker.agent_id or known.task_id not in (None, task_id):
                raise self._held(known, now)
            if known.task_id is not None or task_id is None:
                return (), {}
            mine = dataclasses.replace(known, task_id=task_id)
            return self._based(known, self._drafts.changed(mine, "held", None))
        if len(self._state.locks.of_task(task_id or "")) >= HELD_MAX_TASK:
            raise RateLimitedRequest(
                f"task {task_id} holds {HELD_MAX_TASK} locks, the most that it may hold",
                retry_after=RETRY_AFTER_S,
            )
        new = self._new(resource_key, self._intake.ids.uuid7(), worker.agent_id, worker.owner)
        new.task_id = task_id
        return self._taken(known, new, None)

    # --- for the timers ---------------------------------------------------------------------

    def watch(self, lock: Lock) -> None:
        """See to it that a lock ends when it runs out."""
        if lock.state == "held" and lock.expires_at is not None:
            key, lock_id = lock.resource_key, lock.lock_id
            self._monitor.at(lock.expires_at, lambda: self._over(key, lock_id))

    async def free_left(self) -> None:
        """
        Give back what is held for a task that its holder does not hold: the second look.

        A lock is given back with its task, so there should be none; what another version has
        written may leave one. It is freed when it is still so at the next look, since the entries
        of one append need not be read at the same moment.

        Raises:
            Unavailable: If the store is away; to be called again.
        """
        left = [lock for lock in self._state.locks.by_key.values() if self._is_left(lock)]
        before, self._left = self._left, {lock.lock_id for lock in left}
        for lock in left:
            if lock.lock_id in before:
                await self._free(lock.resource_key, lock.lock_id)

    async def _free(self, resource_key: str, lock_id: str) -> None:
        def decide(_: ExpectationFailed | None) -> Decision | None:
            lock = self._state.locks.by_key.get(resource_key)
            if lock is None or lock.lock_id != lock_id or not self._is_left(lock):
                return None
            return self._based(lock, self._drafts.changed(lock, "released", None))

        await self._intake.decide(decide, about=f"lock {resource_key}")

    def _is_left(self, lock: Lock) -> bool:
        if lock.state != "held" or lock.task_id is None:
            return False
        task = self._state.tasks.get(lock.task_id)
        return task is None or task.holder != lock.holder

    async def _over(self, resource_key: str, lock_id: str) -> None:
        def decide(_: ExpectationFailed | None) -> Decision | None:
            lock = self._state.locks.by_key.get(resource_key)
            if lock is None or lock.lock_id != lock_id or lock.state != "held":
                return None
            if lock.held(self._monitor.now):
                return None  # it was renewed, and has a later timer
            return self._based(lock, self._drafts.expired(lock))

        await self._intake.decide(decide, about=f"lock {resource_key}")

    # --- how --------------------------------------------------------------------------------

    def _new(self, resource_key: str, lock_id: str, holder: str, owner: str) -> Lock:
        return Lock(
            resource_key=resource_key,
            lock_id=lock_id,
            holder=holder,
            owner=owner,
            term=self._state.locks.next_term(resource_key),
            task_id=None,
            state="held",
            expires_at=None,
            last_offset=0,
        )

    def _taken(self, known: Lock | None, new: Lock, ttl_s: float | None) -> Decision:
        if self._state.locks.count >= HELD_MAX:
            raise RateLimitedRequest(
                f"{HELD_MAX} locks are held; release some, or wait until some end",
                retry_after=RETRY_AFTER_S,
            )
        held_by_user = self._state.locks.held_by(new.owner)
        if held_by_user >= HELD_MAX_USER and new.owner not in MANY:
            raise RateLimitedRequest(
                f"{held_by_user} locks are held by this user, {HELD_MAX_USER} at the most; "
                "release some, or wait until some end",
                retry_after=RETRY_AFTER_S,
            )
        drafts = []
        if known is not None and known.state == "held":
            drafts.append(self._drafts.expired(known))  # before its timer came by
        drafts.append(self._drafts.changed(new, "held", ttl_s))
        return drafts, {subject_of(new.resource_key): 0 if known is None else known.last_offset}

    def _based(self, lock: Lock, *drafts: Draft) -> Decision:
        return drafts, {subject_of(lock.resource_key): lock.last_offset}

    def _known(self, lock_id: str) -> Lock:
        lock = self._state.locks.of_id(lock_id)
        if lock is None:
            raise NotFound(f"there is no lock {lock_id}", field="lock_id")
        return lock

    def _of(self, lock_id: str, holder: str, term: int, caller: Caller) -> Lock:
        """Give a lock to its holder."""
        lock = self._known(lock_id)
        if lock.owner != caller.user_id and not caller.operator:
            raise NotPermitted(f"lock {lock_id} was taken by another user", field="lock_id")
        if lock.holder != holder or lock.term != term:
            field = "term" if lock.holder == holder else "holder"
            raise self._held(lock, self._monitor.now, field=field)
        return lock

    def _ended(self, lock_id: str) -> Conflict:
        return Conflict(f"lock {lock_id} has ended; acquire it anew", code="lock_expired")

    def _held(self, lock: Lock, now: float, *, field: str = "resource_key") -> LockHeld:
        ends_at = lock.expires_at
        if ends_at is None and lock.task_id is not None:
            task = self._state.tasks.get(lock.task_id)
            ends_at = None if task is None else task.lease_expires_at
        return LockHeld(
            f"{lock.resource_key} is held by {lock.holder} at term {lock.term}",
            holder=lock.holder,
            retry_after=RETRY_AFTER_S if ends_at is None else max(0.001, ends_at - now),
            field=field,
        )

    def _require_name(self, holder: str, caller: Caller) -> None:
        # The name of a worker is its own, whether or not it holds a lock.
        worker = self._state.workers.get(holder)
        owner = self._state.locks.owner_of(holder) if worker is None else worker.owner
        if holder == self._own_holder:
            owner = GATEWAY.user_id
        if owner is not None and owner != caller.user_id and not caller.operator:
            raise NotPermitted(
                f"the name {holder} is in use by another user; choose another one", field="holder"
            )
