"""
Absences of the store: told to every connection while they last, recorded when they are over.

Nothing can be recorded while the store is away. So the heartbeats of the connections carry what is
degraded, and the events follow when the store is back, under the same ``degradation_id`` (decision
12). Of several nodes that saw an absence, one records it; each sounds the alarm while it lasts.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from gateway.domain.announcements import sentence
from gateway.domain.errors import ExpectationFailed, Unavailable
from gateway.domain.own_failures import store_away
from gateway.domain.timestamps import rfc3339
from gateway.execution.monitor import Monitor
from gateway.execution.record.alerts import Alerts
from gateway.execution.record.failure_fields import about, recovered
from gateway.execution.record.intake import Decision, Intake
from gateway.ports import Draft, Entry, EventLog

__all__ = ["Absences"]

SUBJECT = "store/log"
# How long an absence lasts before it is worth an alert, in seconds: one that a restart of a server
# explains is over by then.
ALERT_AFTER_S = 5.0
NO_ESTIMATE = {"estimated_recovery_time": 0, "recovery_estimate_source": "default"}


@dataclasses.dataclass(frozen=True, slots=True)
class _Absence:
    """
    One absence.

    Attributes:
        since: When it began, in seconds since the Unix epoch.
        error_id: Of the failure that it will be recorded as.
        told: What a heartbeat carries.
        event_id: Of the event that it is told with.
    """

    since: float
    error_id: str
    told: Mapping[str, Any]
    event_id: str


class Absences:
    """
    Knows since when the store is away, and records it afterwards.

    Args:
        log: Asked whether its store is there.
        intake: Records the absence when it is over.
        alerts: Sound the alarm before that.
        monitor: Calls when that is due.
    """

    def __init__(self, log: EventLog, intake: Intake, alerts: Alerts, monitor: Monitor) -> None:
        self._log = log
        self._intake = intake
        self._alerts = alerts
        self._monitor = monitor
        self._absence: _Absence | None = None
        self._last_end_at = 0.0

    @property
    def degradation(self) -> Mapping[str, Any] | None:
        """What is degraded now, to be told at once; None: the store is there."""
        self.look()
        return None if self._absence is None or self._log.available else self._absence.told

    @property
    def over(self) -> bool:
        """Whether an absence is over and not recorded yet."""
        return self._absence is not None and self._log.available

    def look(self) -> None:
        """Notice it if the store has gone away."""
        if self._absence is None and not self._log.available:
            ids, since = self._intake.ids, self._intake.clock.wall()
            told = _degradation(ids.uuid7(), since)
            absence = self._absence = _Absence(since, ids.uuid7(), told, ids.uuid7())
            alert_at = self._monitor.now + ALERT_AFTER_S
            self._monitor.at(alert_at, functools.partial(self._alert, absence))

    def forget(self) -> None:
        """Drop what was not recorded: the log is read anew."""
        self._absence = None

    def applied(self, entry: Entry) -> None:
        """Take in an entry that was folded."""
        if entry.subject == SUBJECT:
            self._last_end_at = entry.at

    async def _alert(self, absence: _Absence) -> None:
        if self._absence is absence and not self._log.available:
            draft = self._degraded(absence, over=False)
            self._alerts.not_in_the_log(draft, self._intake.clock.wall())

    async def record(self) -> bool:
        """
        Record that the store was away and is back, unless another node did.

        Returns:
            Whether that is done; if not, the store did not take it, and it may be tried later.
        """
        absence = self._absence
        assert absence is not None
        drafts = self._drafts(absence)

        def decide(lost: ExpectationFailed | None) -> Decision | None:
            if self._last_end_at > absence.since:
                return None  # another node has recorded it
            # The newest entry may be older than the snapshot: then only the store knows of it.
            last = self._log.last_offset(SUBJECT) if lost is None else lost.actual
            return drafts, {SUBJECT: last}

        try:
            await self._intake.decide(decide, about="the store's absence")
        except Unavailable:
            return False
        self._absence = None
        return True

    def _degraded(self, absence: _Absence, *, over: bool) -> Draft:
        _, said = sentence("graceful_degradation", mode="store_away" if over else "store_away_now")
        was, could = ("was", "could") if over else ("is", "can")
        return self._intake.draft(
            "graceful_degradation",
            SUBJECT,
            event_id=absence.event_id,
            user_id="*",
            severity="critical",
            message=f"the store {was} away: nothing new {could} be recorded",
            **{
                **absence.told,
                **about(store_away(), error_id=absence.error_id, said=said, estimate=NO_ESTIMATE),
            },
        )

    def _drafts(self, absence: _Absence) -> list[Draft]:
        failure = store_away()
        over = self._intake.draft(
            "system_recovered",
            SUBJECT,
            user_id="*",
            **recovered(
                "store",
                {"error_type": failure.error_type, "error_code": failure.error_code},
                absence.error_id,
                took_s=self._intake.clock.wall() - absence.since,
                attempts=1,
                degradation_id=absence.told["degradation_id"],
            ),
        )
        return [self._degraded(absence, over=True), over]


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
