"""
The failures that the gateway makes itself, where nothing was raised.

Each is a row of ``error_codes.CODES`` with the facts of the case.
"""

from __future__ import annotations

from gateway.domain.error_codes import CODES, failure_with
from gateway.domain.failure import Failure

__all__ = [
    "agent_lost",
    "caller_deadline",
    "cancelled",
    "capacity_exceeded",
    "circuit_open",
    "internal_error",
    "invalid_input",
    "no_worker",
    "noncompliant_event",
    "reported",
    "shutdown",
    "store_away",
    "timed_out",
    "unencodable_result",
]


def timed_out(limit_s: float, *, llm_upstream: bool) -> Failure:
    """An attempt ran into the agent's limit; the language model is why, where one was declared."""
    return failure_with(
        "llm_timeout" if llm_upstream else "task_timeout", facts={"limit_s": limit_s}
    )


def caller_deadline(limit_s: float) -> Failure:
    """The caller's own limit ran out, waiting included; nobody's failure."""
    return failure_with("caller_deadline", facts={"limit_s": limit_s})


def circuit_open(retry_after_s: float | None) -> Failure:
    """The breaker is open and there is no fallback; ``retry_after_s`` is its next probe."""
    return failure_with("circuit_open", retry_after_s=retry_after_s)


def cancelled(by: str) -> Failure:
    """Somebody ended it on purpose; ``by`` is a role (``user``, ``operator``), not a name."""
    return failure_with("cancelled", facts={"by": by})


def agent_lost(code: str) -> Failure:
    """A worker is gone: heartbeat_lost, stalled, connection_lost, lease_expired, process_lost."""
    assert CODES[code].error_type == "agent_lost"
    return failure_with(code)


def no_worker() -> Failure:
    """Nobody took the task in time."""
    return failure_with("no_worker")


def invalid_input(field: str, rule: str) -> Failure:
    """The input does not fit the agent; field and rule are ours, never the value."""
    return failure_with("invalid_input", facts={"field": field, "rule": rule})


def unencodable_result(*, rule: str, bytes_max: int) -> Failure:
    """The agent returned something that is no JSON, or more than ``bytes_max``."""
    return failure_with(
        "unencodable_result", facts={"field": "result", "rule": rule, "bytes_max": bytes_max}
    )


def shutdown() -> Failure:
    """The gateway stops, and with it the task."""
    return failure_with("shutdown")


def store_away() -> Failure:
    """The gateway's own store does not answer: what happens cannot be recorded."""
    return failure_with("store_away")


def capacity_exceeded() -> Failure:
    """There is no room for more work at the moment."""
    return failure_with("capacity_exceeded")


def internal_error() -> Failure:
    """The gateway itself made a mistake."""
    return failure_with("internal_error")


def noncompliant_event(field: str, rule: str) -> Failure:
    """An agent's report does not comply with its schema; this goes out in its place."""
    return failure_with("event_invalid", facts={"field": field, "rule": rule})


def reported(
    *, error_type: str | None, error_code: str | None, retry_after_s: float | None
) -> Failure:
    """
    A worker's own account of a failure, over the wire (``task.fail``).

    What is missing follows from the rest; what is unknown is a processing error.
    """
    code = error_code if error_code is not None else ""
    if error_code is None and error_type is None:
        code = "agent_exception"
    return failure_with(code, error_type=error_type, retry_after_s=retry_after_s)
