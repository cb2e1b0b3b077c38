"""
The failure fields: what every event about a failure, or about the end of one, carries.

Every event about one failure carries the same ``error_id``, and an estimate of the recovery time
always says where it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.domain.announcements import sentence
from gateway.domain.failure import Failure

__all__ = ["Fields", "about", "over", "recovered"]

Fields = dict[str, Any]


def about(failure: Failure, *, error_id: str | None, said: str, estimate: Fields) -> Fields:
    """
    Give the fields of an event about a failure.

    Args:
        failure: The failure, classified.
        error_id: Its id; None: the event opens no failure.
        said: The sentence for people.
        estimate: ``estimated_recovery_time`` and where it comes from.
    """
    return {
        "error_type": failure.error_type,
        "error_code": failure.error_code,
        "is_recoverable": failure.is_recoverable,
        "user_message": said,
        "suggested_action": failure.suggested_action,
        "retry_possible": failure.retry_possible,
        "error_id": error_id,
        **estimate,
    }


def over(last: Mapping[str, Any] | None, error_id: str | None, said: str) -> Fields:
    """
    Give the fields of an event that ends a failure.

    Args:
        last: The fields of the failure that is over; None: there was none.
        error_id: The id of that failure; None: there was none.
        said: The sentence for people.
    """
    return {
        "error_type": last["error_type"] if last else None,
        "error_code": last["error_code"] if last else None,
        "is_recoverable": True,
        "user_message": said,
        "suggested_action": "none",
        "retry_possible": False,
        "error_id": error_id,
        "estimated_recovery_time": None,
        "recovery_estimate_source": None,
    }


def recovered(
    scope: str,
    last: Mapping[str, Any] | None,
    error_id: str | None,
    *,
    took_s: float,
    attempts: int,
    degradation_id: str | None = None,
    told_as: str | None = None,
) -> Fields:
    """
    Give the own fields of ``system_recovered``: a failure or a degradation is over.

    Args:
        scope: What is well again: task, breaker, agent, domain, mode, store.
        last: The fields of the failure that is over; None: there was none.
        error_id: The id of that failure; None: there was none.
        took_s: Seconds since the failure began; a negative time, by clocks that run apart, is 0.
        attempts: Number of attempts until it was over.
        degradation_id: The degradation that this ends; None: it ends none.
        told_as: The scope whose sentence in the catalogue is used; None: ``scope``.
    """
    message, said = sentence("system_recovered", scope=told_as or scope)
    return {
        "message": message,
        "scope": scope,
        "recovery_successful": True,
        "recovery_time": round(max(0.0, took_s), 3),
        "attempts_made": attempts,
        "degradation_id": degradation_id,
        **over(last, error_id, said),
    }
