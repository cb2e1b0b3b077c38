"""
The error codes that the gateway knows, and what follows from each, as one table.

The list of codes is open: an agent may report a code of its own, and its type then decides what
follows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from gateway.domain.failure import RETRIED_TYPES, Failure
from gateway.domain.retry_hints import delay_of

__all__ = ["CODES", "RETRY_LATER_FROM_S", "TYPES", "Kind", "action_of", "failure_with"]

# For so many seconds a user is advised to wait in front of the page; for more, to come back
# later. A limit per minute resets within 90 s; 600 s is a limit of another kind.
RETRY_LATER_FROM_S = 120.0

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Kind(NamedTuple):
    """What follows from an error code, or from a type for a code that is not in the table."""

    error_type: str
    is_recoverable: bool
    retry_possible: bool
    suggested_action: str
    retried: bool | None = None  # None: as its type is
    counted: bool = True  # where the type counts at all


YES, NO = True, False

# fmt: off
TYPES: Mapping[str, Kind] = {kind.error_type: kind for kind in (
    #    type                   recoverable  retry possible  suggested action
    Kind("timeout",             YES, YES, "wait"),
    Kind("rate_limit",          YES, YES, "wait"),
    Kind("resource_limit",      NO,  NO,  "contact_support"),
    Kind("network_error",       YES, YES, "wait"),
    Kind("validation_error",    YES, YES, "wait"),
    Kind("service_unavailable", YES, YES, "wait"),
    Kind("database_error",      YES, YES, "wait"),
    Kind("auth_error",          NO,  NO,  "contact_support"),
    Kind("invalid_input",       NO,  NO,  "none"),
    Kind("content_refused",     NO,  NO,  "none"),
    Kind("processing_error",    YES, YES, "wait"),
    Kind("circuit_open",        YES, YES, "wait"),
    Kind("agent_lost",          YES, YES, "wait"),
    Kind("cancelled",           NO,  YES, "none"),
    Kind("internal_error",      NO,  YES, "contact_support"),
)}

CODES: Mapping[str, Kind] = {
    # timeout
    "llm_timeout":              TYPES["timeout"],
    "network_timeout":          TYPES["timeout"],
    "task_timeout":             TYPES["timeout"],
    # The caller's own limit is not the agent's failure, and no caller is left to retry for.
    "caller_deadline":          Kind("timeout", YES, YES, "retry", retried=NO, counted=NO),
    # rate_limit
    "llm_rate_limit":           TYPES["rate_limit"],
    "upstream_rate_limit":      TYPES["rate_limit"],
    # The gateway's own limits for one user.
    "too_many_requests":        Kind("rate_limit", YES, YES, "wait", retried=NO, counted=NO),
    # resource_limit
    "quota_exhausted":          TYPES["resource_limit"],
    "memory_limit_exceeded":    TYPES["resource_limit"],
    "disk_full":                TYPES["resource_limit"],
    "capacity_exceeded":        Kind("resource_limit", YES, YES, "wait"),
    # Limits that an agent sets itself: asked otherwise, it may get there.
    "step_limit_exceeded":      Kind("resource_limit", NO, YES, "none"),
    "usage_limit_exceeded":     Kind("resource_limit", NO, YES, "none"),
    # network_error
    "connection_failed":        TYPES["network_error"],
    "connection_interrupted":   TYPES["network_error"],
    # validation_error
    "llm_invalid_response":     TYPES["validation_error"],
    "unacceptable_result":      TYPES["validation_error"],
    "upstream_invalid_response": TYPES["validation_error"],
    # A report that does not comply says nothing about the upstream.
    "event_invalid":            Kind("validation_error", YES, YES, "wait", counted=NO),
    # service_unavailable
    "upstream_unavailable":     TYPES["service_unavailable"],
    "llm_overloaded":           TYPES["service_unavailable"],
    "upstream_conflict":        TYPES["service_unavailable"],
    "no_worker":                Kind("service_unavailable", YES, YES, "retry_later",
                                     retried=NO, counted=NO),
    "shutdown":                 Kind("service_unavailable", YES, YES, "retry",
                                     retried=NO, counted=NO),
    # database_error
    "database_connection_lost": TYPES["database_error"],
    "database_conflict":        TYPES["database_error"],
    # The gateway's own failure, not the agent's.
    "store_away":               Kind("database_error", YES, YES, "wait", counted=NO),
    # auth_error
    "llm_auth_failed":          TYPES["auth_error"],
    "llm_permission_denied":    TYPES["auth_error"],
    "upstream_auth_failed":     TYPES["auth_error"],
    "upstream_permission_denied": TYPES["auth_error"],
    # invalid_input
    "invalid_input":            TYPES["invalid_input"],
    "llm_context_too_long":     Kind("invalid_input", NO, NO, "shorten_input"),
    "llm_bad_request":          Kind("invalid_input", NO, NO, "contact_support"),
    "llm_model_not_found":      Kind("invalid_input", NO, NO, "contact_support"),
    "upstream_bad_request":     Kind("invalid_input", NO, NO, "contact_support"),
    "upstream_not_found":       Kind("invalid_input", NO, NO, "contact_support"),
    # The agent waits for a human: nothing failed, and nothing gets better by trying again.
    "input_required":           Kind("invalid_input", NO, YES, "none"),
    # content_refused
    "llm_content_filtered":     TYPES["content_refused"],
    "content_refused":          TYPES["content_refused"],
    "guardrail_tripped":        TYPES["content_refused"],
    # processing_error
    "agent_exception":          TYPES["processing_error"],
    # It depends on a connection or a task that was lost, and says nothing about the input.
    "cancelled_itself":         Kind("processing_error", YES, YES, "wait", retried=YES),
    "tool_failed":              TYPES["processing_error"],
    "query_rejected":           TYPES["processing_error"],
    # For operators to mend: it fails for everybody until then, and nothing was sent.
    "configuration_error":      Kind("processing_error", NO, NO, "contact_support", counted=NO),
    # Of something that an attempt has started; the attempt itself goes on.
    "background_failure":       Kind("processing_error", NO, NO, "none", counted=NO),
    "unencodable_result":       Kind("processing_error", NO, NO, "contact_support"),
    # circuit_open
    "circuit_open":             TYPES["circuit_open"],
    # agent_lost
    "heartbeat_lost":           TYPES["agent_lost"],
    "stalled":                  TYPES["agent_lost"],
    "connection_lost":          TYPES["agent_lost"],
    "lease_expired":            TYPES["agent_lost"],
    "process_lost":             TYPES["agent_lost"],
    # cancelled
    "cancelled":                TYPES["cancelled"],
    "control_flow":             TYPES["cancelled"],
    # internal_error
    "internal_error":           TYPES["internal_error"],
}
# fmt: on


def failure_with(
    error_code: str,
    *,
    error_type: str | None = None,
    retry_after_s: float | None = None,
    facts: Mapping[str, str | int | float] | None = None,
) -> Failure:
    """
    Make the failure that follows from a code.

    Args:
        error_code: A code of the table, or an agent's own. Text that is no code (it does not
            match ``[a-z][a-z0-9_]{0,63}``) becomes the first code of its type, so that no text
            from outside travels as a code.
        error_type: The class, where the reporter names it; None takes the code's own.
            An unknown type is a ``processing_error``.
        retry_after_s: Seconds until the upstream wants to be asked again, bounded by
            ``RETRY_AFTER_MAX_S``; dropped where asking again is no use. None: not known.
        facts: Known facts; never exception text.
    """
    known = CODES.get(error_code)
    if error_type is None:
        error_type = known.error_type if known else "processing_error"
    if error_type not in TYPES:
        error_type = "processing_error"
    if known is None and not _CODE.fullmatch(error_code):
        error_code = _code_of(error_type)
        known = CODES[error_code]
    kind = known if known and known.error_type == error_type else TYPES[error_type]
    retry_after_s = delay_of(retry_after_s) if kind.retry_possible else None
    return Failure(
        error_type=error_type,
        error_code=error_code,
        retryable=error_type in RETRIED_TYPES if kind.retried is None else kind.retried,
        retry_possible=kind.retry_possible,
        is_recoverable=kind.is_recoverable,
        suggested_action=_action(kind, retry_after_s),
        retry_after_s=retry_after_s,
        facts=dict(facts or {}),
        counted=kind.counted,
    )


def action_of(error_code: str, error_type: str) -> str:
    """Tell what a user can do about a failure of this code and type."""
    kind = CODES.get(error_code)
    if kind is None or kind.error_type != error_type:
        kind = TYPES.get(error_type, TYPES["processing_error"])
    return kind.suggested_action


def _action(kind: Kind, retry_after_s: float | None) -> str:
    if kind.suggested_action == "wait" and (retry_after_s or 0.0) > RETRY_LATER_FROM_S:
        return "retry_later"
    return kind.suggested_action


def _code_of(error_type: str) -> str:
    """Give the first code of a type; every type has at least one."""
    return next(code for code, kind in CODES.items() if kind.error_type == error_type)
