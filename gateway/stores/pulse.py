"""Signals between nodes, for a gateway of one node: they stay in this process."""

from __future__ import annotations

from collections.abc import Callable

from gateway.ports import Hearer
from gateway.stores.followers import Followers

__all__ = ["LocalPulse"]


class LocalPulse:
    """A ``Pulse`` among the parts of one node; each signal is heard before ``publish`` returns."""

    def __init__(self) -> None:
        self._hearers: Followers[str, bytes] = Followers()

    async def publish(self, subject: str, body: bytes) -> None:
        self._hearers.tell(subject, body)

    def follow(self, hearer: Hearer) -> Callable[[], None]:
        return self._hearers.add(hearer)
