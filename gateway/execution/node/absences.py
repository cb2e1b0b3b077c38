"""
The store's absences: told to whoever is connected while they last, recorded when they are over.

Nothing can be recorded while the store is away, so the heartbeats of the connections carry what
is degraded; the events follow when it is back, under the same ``degradation_id``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gateway.domain.announcements import sentence
from gateway.domain.errors import ExpectationFailed, Unavailable
from gateway.domain.own_failures import store_away
from gateway.domain.timestamps import rfc3339
from gateway.execution.record.failure_fields import about, over
from gateway.execution.record.intake import Intake
from gateway.ports import Draft, Entry, EventLog

__all__ = ["Absences"]

SUBJECT = "store/log"
# So often it is tried at a stretch when others tell of theirs at the same time.
TRIES_MAX = 5
NO_ESTIMATE = {"estimated_recovery_time": 0, "recovery_estimate_source": "default"}


@dataclasses.dataclass(frozen=True, slots=True)
class _Absence:
    """One of them; ``told`` is what a heartbeat carries."""

    since: float
    error_id: str
    told: Mapping[str, Any]


class Absences:
    """
    Knows whether the store is away, and tells.

    Args:
        log: Whose store it is.
        intake: To record what was, when it is over.
    """

    def __init__(self, log: EventLog, intake: Intake) -> None:
        self._log = log
        self._intake = intake
        self._absence: _Absence | None = None
        self._last_end_at = 0.0

    @property
    def degradation(self) -> Mapping[str, Any] | None:
        """What is degraded while the store is away, to be told at once; None: it is there."""
        self.look()
        return None if self._absence is None or self._log.available else self._absence.told

    @property
    def over(self) -> bool:
        """Whether there was one that is to be recorded now."""
        return self._absence is not None and self._log.available

    def look(self) -> None:
        """Notice that the store has gone away."""
        if self._absence is None and not self._log.available:
            ids, since = self._intake.ids, self._intake.clock.wall()
            self._absence = _Absence(since, ids.uuid7(), _degradation(ids.uuid7(), since))

    def forget(self) -> None:
        """Everything is read anew, and what was is of no interest."""
        self._absence = None

    def applied(self, entry: Entry) -> None:
        """An entry was folded."""
        if entry.subject == SUBJECT:
            self._last_end_at = entry.at

    async def record(self) -> bool:
        """
        Record that the store was away and is back, unless another node did.

        Returns:
            Whether that is done; if not, the store did not take it, or has gone away again.
        """
        absence = self._absence
        assert absence is not None
        drafts, last = self._drafts(absence), self._log.last_offset(SUBJECT)
        for _ in range(TRIES_MAX):
            if self._last_end_at > absence.since:
                break  # another node was first
            try:
                await self._intake.append(drafts, expected={SUBJECT: last})
                break
            except ExpectationFailed as error:
                # Somebody was first, which has been folded by now; or the last one was told so
                # long ago that this node does not remember it, and the store does.
                last = error.actual
            except Unavailable:
                return False
        else:
            return False
        self._absence = None
        return True

    def _drafts(self, absence: _Absence) -> list[Draft]:
        failure = store_away()
        _, said = sentence("graceful_degradation", mode="store_away")
        degraded = self._intake.draft(
            "graceful_degradation",
            SUBJECT,
            user_id="*",
            severity="critical",
            message="the store was away: nothing new could be recorded",
            **{
                **absence.told,
                **about(failure, error_id=absence.error_id, said=said, estimate=NO_ESTIMATE),
            },
        )
        message, said = sentence("system_recovered", scope="store")
        recovered = self._intake.draft(
            "system_recovered",
            SUBJECT,
            user_id="*",
            message=message,
            scope="store",
            recovery_successful=True,
            recovery_time=round(max(0.0, self._intake.clock.wall() - absence.since), 3),
            attempts_made=1,
            degradation_id=absence.told["degradation_id"],
            **over(
                {"error_type": failure.error_type, "error_code": failure.error_code},
                absence.error_id,
                said,
            ),
        )
        return [degraded, recovered]


def _degradation(degradation_id: str, since: float) -> dict[str, Any]:
    _, said = sentence("graceful_degradation", mode="store_away_now")
    return {
        "degradation_id": degradation_id,
        "scope": "store",
        "mode": "store_away",
        "available_features": ["live_events", "reading"],
        "disabled_features": ["new_tasks", "recording"],
        "performance_impact": "What is asked for meanwhile is refused; ask again.",
        "since": rfc3339(since),
        "user_message": said,
    }
