"""
Locks: a resource has one holder at a time, and each holder a higher term than the one before.

Two rules. An end is decided by time: from ``expires_at`` on a lock is over, though no timer has
come by yet, and what is renewed too late is refused. A refused acquisition leaves nothing behind.
"""

from __future__ import annotations

from gateway.domain.access import Caller
from gateway.domain.errors import (
    Conflict,
    ExpectationFailed,
    LockHeld,
    NotFound,
    NotPermitted,
    RateLimitedRequest,
)
from gateway.domain.lock import Lock, subject_of
from gateway.execution.monitor import Monitor
from gateway.execution.record.intake import Decision, Intake
from gateway.execution.record.lock_drafts import LockDrafts
from gateway.execution.record.state import State
from gateway.ports import Draft

__all__ = ["HELD_MAX", "Locks"]

# Locks that are held at once, by everyone together; more are refused until some end.
HELD_MAX = 10_000
RETRY_AFTER_S = 1.0


class Locks:
    """Gives locks, renews them, and ends them when they run out."""

    def __init__(
        self, *, state: State, intake: Intake, drafts: LockDrafts, monitor: Monitor
    ) -> None:
        self._state = state
        self._intake = intake
        self._drafts = drafts
        self._monitor = monitor

    async def acquire(
        self, resource_key: str, holder: str, ttl_s: float, caller: Caller
    ) -> tuple[Lock, bool]:
        """
        Take a lock, or renew it when ``holder`` has it already.

        Returns:
            The lock, and whether it was renewed.

        Raises:
            LockHeld: If another holder has it.
            NotPermitted: If the holder's name is in use by another user.
            RateLimitedRequest: If too many are held.
        """
        renewed = False
        lock_id = self._intake.ids.uuid7()

        def decide(_: ExpectationFailed | None) -> Decision:
            nonlocal renewed
            now = self._monitor.now
            known = self._state.locks.by_key.get(resource_key)
            self._require_name(holder, caller)
            if known is not None and known.held(now):
                if known.holder != holder:
                    raise self._held(known, now)
                renewed = True
                return self._based(known, self._drafts.changed(known, "held", ttl_s))
            renewed = False
            if self._state.locks.count >= HELD_MAX:
                raise RateLimitedRequest(
                    f"{HELD_MAX} locks are held; release some, or wait until some end",
                    retry_after=RETRY_AFTER_S,
                )
            drafts = []
            if known is not None and known.state == "held":
                drafts.append(self._drafts.expired(known))  # before its timer came by
            new = Lock(
                resource_key=resource_key,
                lock_id=lock_id,
                holder=holder,
                owner=caller.user_id,
                term=self._state.locks.next_term(resource_key),
                task_id=None,
                state="held",
                expires_at=None,
                last_offset=0,
            )
            drafts.append(self._drafts.changed(new, "held", ttl_s))
            return drafts, {subject_of(resource_key): 0 if known is None else known.last_offset}

        await self._intake.decide(decide, about=f"lock {resource_key}")
        return self._state.locks.by_key[resource_key], renewed

    async def renew(
        self, lock_id: str, holder: str, term: int, ttl_s: float, caller: Caller
    ) -> Lock:
        """
        Let a lock end later.

        Raises:
            NotFound: If there is no such lock, or it has ended long ago.
            Conflict: If it has ended, though that may not be in the log yet.
            LockHeld, NotPermitted: If it is another holder's.
        """

        def decide(_: ExpectationFailed | None) -> Decision:
            lock = self._of(lock_id, holder, term, caller)
            if not lock.held(self._monitor.now):
                raise Conflict(f"lock {lock_id} has ended; acquire it anew", code="lock_expired")
            return self._based(lock, self._drafts.changed(lock, "held", ttl_s))

        await self._intake.decide(decide, about=f"lock {lock_id}")
        return self._known(lock_id)

    async def release(self, lock_id: str, holder: str, term: int, caller: Caller) -> Lock:
        """
        Give a lock back; once it was given back, again it does nothing.

        Raises:
            NotFound, Conflict, LockHeld, NotPermitted: As for ``renew``.
        """

        def decide(_: ExpectationFailed | None) -> Decision | None:
            lock = self._of(lock_id, holder, term, caller)
            if lock.state == "released":
                return None
            if not lock.held(self._monitor.now):
                raise Conflict(f"lock {lock_id} ran out before", code="lock_expired")
            return self._based(lock, self._drafts.changed(lock, "released", None))

        await self._intake.decide(decide, about=f"lock {lock_id}")
        return self._known(lock_id)

    # --- for the timers ---------------------------------------------------------------------

    def watch(self, lock: Lock) -> None:
        """See to it that a lock ends when it runs out."""
        if lock.state == "held" and lock.expires_at is not None:
            key, lock_id = lock.resource_key, lock.lock_id
            self._monitor.at(lock.expires_at, lambda: self._over(key, lock_id))

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
            raise self._held(lock, self._monitor.now)
        return lock

    def _held(self, lock: Lock, now: float) -> LockHeld:
        left_s = None if lock.expires_at is None else max(0.001, lock.expires_at - now)
        return LockHeld(
            f"{lock.resource_key} is held by {lock.holder} at term {lock.term}",
            holder=lock.holder,
            retry_after=left_s,
        )

    def _require_name(self, holder: str, caller: Caller) -> None:
        owner = self._state.locks.owner_of(holder)
        if owner is not None and owner != caller.user_id and not caller.operator:
            raise NotPermitted(
                f"the name {holder} is in use by another user; choose another one", field="holder"
            )
