"""
The failures that the gateway makes itself, where nothing was raised.

Each function gives a row of ``error_codes.CODES`` with the facts of the case.
"""

from __future__ import annotations

from gateway.domain.error_codes import CODES, failure_with
from gateway.domain.failure import Failure

__all__ = [
    "agent_lost",
    "background_failure",
    "caller_deadline",
    "cancelled",
    "cancelled_itself",
    "capacity_exceeded",
    "circuit_open",
    "excluded",
    "idle",
    "internal_error",
    "invalid_input",
    "no_worker",
    "noncompliant_event",
    "reported",
    "shutdown",
    "store_away",
    "timed_out",
    "too_many_requests",
    "unacceptable_result",
    "unencodable_result",
]


def timed_out(limit_s: float, *, llm_upstream: bool) -> Failure:
    """
    An attempt reached the agent's limit of ``limit_s`` seconds.

    Where the agent declared a language model (``llm_upstream``), the timeout is the model's.
    """
    return failure_with(
        "llm_timeout" if llm_upstream else "task_timeout", facts={"limit_s": limit_s}
    )


def idle(limit_s: float) -> Failure:
    """An attempt gave no piece and no progress for as long as its agent may be idle."""
    return failure_with("stalled", facts={"idle_limit_s": limit_s})


def caller_deadline(limit_s: float, *, waited_for: str | None = None) -> Failure:
    """
    The caller's own limit of ``limit_s`` seconds ran out, waiting included; no one failed.

    Args:
        waited_for: What held the task then, for developers; None: nothing that was told.
    """
    known = {} if waited_for is None else {"waited_for": waited_for}
    return failure_with("caller_deadline", facts={"limit_s": limit_s, **known})


def circuit_open(retry_after_s: float | None) -> Failure:
    """The breaker is open and there is no fallback; its next probe is in ``retry_after_s``."""
    return failure_with("circuit_open", retry_after_s=retry_after_s)


def cancelled(by: str) -> Failure:
    """The task was ended on purpose; ``by`` is a role (``user``, ``operator``), not a name."""
    return failure_with("cancelled", facts={"by": by})


def cancelled_itself() -> Failure:
    """The agent's code was cancelled by something of its own; nobody had asked for an end."""
    return failure_with("cancelled_itself")


def background_failure() -> Failure:
    """Something that an attempt has started raised, and nobody waited for it."""
    return failure_with("background_failure")


def agent_lost(code: str) -> Failure:
    """
    A worker is gone.

    ``code`` is heartbeat_lost, stalled, connection_lost, lease_expired or process_lost.
    """
    assert CODES[code].error_type == "agent_lost"
    return failure_with(code)


def no_worker() -> Failure:
    """No worker took the task in time."""
    return failure_with("no_worker")


def invalid_input(field: str, rule: str) -> Failure:
    """The input does not fit the agent; field and rule are named, the value never is."""
    return failure_with("invalid_input", facts={"field": field, "rule": rule})


def excluded() -> Failure:
    """An agent raised what its declaration calls the input's fault."""
    return failure_with("invalid_input", facts={"rule": "excluded"})


def unacceptable_result(rule: str) -> Failure:
    """The result does not meet what the agent's declaration demands; ``rule`` is the broken one."""
    return failure_with("unacceptable_result", facts={"field": "result", "rule": rule})


def unencodable_result(*, rule: str, bytes_max: int) -> Failure:
    """The agent returned a value that is no JSON, or more than ``bytes_max`` bytes of it."""
    return failure_with(
        "unencodable_result", facts={"field": "result", "rule": rule, "bytes_max": bytes_max}
    )


def shutdown() -> Failure:
    """The gateway stops, and with it the task."""
    return failure_with("shutdown")


def store_away() -> Failure:
    """The gateway's own store does not answer, so nothing can be recorded."""
    return failure_with("store_away")


def capacity_exceeded() -> Failure:
    """The gateway has no room for more work at the moment."""
    return failure_with("capacity_exceeded")


def too_many_requests() -> Failure:
    """A user asks for more than one may at once."""
    return failure_with("too_many_requests")


def internal_error() -> Failure:
    """The gateway itself made a mistake."""
    return failure_with("internal_error")


def noncompliant_event(field: str, rule: str) -> Failure:
    """An agent's report does not comply with its schema; this failure goes out in its place."""
    return failure_with("event_invalid", facts={"field": field, "rule": rule})


def reported(
    *, error_type: str | None, error_code: str | None, retry_after_s: float | None
) -> Failure:
    """
    A worker reported a failure over the wire (``task.fail``).

    A missing type follows from the code, and a missing code from the type. An unknown type, and
    a report with neither, is a processing error.
    """
    code = error_code if error_code is not None else ""
    if error_code is None and error_type is None:
        code = "agent_exception"
    return failure_with(code, error_type=error_type, retry_after_s=retry_after_s)
