"""
The log's time, on every node the same, whatever the clock of its machine says.

Entries carry the time of the store that accepted them, and everything that ends does so that long
after an entry: leases, locks, deadlines, cooldowns, backoff. So ``now`` has to be the store's as
well. It is this machine's monotonic clock, which no one sets, plus an offset that is learnt from
each new entry: when one arrives with time ``at``, the log's time is ``at`` or a little later. The
entry that was under way for the shortest time tells it best.
"""

from __future__ import annotations

import math

from gateway.ports import Clock

__all__ = ["LogTime"]

# The best entry of this generation and of the one before count, each so long, in seconds: two
# clocks that drift apart, or a store's that is set back, are followed within two of them.
GENERATION_S = 60.0
# Timers are looked at anew when the log turns out to be further on by so much, in seconds.
FORWARD_S = 0.01


class LogTime:
    """
    A ``Clock`` whose ``wall`` is the log's time; before any was learnt, this machine's.

    Times that were learnt never go back: when the offset has to become less, it stands still until
    it is right.

    Args:
        clock: This machine's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Know nothing, as before the first entry: another store may have another clock."""
        self._since = self._before_s = self._newer_s = -math.inf
        self._latest = -math.inf

    def learn(self, at: float) -> bool:
        """
        Take in that the log's time is ``at`` or a little later.

        Returns:
            Whether the log is further on than was known.
        """
        now = self._clock.monotonic()
        offset_s, known_s = at - now, self._offset_s
        if now - self._since >= GENERATION_S:
            self._since, self._before_s, self._newer_s = now, self._newer_s, offset_s
        else:
            self._newer_s = max(self._newer_s, offset_s)
        return self._offset_s > known_s + FORWARD_S

    @property
    def _offset_s(self) -> float:
        return max(self._before_s, self._newer_s)

    def wall(self) -> float:
        if self._offset_s == -math.inf:
            return self._clock.wall()
        self._latest = max(self._latest, self._clock.monotonic() + self._offset_s)
        return self._latest

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
