"""The pauses of the demonstration: long enough for a person, shorter for a test."""

from __future__ import annotations

from gateway.ports import Clock

__all__ = ["Pauses"]


class Pauses:
    """
    Pauses by one clock, all shortened alike.

    Args:
        clock: Measures them.
        pace: Every pause is divided by it; 1 is for a person who watches.
    """

    def __init__(self, clock: Clock, *, pace: float = 1.0) -> None:
        assert pace > 0
        self.pace = pace
        self._clock = clock

    async def pause(self, seconds: float) -> None:
        """Wait for ``seconds``, divided by the pace."""
        await self._clock.sleep(seconds / self.pace)
