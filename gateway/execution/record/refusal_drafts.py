"""The draft of a refusal: a request was not taken, and its user is told why and until when."""

from __future__ import annotations

from gateway.domain import own_failures
from gateway.domain.agent import AgentPolicy
from gateway.domain.announcements import sentence
from gateway.domain.failure import Failure
from gateway.execution.record.failure_fields import about
from gateway.execution.record.intake import Intake
from gateway.ports import Draft

__all__ = ["RefusalDrafts"]


class RefusalDrafts:
    """
    Makes the drafts of refusals, whatever their reason.

    Args:
        intake: Makes drafts.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def rejected(
        self,
        *,
        reason: str,
        user_id: str,
        policy: AgentPolicy,
        retry_after_s: float,
        error_id: str | None,
        count: int,
    ) -> Draft:
        """
        Tell a user that a request is not taken, and when it is worth asking again.

        Args:
            reason: As ``request_rejected`` has it.
            policy: Of the agent that was asked for.
            retry_after_s: In seconds.
            error_id: Of the breaker's failure; None: no failure is the reason.
            count: How many refusals of this user for this reason it tells of.
        """
        message, said = sentence(
            "request_rejected", reason=reason, retry_after=round(retry_after_s, 3)
        )
        opened = reason == "circuit_breaker_open"
        fields = about(
            _failure(reason, retry_after_s),
            error_id=error_id,
            said=said,
            estimate={
                "estimated_recovery_time": round(retry_after_s, 3),
                "recovery_estimate_source": "breaker_cooldown" if opened else "default",
            },
        )
        return self._intake.draft(
            "request_rejected",
            f"rejection/{policy.name}",
            user_id=user_id,
            agent_name=policy.name,
            severity="warning",
            message=message,
            reason=reason,
            retry_after=round(retry_after_s, 3),
            count=count,
            **fields,
        )


def _failure(reason: str, retry_after_s: float) -> Failure:
    match reason:
        case "circuit_breaker_open":
            return own_failures.circuit_open(retry_after_s)
        case "rate_limited":
            return own_failures.too_many_requests()
        case _:
            return own_failures.capacity_exceeded()
