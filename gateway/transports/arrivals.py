"""
Arrivals: the connections that wait for their clients, and when each is looked at.

There is one timer for all connections, and none for a request.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

__all__ = ["Arrivals"]

# How often unfinished requests are looked at, in seconds, and how often within their time.
LOOK_S_MAX = 1.0
LOOKS_PER_LIMIT = 10


class Arriving(Protocol):
    """A connection, as it is looked after."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Its loop."""

    def look(self, now: float) -> None:
        """End it if it takes too long; ``now`` is the loop's time."""


class Arrivals:
    """
    The connections that wait for a client: for its first request, the rest of one, or the next.

    Args:
        head_s: How long a request's head may take, in seconds.
    """

    def __init__(self, *, head_s: float) -> None:
        self.head_s = head_s
        self._look_s = min(LOOK_S_MAX, head_s / LOOKS_PER_LIMIT)
        self._unfinished: set[Arriving] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._unfinished)

    def add(self, protocol: Arriving) -> None:
        """Look after a connection until it is discarded."""
        self._unfinished.add(protocol)
        if self._timer is None:
            self._timer = protocol.loop.call_later(self._look_s, self._look, protocol.loop)

    def discard(self, protocol: Arriving) -> None:
        """Its request is there, or it has ended."""
        self._unfinished.discard(protocol)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for protocol in tuple(self._unfinished):
            protocol.look(now)
        self._timer = None
        if self._unfinished:
            self._timer = loop.call_later(self._look_s, self._look, loop)
