"""The draft of an audit record: what was done with an operator's means, or refused, and by whom."""

from __future__ import annotations

from gateway.domain.redaction import Redacted
from gateway.execution.record.intake import Intake
from gateway.ports import Draft

__all__ = ["AuditDrafts"]

# What has no operation of its own; every other action has the name of its operation.
SIGN_IN_REFUSED = "sign_in_refused"
HOLD_LIFTED = "hold_lifted"


class AuditDrafts:
    """Makes the drafts of audit records."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def taken(self, action: str, *, by: str, target: str | None, task_id: str | None) -> Draft:
        """
        Note that a caller has carried out an operation.

        Args:
            action: The operation's name.
            by: The caller's user id.
            target: The id in the operation's path; None: it has none.
            task_id: The target, if it is a task.
        """
        return self._intake.draft(
            "audit_recorded",
            f"audit/{action}",
            message=f"{action} {target}" if target else action,
            task_id=task_id,
            detail=Redacted({"by": by}),
            action=action,
            target=target,
            reason=None,
            count=1,
        )

    def hold_lifted(self, upstream: str) -> Draft:
        """Tell all nodes that an upstream is called again, although it has asked not to be."""
        return self._intake.draft(
            "audit_recorded",
            f"upstream/{upstream}",
            message=f"the upstream {upstream} is called again, before the time that it has named",
            action=HOLD_LIFTED,
            target=upstream,
            reason=None,
            count=1,
        )

    def sign_in_refused(self, reason: str, count: int) -> Draft:
        """Note that ``count`` sign-ins were refused for the same reason."""
        return self._intake.draft(
            "audit_recorded",
            f"audit/{SIGN_IN_REFUSED}",
            severity="warning",
            message=f"sign-ins refused: {count}, {reason}",
            action=SIGN_IN_REFUSED,
            target=None,
            reason=reason,
            count=count,
        )
