"""The table of codes, and the failures that the gateway makes itself."""

from __future__ import annotations

import math

import pytest

from gateway.domain import own_failures
from gateway.domain.error_codes import CODES, RETRY_LATER_FROM_S, TYPES, action_of, failure_with
from gateway.domain.failure import COUNTED_TYPES, RETRIED_TYPES, Failure
from gateway.domain.retry_hints import RETRY_AFTER_MAX_S

ACTIONS = {
    "wait",
    "retry",
    "retry_later",
    "shorten_input",
    "sign_in_again",
    "contact_support",
    "none",
}


def test_every_type_has_a_code_and_every_code_a_type() -> None:
    assert {kind.error_type for kind in CODES.values()} == set(TYPES)
    assert set(TYPES) >= RETRIED_TYPES | COUNTED_TYPES
    assert {kind.suggested_action for kind in (*CODES.values(), *TYPES.values())} <= ACTIONS


def test_what_we_retry_the_user_may_retry_too() -> None:
    for code in CODES:
        failure = failure_with(code)
        assert failure.retry_possible or not failure.retryable, code


@pytest.mark.parametrize(
    ("delay", "action"),
    [(None, "wait"), (RETRY_LATER_FROM_S, "wait"), (RETRY_LATER_FROM_S + 1, "retry_later")],
)
def test_a_long_wait_is_advised_to_come_back_later(delay: float | None, action: str) -> None:
    failure = failure_with("llm_rate_limit", retry_after_s=delay)
    assert failure.suggested_action == action
    assert failure.retryable


def test_a_delay_is_forgotten_where_asking_again_is_no_use() -> None:
    assert failure_with("quota_exhausted", retry_after_s=7.0).retry_after_s is None


def test_a_delay_is_bounded() -> None:
    assert failure_with("llm_overloaded", retry_after_s=1e9).retry_after_s == RETRY_AFTER_MAX_S
    assert failure_with("llm_overloaded", retry_after_s=math.nan).retry_after_s is None


def test_a_code_of_the_agents_own_follows_its_type() -> None:
    failure = failure_with("vector_store_away", error_type="database_error")
    assert (failure.error_type, failure.error_code) == ("database_error", "vector_store_away")
    assert failure.retryable
    assert action_of("vector_store_away", "database_error") == "wait"
    assert action_of("vector_store_away", "nonsense") == "wait"


def test_what_could_not_be_a_code_does_not_travel_as_one() -> None:
    """A code is shown to users; text of an exception must not get there by this door."""
    for written in ("", "Bearer sk-abc", "x" * 65, "a\n", "<script>"):
        failure = failure_with(written, error_type="rate_limit")
        assert failure.error_code == "llm_rate_limit"
    assert failure_with("what is this", error_type="who knows").error_type == "processing_error"


def test_a_known_code_reported_under_another_type_follows_the_type() -> None:
    failure = failure_with("llm_timeout", error_type="invalid_input")
    assert (failure.retryable, failure.retry_possible) == (False, False)


@pytest.mark.parametrize(
    ("failure", "error_type", "error_code", "retryable", "counts"),
    [
        (own_failures.timed_out(0.3, llm_upstream=True), "timeout", "llm_timeout", True, True),
        (own_failures.timed_out(0.3, llm_upstream=False), "timeout", "task_timeout", True, True),
        (own_failures.caller_deadline(9), "timeout", "caller_deadline", False, False),
        (own_failures.circuit_open(12.0), "circuit_open", "circuit_open", False, False),
        (own_failures.cancelled("user"), "cancelled", "cancelled", False, False),
        (own_failures.agent_lost("stalled"), "agent_lost", "stalled", True, False),
        (own_failures.no_worker(), "service_unavailable", "no_worker", False, False),
        (own_failures.invalid_input("q", "type"), "invalid_input", "invalid_input", False, False),
        (
            own_failures.unencodable_result(rule="too_large", bytes_max=1),
            "processing_error",
            "unencodable_result",
            False,
            True,
        ),
        (own_failures.shutdown(), "service_unavailable", "shutdown", False, False),
        (own_failures.capacity_exceeded(), "resource_limit", "capacity_exceeded", False, False),
        (own_failures.internal_error(), "internal_error", "internal_error", False, False),
        (
            own_failures.noncompliant_event("progress", "maximum"),
            "validation_error",
            "event_invalid",
            False,
            False,
        ),
    ],
)
def test_the_gateways_own_failures(
    failure: Failure, error_type: str, error_code: str, retryable: bool, counts: bool
) -> None:
    got = (failure.error_type, failure.error_code, failure.retryable, failure.counts)
    assert got == (error_type, error_code, retryable, counts)


def test_own_failures_carry_the_facts_of_the_case() -> None:
    assert own_failures.timed_out(0.3, llm_upstream=True).facts == {"limit_s": 0.3}
    assert own_failures.circuit_open(12.0).retry_after_s == 12.0
    assert own_failures.noncompliant_event("progress", "maximum").facts["field"] == "progress"


@pytest.mark.parametrize(
    ("error_type", "error_code", "expected"),
    [
        ("rate_limit", "llm_rate_limit", ("rate_limit", "llm_rate_limit")),
        ("rate_limit", None, ("rate_limit", "llm_rate_limit")),
        (None, "heartbeat_lost", ("agent_lost", "heartbeat_lost")),
        (None, None, ("processing_error", "agent_exception")),
        (None, "of_their_own", ("processing_error", "of_their_own")),
        ("nonsense", None, ("processing_error", "agent_exception")),
    ],
)
def test_a_workers_report_is_completed(
    error_type: str | None, error_code: str | None, expected: tuple[str, str]
) -> None:
    failure = own_failures.reported(
        error_type=error_type, error_code=error_code, retry_after_s=None
    )
    assert (failure.error_type, failure.error_code) == expected
