"""How late an event loop is: a loop that is blocked is no sign of life."""

from __future__ import annotations

import asyncio

__all__ = ["LoopLag"]

LOOK_EVERY_S = 0.1


class LoopLag:
    """Measures the running loop from ``start`` until ``stop``."""

    def __init__(self) -> None:
        self._worst_s = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to measure."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + LOOK_EVERY_S
        self._timer = loop.call_at(self._due, self._look)

    def stop(self) -> None:
        """End measuring."""
        if self._timer is not None:
            self._timer.cancel()

    def take(self) -> float:
        """The longest that anything had to wait for its turn since the last call, in seconds."""
        worst_s, self._worst_s = self._worst_s, 0.0
        return round(worst_s, 3)

    def _look(self) -> None:
        self._worst_s = max(self._worst_s, asyncio.get_running_loop().time() - self._due)
        self.start()
