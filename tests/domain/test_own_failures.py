"""The failures that the gateway makes itself, and what follows from each."""

from __future__ import annotations

import pytest

from gateway.domain import own_failures
from gateway.domain.failure import Failure


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
        (own_failures.cancelled_itself(), "processing_error", "cancelled_itself", True, True),
        (own_failures.idle(5.0), "agent_lost", "stalled", True, False),
        (
            own_failures.background_failure(),
            "processing_error",
            "background_failure",
            False,
            False,
        ),
        (own_failures.excluded(), "invalid_input", "invalid_input", False, False),
        (
            own_failures.unacceptable_result("type"),
            "validation_error",
            "unacceptable_result",
            True,
            True,
        ),
        (
            own_failures.unencodable_result(rule="too_large", bytes_max=1),
            "processing_error",
            "unencodable_result",
            False,
            True,
        ),
        (own_failures.shutdown(), "service_unavailable", "shutdown", False, False),
        (own_failures.store_away(), "database_error", "store_away", True, False),
        (own_failures.capacity_exceeded(), "resource_limit", "capacity_exceeded", False, False),
        (own_failures.internal_error(), "internal_error", "internal_error", False, False),
        (
            own_failures.noncompliant_event("progress", "maximum"),
            "validation_error",
            "event_invalid",
            True,
            False,
        ),
    ],
)
def test_a_failure_of_the_gateways_own_is_a_row_of_the_table(
    failure: Failure, error_type: str, error_code: str, retryable: bool, counts: bool
) -> None:
    got = (failure.error_type, failure.error_code, failure.retryable, failure.counts)
    assert got == (error_type, error_code, retryable, counts)


def test_own_failures_carry_the_facts_of_the_case() -> None:
    assert own_failures.timed_out(0.3, llm_upstream=True).facts == {"limit_s": 0.3}
    assert own_failures.circuit_open(12.0).retry_after_s == 12.0
    assert own_failures.noncompliant_event("progress", "maximum").facts["field"] == "progress"
    assert own_failures.caller_deadline(9.0).facts == {"limit_s": 9.0}
    held = own_failures.caller_deadline(9.0, waited_for="upstream model")
    assert held.facts == {"limit_s": 9.0, "waited_for": "upstream model"}
    assert own_failures.cancelled("operator").facts == {"by": "operator"}
    assert own_failures.invalid_input("q", "type").facts == {"field": "q", "rule": "type"}
    assert own_failures.unencodable_result(rule="json", bytes_max=7).facts == {
        "field": "result",
        "rule": "json",
        "bytes_max": 7,
    }


def test_a_lost_agent_is_lost_in_one_of_the_known_ways() -> None:
    for code in ("heartbeat_lost", "stalled", "connection_lost", "lease_expired", "process_lost"):
        assert own_failures.agent_lost(code).error_code == code
    with pytest.raises(AssertionError):
        own_failures.agent_lost("llm_timeout")


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
def test_a_report_of_a_worker_is_completed(
    error_type: str | None, error_code: str | None, expected: tuple[str, str]
) -> None:
    failure = own_failures.reported(
        error_type=error_type, error_code=error_code, retry_after_s=None
    )
    assert (failure.error_type, failure.error_code) == expected


def test_the_delay_that_a_worker_reports_is_kept() -> None:
    failure = own_failures.reported(error_type="rate_limit", error_code=None, retry_after_s=7.0)
    assert failure.retry_after_s == 7.0
