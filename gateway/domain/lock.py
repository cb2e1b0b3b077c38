"""
Locks: which holder may use a resource, and until when, as a fold over the log.

    (free) → held → released | expired → held by the next, with a new id and a higher term

The term is what makes a lock safe: a holder that stood still past its end cannot know that it
lost the lock, so everything that it writes carries the term, and a resource refuses a term that
is lower than one it has seen (M. Kleppmann, "How to do distributed locking", fencing tokens).
An end is decided by time alone: past ``expires_at`` a lock is over, whether or not that is in
the log yet.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal

from gateway.domain.facts import Locked
from gateway.domain.timestamps import rfc3339

__all__ = ["ENDED_MAX", "Lock", "Locks", "subject_of", "view"]

State = Literal["held", "released", "expired"]

# Locks that have ended and are remembered for their terms; at the bound the longest ended goes,
# and what it knew of terms is kept as a floor for every key that is not remembered.
ENDED_MAX = 10_000


def subject_of(resource_key: str) -> str:
    """The log subject of one resource's locks."""
    return f"lock/{resource_key}"


@dataclasses.dataclass(slots=True)
class Lock:
    """
    The newest lock of one resource. Times are seconds since the Unix epoch.

    Attributes:
        lock_id: Of this holder's time with the lock; the next holder gets another one.
        holder: The name that the caller gave; it belongs to ``owner`` while it holds anything.
        owner: The user whose token took it.
        term: Grows by one with each new holder of the resource.
        task_id: The task that it is held for, and with which it ends; None: it stands alone.
        expires_at: When it ends unless it is renewed; None: with its task.
        last_offset: Newest offset of the resource's log subject, which a decision expects.
    """

    resource_key: str
    lock_id: str
    holder: str
    owner: str
    term: int
    task_id: str | None
    state: State
    expires_at: float | None
    last_offset: int

    def held(self, now: float) -> bool:
        """Whether it is held at ``now``; the boundary itself is too late."""
        return self.state == "held" and (self.expires_at is None or now < self.expires_at)


class Locks:
    """
    All locks that are held, and the terms of those that were.

    Attributes:
        by_key: The newest lock of each resource; those that ended stand in the order of their end.
        term_floor: The highest term that was forgotten.
    """

    def __init__(self) -> None:
        self.by_key: dict[str, Lock] = {}
        self.term_floor = 0
        self._keys: dict[str, str] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        # Holder → its owner, and how many locks it has.
        self._holders: dict[str, tuple[str, int]] = {}
        # Owner → how many locks its holders have.
        self._of_owner: dict[str, int] = {}
        # Task → the keys of the locks that are held for it, in the order in which it took them.
        self._of_task: dict[str, dict[str, None]] = {}

    @property
    def count(self) -> int:
        """Locks that are held, as far as the log tells."""
        return len(self.by_key) - len(self._ended)

    def of_id(self, lock_id: str) -> Lock | None:
        """Give a lock that is held or ended lately; None: no such lock is known."""
        key = self._keys.get(lock_id)
        return None if key is None else self.by_key[key]

    def of_task(self, task_id: str) -> list[Lock]:
        """Give the locks that are held for a task, the first taken first."""
        return [self.by_key[key] for key in self._of_task.get(task_id, ())]

    def owner_of(self, holder: str) -> str | None:
        """Tell whose name ``holder`` is now; None: it holds nothing."""
        known = self._holders.get(holder)
        return None if known is None else known[0]

    def held_by(self, owner: str) -> int:
        """Tell how many locks were taken by one user's token, and are held."""
        return self._of_owner.get(owner, 0)

    def next_term(self, resource_key: str) -> int:
        """Give the term of the next holder."""
        known = self.by_key.get(resource_key)
        return (self.term_floor if known is None else known.term) + 1

    def changed(self, event: Mapping[str, Any], fact: Locked, *, at: float, offset: int) -> None:
        """Fold ``lock_changed``."""
        key = event["resource_key"]
        known = self.by_key.get(key)
        expires_at = None if fact.ttl is None else at + fact.ttl
        if event["state"] != "held":
            self._end(known, event, offset)
            return
        if known is not None and known.state == "held" and known.lock_id == event["lock_id"]:
            known.expires_at, known.last_offset = expires_at, offset
            if known.task_id != fact.task_id:
                self._index(known.task_id, key, held=False)
                known.task_id = fact.task_id
                self._index(known.task_id, key, held=True)
            return
        if known is not None:
            self._end(known, {**event, "lock_id": known.lock_id, "state": "expired"}, offset)
            self._keys.pop(known.lock_id, None)
            self._ended.pop(key, None)
        lock = Lock(
            resource_key=key,
            lock_id=event["lock_id"],
            holder=event["holder"],
            owner=fact.owner,
            term=event["term"],
            task_id=fact.task_id,
            state="held",
            expires_at=expires_at,
            last_offset=offset,
        )
        self.adopt(lock)

    def expired(self, event: Mapping[str, Any], *, offset: int) -> None:
        """Fold ``lock_expired``."""
        self._end(self.by_key.get(event["resource_key"]), {**event, "state": "expired"}, offset)

    def adopt(self, lock: Lock) -> None:
        """Know a lock as it is."""
        self.by_key.pop(lock.resource_key, None)
        self.by_key[lock.resource_key] = lock
        self._keys[lock.lock_id] = lock.resource_key
        if lock.state == "held":
            owner, count = self._holders.get(lock.holder, (lock.owner, 0))
            self._holders[lock.holder] = (owner, count + 1)
            self._of_owner[lock.owner] = self._of_owner.get(lock.owner, 0) + 1
            self._index(lock.task_id, lock.resource_key, held=True)
        else:
            self._ended[lock.resource_key] = None

    def _end(self, lock: Lock | None, event: Mapping[str, Any], offset: int) -> None:
        if lock is None:
            return
        lock.last_offset = offset
        if lock.state != "held" or lock.lock_id != event["lock_id"]:
            return
        lock.state, lock.expires_at = event["state"], None
        self._index(lock.task_id, lock.resource_key, held=False)
        self._ended[lock.resource_key] = None
        owner, count = self._holders[lock.holder]
        if count > 1:
            self._holders[lock.holder] = (owner, count - 1)
        else:
            del self._holders[lock.holder]
        self._of_owner[lock.owner] -= 1
        if not self._of_owner[lock.owner]:
            del self._of_owner[lock.owner]
        while len(self._ended) > ENDED_MAX:
            key, _ = self._ended.popitem(last=False)
            forgotten = self.by_key.pop(key)
            self._keys.pop(forgotten.lock_id, None)
            self.term_floor = max(self.term_floor, forgotten.term)

    def _index(self, task_id: str | None, key: str, *, held: bool) -> None:
        if task_id is None:
            return
        keys = self._of_task.setdefault(task_id, {})
        if held:
            keys[key] = None
        else:
            keys.pop(key, None)
        if not keys:
            del self._of_task[task_id]


def view(lock: Lock, *, renewed: bool = False) -> dict[str, Any]:
    """A lock as it stands on the wire."""
    return {
        "lock_id": lock.lock_id,
        "resource_key": lock.resource_key,
        "holder": lock.holder,
        "term": lock.term,
        "state": lock.state,
        "expires_at": None if lock.expires_at is None else rfc3339(lock.expires_at),
        "renewed": renewed,
    }
