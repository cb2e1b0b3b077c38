"""
Health: how well a worker does its tasks, as one number from 0 to 1.

    score = 0.2 * reported + 0.5 * (1 - failing) + 0.3 * (1 - still)

``failing`` is the rate at which its attempts fail, ``still`` the share of them that stood still.
Each outcome weighs as much as all before it, and time takes half of both away every 30 s, so a
worker begins at 1 and comes back to it. What is not known counts as 1. Two rules keep it honest:

- A failure never raises a score. It makes ``failing`` and ``still`` larger or leaves them; only a
  success and time make them smaller.
- The time of an attempt that stands still heals nothing, or a long limit would hide what is missed.

All is computed from the log's entries and times, so every node computes the same.
"""

from __future__ import annotations

import dataclasses
import math

from gateway.domain.error_codes import CODES
from gateway.domain.failure import COUNTED_TYPES

__all__ = ["HALF_LIFE_S", "Health", "weighs"]

HALF_LIFE_S = 30.0
# What each signal is worth; together 1.
REPORTED, SUCCESS, PROGRESS = 0.2, 0.5, 0.3
# What an outcome weighs; all before it together weigh the rest.
NEWEST = 0.5


def weighs(error_type: str, error_code: str) -> bool:
    """Tell whether a failure speaks against the worker whose attempt it ended."""
    known = CODES.get(error_code)
    if known is not None and known.error_type == error_type and not known.counted:
        return False
    return error_type in COUNTED_TYPES or error_type == "agent_lost"


@dataclasses.dataclass(slots=True)
class Health:
    """
    What the outcomes of a worker's attempts say of it.

    Attributes:
        failing: How much its attempts fail, 0 to 1, as of ``at``.
        still: How many of them stood still, 0 to 1, as of ``at``.
        at: When the newest outcome was folded, in seconds since the Unix epoch.
    """

    failing: float = 0.0
    still: float = 0.0
    at: float = 0.0

    def succeeded(self, at: float) -> None:
        """Fold an attempt that succeeded, which is progress as well."""
        share = self._left(at) * (1 - NEWEST)
        self.failing, self.still = self.failing * share, self.still * share
        self.at = max(self.at, at)

    def failed(self, at: float, *, began_at: float, stood_still: bool) -> None:
        """
        Fold an attempt that failed.

        Args:
            at: When the log told it, in seconds since the Unix epoch.
            began_at: When the attempt began.
            stood_still: Whether it ran out its time and came to nothing.
        """
        left = self._left(began_at)
        self.failing, self.still = self.failing * left, self.still * left
        self.failing += (1 - self.failing) * NEWEST
        if stood_still:
            self.still += (1 - self.still) * NEWEST
        self.at = max(self.at, at)

    def score(self, now: float, *, reported: float = 1.0) -> float:
        """
        Give the score, 0 to 1.

        Args:
            now: In seconds since the Unix epoch; while attempts stand still, when the first of
                them began.
            reported: What the worker says of itself, 0 to 1.
        """
        left = self._left(now)
        return (
            REPORTED * reported
            + SUCCESS * (1 - self.failing * left)
            + PROGRESS * (1 - self.still * left)
        )

    def heals_in_s(self, score: float, now: float, *, reported: float = 1.0) -> float:
        """Tell how long it takes from ``now`` on, in seconds, until time alone gives ``score``."""
        lacking = 1 - REPORTED * (1 - reported) - score
        missed = (SUCCESS * self.failing + PROGRESS * self.still) * self._left(now)
        if missed <= lacking:
            return 0.0
        return math.inf if lacking <= 0 else HALF_LIFE_S * math.log2(missed / lacking)

    def _left(self, now: float) -> float:
        """Tell which share of what was missed time has left."""
        return math.pow(0.5, max(0.0, now - self.at) / HALF_LIFE_S)
