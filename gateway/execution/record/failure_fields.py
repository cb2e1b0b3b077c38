"""The failure fields that every event about a failure carries, or about the end of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.domain.failure import Failure

__all__ = ["Fields", "about", "over"]

Fields = dict[str, Any]


def about(failure: Failure, *, error_id: str | None, said: str, estimate: Fields) -> Fields:
    """
    Tell of a failure.

    Args:
        failure: What failed, classified.
        error_id: Of the failure; None: none was opened.
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
    Tell that nothing is wrong any more.

    Args:
        last: The fields of the failure that is over; None: there was none.
        error_id: Of that failure.
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
