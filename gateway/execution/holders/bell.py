"""The bell: rung when there may be a task to take, heard by everything that takes tasks."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Bell"]


class Bell:
    """Wakes the runner of this process and the claims that wait."""

    def __init__(self) -> None:
        self._hearers: list[Callable[[], None]] = []

    def hear(self, hearer: Callable[[], None]) -> None:
        """Call ``hearer`` at each ring; it must neither wait nor raise."""
        self._hearers.append(hearer)

    def ring(self) -> None:
        """Something has changed: look whether there is something to do."""
        for hearer in self._hearers:
            hearer()

    async def ring_later(self) -> None:
        """Ring, as the action of a timer."""
        self.ring()
