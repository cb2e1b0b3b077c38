"""
The time of a log: where it began plus this machine's monotonic clock, which nobody sets.

Entries are stamped with it. So a system clock that is set, by a first synchronisation or since a
machine was asleep, moves nothing that is due: no lease, deadline, cooldown or backoff.
"""

from __future__ import annotations

import math

from gateway.ports import Clock

__all__ = ["Steady"]


class Steady:
    """
    Seconds since the Unix epoch that go on evenly, and never back.

    Args:
        clock: This machine's; only its monotonic time is looked at.
        at: What time it is now; None: nobody has said yet.
    """

    def __init__(self, clock: Clock, *, at: float | None = None) -> None:
        self._clock = clock
        self._offset_s = -math.inf
        if at is not None:
            self.seen(at)

    @property
    def known(self) -> bool:
        """Whether anybody has said what time it is."""
        return self._offset_s != -math.inf

    def seen(self, at: float) -> None:
        """Take in that it is ``at`` or later: who is further on is right."""
        self._offset_s = max(self._offset_s, at - self._clock.monotonic())

    def forget(self) -> None:
        """Know nothing: another log begins."""
        self._offset_s = -math.inf

    def now(self) -> float:
        """Give the log's time; before it is known, this is long ago: nothing has aged yet."""
        return self._clock.monotonic() + self._offset_s
