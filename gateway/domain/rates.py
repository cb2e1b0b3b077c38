"""
Rates: how often somebody may ask. One token bucket for each key, bounded in number.

A bucket holds ``burst`` tokens, ``rate`` of them come back each second. A request takes one, or as
many as it has bytes.
All that is kept of a bucket is when it will be full again (the generic cell rate algorithm,
ITU-T I.371, appendix I). A bucket that is full again says nothing, so it is forgotten.

Times are seconds on a monotonic clock, given as ``now``. Nothing here reads a clock.
"""

from __future__ import annotations

import math

__all__ = ["Buckets", "wait_told"]

# Divided by a rate the pieces of a burst do not add up exactly; less than this is rounding, in
# seconds.
ROUNDING_S = 1e-6


class Buckets:
    """
    The buckets of all keys.

    Args:
        rate: Tokens that come back each second.
        burst: Tokens that a full bucket holds, at least 1.
    """

    def __init__(self, *, rate: float, burst: float) -> None:
        assert rate > 0
        assert burst >= 1
        self._token_s = 1 / rate
        self._burst_s = burst / rate
        self._full_at: dict[str, float] = {}
        # When to look for buckets that are full again. No bucket takes longer than two
        # bursts to fill, so at most those of three are kept.
        self._sweep_at = 0.0

    def __len__(self) -> int:
        """How many buckets are kept."""
        return len(self._full_at)

    def take(self, key: str, now: float, tokens: float = 1) -> float:
        """
        Take tokens: as many as a full bucket holds, when more are asked for.

        Returns:
            0 when there were as many; else the seconds until there are, and nothing is taken.
        """
        full_at = self._full_at.get(key, now)
        takes_s = self._token_s * tokens
        after = (full_at if full_at > now else now) + min(takes_s, self._burst_s)
        wait_s = after - now - self._burst_s
        if wait_s > ROUNDING_S:
            return wait_s
        if now >= self._sweep_at:
            self._sweep(now)
        self._full_at[key] = after
        return 0.0

    def charge(self, key: str, now: float, tokens: float) -> None:
        """Take tokens even if there are too few; what is missing is owed, one burst at most."""
        full_at = self._full_at.get(key, now)
        after = (full_at if full_at > now else now) + self._token_s * tokens
        if now >= self._sweep_at:
            self._sweep(now)
        self._full_at[key] = min(after, now + 2 * self._burst_s)

    def wait_s(self, key: str, now: float) -> float:
        """Tell in how many seconds nothing is owed any more; 0: nothing is."""
        return max(0.0, self._full_at.get(key, now) - now - self._burst_s)

    def left(self, key: str, now: float) -> float:
        """Tell how full a bucket is: 1 for one that is full, 0 or less for an empty one."""
        return 1.0 - max(0.0, self._full_at.get(key, now) - now) / self._burst_s

    def _sweep(self, now: float) -> None:
        self._sweep_at = now + self._burst_s
        self._full_at = {key: at for key, at in self._full_at.items() if at > now}


def wait_told(seconds: float) -> float:
    """Round a time to wait up to milliseconds: after what is told, it is not too early."""
    return math.ceil(seconds * 1000 - 1e-6) / 1000
