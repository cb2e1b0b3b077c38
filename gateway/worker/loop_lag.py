"""
How late an event loop is.

Heartbeats carry it: a worker whose loop is blocked for long is alive, and yet does no work.
"""

from __future__ import annotations

import asyncio

__all__ = ["LoopLag"]

# How often the loop is measured. What blocks it for less than this may go unseen.
LOOK_EVERY_S = 0.1


class LoopLag:
    """Measures by how much the running loop is late, from ``start`` until ``stop``."""

    def __init__(self) -> None:
        self._worst_s = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to measure the running loop."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + LOOK_EVERY_S
        self._timer = loop.call_at(self._due, self._look)

    def stop(self) -> None:
        """End measuring; the second call does nothing."""
        if self._timer is not None:
            self._timer.cancel()

    def take(self) -> float:
        """Give the longest delay since the last call, in seconds, and begin anew from 0."""
        worst_s, self._worst_s = self._worst_s, 0.0
        return round(worst_s, 3)

    def _look(self) -> None:
        self._worst_s = max(self._worst_s, asyncio.get_running_loop().time() - self._due)
        self.start()
