"""The drafts of a change of the mode: bookkeeping, and what everyone is told."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain import own_failures
from gateway.domain.announcements import sentence
from gateway.domain.facts import ModeChanged
from gateway.domain.mode import DEGRADED_PRIORITY_MAX, Mode
from gateway.domain.redaction import Redacted
from gateway.domain.timestamps import rfc3339
from gateway.execution.record.failure_fields import about, recovered
from gateway.execution.record.intake import Intake
from gateway.ports import Draft

__all__ = ["SUBJECT", "ModeDrafts"]

SUBJECT = "mode/gateway"
NEW_TASKS = "new tasks"
ACCEPTED_TASKS = "tasks that were accepted"
URGENT = f"tasks of priority 0 to {DEGRADED_PRIORITY_MAX}"
NOT_URGENT = f"tasks of priority {DEGRADED_PRIORITY_MAX + 1} to 10"


class ModeDrafts:
    """Makes the drafts about the mode."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def changed(
        self,
        mode: Mode,
        name: str,
        *,
        reason: str,
        because: str,
        by: str | None,
        features: Sequence[str],
        note: str | None = None,
    ) -> list[Draft]:
        """
        Tell that the mode is another one: the end of what was degraded, and what is from now on.

        Args:
            mode: As it is.
            name: The new one, different from that.
            reason: As ``mode_changed`` has it.
            because: The same for developers, with numbers.
            by: The node that has measured it; None: nobody did.
            features: Of all agents.
            note: Why, in an operator's words, which operators alone see; None: none were given.
        """
        drafts = [] if mode.degradation_id is None else [self._over(mode)]
        drafts.append(
            self._intake.draft(
                "mode_changed",
                SUBJECT,
                severity="info" if name == "normal" else "warning",
                message=f"mode {name}: {because}",
                fact=ModeChanged(by, note),
                detail=None if note is None else Redacted({"note": note}),
                mode=name,
                previous_mode=mode.name,
                reason=reason,
            )
        )
        if name != "normal":
            drafts.append(self._degraded(name, features))
        return drafts

    def _degraded(self, name: str, features: Sequence[str]) -> Draft:
        message, said = sentence("graceful_degradation", mode=name)
        some = name == "degraded"
        return self._intake.draft(
            "graceful_degradation",
            SUBJECT,
            user_id="*",
            severity="warning",
            message=message,
            degradation_id=self._intake.ids.uuid7(),
            scope="gateway",
            mode=name,
            available_features=[URGENT, *features] if some else [ACCEPTED_TASKS],
            disabled_features=[NOT_URGENT] if some else [NEW_TASKS, *features],
            performance_impact=said,
            since=rfc3339(self._intake.clock.wall()),
            **about(
                own_failures.capacity_exceeded(),
                error_id=self._intake.ids.uuid7(),
                said=said,
                estimate={"estimated_recovery_time": 0, "recovery_estimate_source": "default"},
            ),
        )

    def _over(self, mode: Mode) -> Draft:
        failure = own_failures.capacity_exceeded()
        return self._intake.draft(
            "system_recovered",
            SUBJECT,
            user_id="*",
            **recovered(
                "mode",
                {"error_type": failure.error_type, "error_code": failure.error_code},
                mode.error_id,
                took_s=self._intake.clock.wall() - mode.since,
                attempts=1,
                degradation_id=mode.degradation_id,
            ),
        )
