"""
The drain rate: how many tasks begin in a second, measured over the last ones.

It says when there will be room in a full queue. Times are seconds since the Unix epoch.
"""

from __future__ import annotations

from collections import deque

__all__ = ["WINDOW_S", "DrainRate"]

# Over how many seconds is measured. So many counts are kept at the most.
WINDOW_S = 10


class DrainRate:
    """Counts beginnings by the second."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, int]] = deque(maxlen=WINDOW_S)

    def began(self, at: float) -> None:
        """A task has begun."""
        second = int(at)
        if self._counts and self._counts[-1][0] >= second:
            last, count = self._counts[-1]
            self._counts[-1] = (last, count + 1)
        else:
            self._counts.append((second, 1))

    def wait_s(self, tasks: int, now: float) -> float | None:
        """Tell in how many seconds so many will have begun; None: none has begun lately."""
        counts = [(second, count) for second, count in self._counts if second > now - WINDOW_S]
        if not counts:
            return None
        measured_s = max(1.0, now - counts[0][0])
        return tasks * measured_s / sum(count for _, count in counts)
