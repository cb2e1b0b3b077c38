"""
Volume: how much each user's tasks have put into the log lately.

The log is bounded, and what is new pushes out what is old, whosesoever it is. So whoever has
written more than its rate allows gets no new task until it has made up for it. What runs is never
refused for it: a result is written whatever it weighs, and is owed.
"""

from __future__ import annotations

from gateway.domain.rates import Buckets
from gateway.domain.settings import Settings
from gateway.domain.shares import SHARE
from gateway.ports import Clock, Entry

__all__ = ["Volume"]


class Volume:
    """
    Counts by the tasks' owner, from the log, so that all its nodes count the same.

    Args:
        clock: Monotonic seconds are asked for.
        settings: ``task_bytes`` come back each second, and a quarter of ``log_bytes`` is there at
            once.
    """

    def __init__(self, clock: Clock, settings: Settings) -> None:
        self._clock = clock
        self.rate = settings.task_bytes
        self.burst = max(settings.log_bytes // SHARE, self.rate)
        self.clear()

    def clear(self) -> None:
        """Count anew: the log is another one, or is read anew."""
        self._owed = Buckets(rate=self.rate, burst=self.burst) if self.rate else None

    def wrote(self, user_id: str, entry: Entry) -> None:
        """Count an entry of a user's task."""
        if self._owed is not None:
            self._owed.charge(user_id, self._clock.monotonic(), entry.size)

    def room_in_s(self, user_id: str) -> float:
        """Tell in how many seconds a user may have one more task; 0: now."""
        if self._owed is None:
            return 0.0
        return self._owed.wait_s(user_id, self._clock.monotonic())
