"""
Skew: whether this machine's clock and the log's agree. What ends by time goes by the log's
(``log_time``); what this machine knows from elsewhere, such as the end of a token, by its own.

Entries carry the log's time. Their age on arrival is the time that they were under way plus the
skew, so the youngest of many tells the skew.
"""

from __future__ import annotations

from gateway.domain.diagnostics import logger_of
from gateway.ports import Clock, Entry

__all__ = ["Skew"]

logger = logger_of(__name__)

# So many entries are judged by the youngest among them.
ENTRIES = 50
# Skew up to this is not told, in seconds: well under any lease, over what NTP leaves.
SKEW_S_MAX = 2.0
# Entries that were missed arrive late, too, but all at once. Skew is told when it is still there
# after this, in seconds.
SUSPECTED_S = 10.0


class Skew:
    """Logs a warning when the clocks run apart by more than 2 s, once until they agree again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ages: list[float] = []
        self._apart_since: float | None = None
        self._told = False

    def seen(self, entry: Entry) -> None:
        """Take in the age of an entry that has just arrived."""
        self._ages.append(self._clock.wall() - entry.at)
        if len(self._ages) < ENTRIES:
            return
        skew_s = min(self._ages)
        self._ages.clear()
        now = self._clock.monotonic()
        if abs(skew_s) <= SKEW_S_MAX:
            self._apart_since, self._told = None, False
            return
        self._apart_since = self._apart_since or now
        if now - self._apart_since >= SUSPECTED_S and not self._told:
            self._told = True
            logger.warning(
                "this machine's clock is %.1f s %s the store's: tokens end %s here; "
                "keep both by NTP",
                abs(skew_s),
                *(("ahead of", "early") if skew_s > 0 else ("behind", "late")),
            )
