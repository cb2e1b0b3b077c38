"""This node's clock beside the log's: when they run apart, leases end early or late here."""

from __future__ import annotations

import logging

from gateway.ports import Clock, Entry

__all__ = ["Skew"]

logger = logging.getLogger(__name__)

# Entries of which the quickest to arrive is judged; the others were on their way for a while.
ENTRIES = 50
# Well under any lease, and over what clocks that are kept by NTP differ.
SKEW_S_MAX = 2.0
# What was missed comes late and all at once; clocks that differ do so for longer.
SUSPECTED_S = 10.0


class Skew:
    """Says so when the clocks run apart by more than 2 s, once until they do not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ages: list[float] = []
        self._apart_since: float | None = None
        self._told = False

    def seen(self, entry: Entry) -> None:
        """An entry has just arrived."""
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
                "this machine's clock is %.1f s %s the store's: leases and deadlines end %s here; "
                "keep both by NTP",
                abs(skew_s),
                *(("ahead of", "early") if skew_s > 0 else ("behind", "late")),
            )
