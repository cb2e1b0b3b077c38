"""
The impact of failures on each user: how often, for how long, and what became of the results.

A fold over the log. A failure counts once, by its ``error_id``, however many attempts failed under
it. Minutes are degraded while at least one failure of the user is open; failures that are open at
the same time do not add up.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

__all__ = ["USERS_MAX", "Impact", "Impacts"]

# Users whose impact is known; at the bound the one that was touched longest ago is forgotten, and
# is counted from nothing when it fails again.
USERS_MAX = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class Impact:
    """
    What failures have done to one user; another one takes its place when that changes.

    Attributes:
        failures: Failures that were opened.
        recovered: Those that ended with a recovery.
        degraded_s: Seconds with an open failure, up to ``since``.
        results_kept: Tasks that failed at least once and yet gave their result, or that ended
            without it while a part of their work is kept; and parts that a backend reported.
        results_lost: Tasks that ended as failed or dead letters, and nothing of them is kept.
        open: Failures that are open now.
        since: When the first of them was opened, in seconds since the Unix epoch; None: none is.
    """

    user_id: str
    failures: int = 0
    recovered: int = 0
    degraded_s: float = 0.0
    results_kept: int = 0
    results_lost: int = 0
    open: int = 0
    since: float | None = None


class Impacts:
    """The impact on every user that has met a failure."""

    def __init__(self) -> None:
        self._by_user: OrderedDict[str, Impact] = OrderedDict()

    def __iter__(self) -> Iterator[Impact]:
        return iter(self._by_user.values())

    def adopt(self, impact: Impact) -> None:
        """Add what a snapshot has of one user."""
        self._by_user[impact.user_id] = impact

    def opened(self, user_id: str, *, at: float) -> None:
        """A failure of the user was opened."""
        known = self._of(user_id)
        self._put(
            replace(
                known,
                failures=known.failures + 1,
                open=known.open + 1,
                since=at if known.since is None else known.since,
            )
        )

    def closed(self, user_id: str, *, at: float, recovered: bool) -> None:
        """A failure that ``opened`` was told of has ended, or is not known any more."""
        known = self._of(user_id)
        if known.open == 0:
            return  # it was opened before the user was forgotten
        left, degraded_s, since = known.open - 1, known.degraded_s, known.since
        if left == 0 and since is not None:
            degraded_s, since = degraded_s + max(0.0, at - since), None
        self._put(
            replace(
                known,
                recovered=known.recovered + recovered,
                degraded_s=degraded_s,
                open=left,
                since=since,
            )
        )

    def kept(self, user_id: str) -> None:
        """A result, or a part of it, survived a failure."""
        known = self._of(user_id)
        self._put(replace(known, results_kept=known.results_kept + 1))

    def lost(self, user_id: str) -> None:
        """A task ended without a result, and nothing of it is kept."""
        known = self._of(user_id)
        self._put(replace(known, results_lost=known.results_lost + 1))

    def view(self, user_id: str, *, now: float) -> dict[str, Any]:
        """Give a user's impact as it stands on the wire, ``now`` in seconds since the epoch."""
        impact = self._of(user_id)
        degraded_s = impact.degraded_s
        if impact.since is not None:
            degraded_s += max(0.0, now - impact.since)
        return {
            "user_id": user_id,
            "failures": impact.failures,
            "recovered": impact.recovered,
            "minutes_degraded": round(degraded_s / 60, 3),
            "results_kept": impact.results_kept,
            "results_lost": impact.results_lost,
        }

    def _of(self, user_id: str) -> Impact:
        return self._by_user.get(user_id) or Impact(user_id)

    def _put(self, impact: Impact) -> None:
        self._by_user[impact.user_id] = impact
        self._by_user.move_to_end(impact.user_id)
        if len(self._by_user) > USERS_MAX:
            self._by_user.popitem(last=False)
