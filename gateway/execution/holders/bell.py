"""
The bell: rung when there may be a task to take, heard by the runner and by the claims that wait.

A ring says only that something has changed. Each hearer looks at the folds itself, so that one
ring too many costs a look, and rings that come together are one.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Bell"]


class Bell:
    """Wakes its hearers."""

    def __init__(self) -> None:
        self._hearers: list[Callable[[], None]] = []

    def hear(self, hearer: Callable[[], None]) -> None:
        """Call ``hearer`` at each ring; it must neither wait nor raise."""
        self._hearers.append(hearer)

    def ring(self) -> None:
        """Let each hearer look whether there is something to do."""
        for hearer in self._hearers:
            hearer()

    async def ring_later(self) -> None:
        """Ring, as the action of a timer."""
        self.ring()
