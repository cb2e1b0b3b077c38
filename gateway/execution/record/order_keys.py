"""
Idempotency keys: which task an order has become, so that the same order twice is one task.

A fold, as a part of ``State``. A key belongs to a user, and is kept for a day. At a bound the
oldest leaves, and of a user with more than a quarter of all of them its own: after that the same
order is a new one.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.domain.shares import Shares

__all__ = ["KEYS_BYTES", "KEYS_MAX", "OrderKeys"]

KEYS_AGE_S = 24 * 3600.0
KEYS_MAX = 100_000
KEYS_BYTES = 64 * 2**20
# What a key weighs beside its own text: the task's id, the fingerprint, and their places.
BESIDE_BYTES = 512

# A user, its key, the task, what was asked, and when.
Saved = tuple[str, str, str, str, float]


class OrderKeys:
    """The keys of all users."""

    def __init__(self) -> None:
        self._kept: Shares[Saved] = Shares()

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Saved]:
        return iter(self._kept)

    def add(self, user_id: str, key: str, task_id: str, fingerprint: str, at: float) -> None:
        """Keep a key; what it stood for before, it stands for no more."""
        whole = _whole(user_id, key)
        self._kept.remove(whole)
        saved = user_id, key, task_id, fingerprint, at
        weight = len(whole.encode()) + BESIDE_BYTES
        self._kept.add(whole, saved, owner=user_id, weight=weight)
        while len(self._kept) > KEYS_MAX or self._kept.weight > KEYS_BYTES:
            self._kept.pop()

    def task_of(self, user_id: str, key: str) -> tuple[str, str] | None:
        """Give the id and the fingerprint of the order of a key's task; None: the key is new."""
        saved = self._kept.get(_whole(user_id, key))
        return None if saved is None else saved[2:4]

    def expire(self, now: float) -> None:
        """Let go of what is older than a day; ``now`` is in seconds since the Unix epoch."""
        while self._kept and self._kept.oldest[-1] < now - KEYS_AGE_S:
            self._kept.pop_oldest()


def _whole(user_id: str, key: str) -> str:
    # Neither has a line's end in it.
    return f"{user_id}\n{key}"
