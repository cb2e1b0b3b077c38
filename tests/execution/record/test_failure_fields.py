"""The failure fields: every event about one failure says the same of it."""

from __future__ import annotations

from typing import Any

from gateway.domain.own_failures import agent_lost
from gateway.execution.record.failure_fields import about, over, recovered

LAST = {"error_type": "timeout", "error_code": "llm_timeout", "message": "m"}
ESTIMATE: dict[str, Any] = {
    "estimated_recovery_time": 2.0,
    "recovery_estimate_source": "observed_median",
}


def test_an_event_about_a_failure_says_what_it_is_and_what_to_do() -> None:
    failure = agent_lost("heartbeat_lost")
    fields = about(failure, error_id="e1", said="We are on it.", estimate=ESTIMATE)
    assert fields == {
        "error_type": "agent_lost",
        "error_code": "heartbeat_lost",
        "is_recoverable": failure.is_recoverable,
        "user_message": "We are on it.",
        "suggested_action": failure.suggested_action,
        "retry_possible": failure.retry_possible,
        "error_id": "e1",
        **ESTIMATE,
    }


def test_the_end_of_a_failure_names_it_and_asks_for_nothing() -> None:
    fields = over(LAST, "e1", "It works again.")
    assert (fields["error_type"], fields["error_code"]) == ("timeout", "llm_timeout")
    assert (fields["error_id"], fields["suggested_action"]) == ("e1", "none")
    assert (fields["is_recoverable"], fields["retry_possible"]) == (True, False)
    assert fields["estimated_recovery_time"] is fields["recovery_estimate_source"] is None


def test_the_end_of_nothing_has_the_same_fields() -> None:
    nothing = over(None, None, "Well.")
    assert nothing.keys() == over(LAST, "e1", "Well.").keys()
    assert nothing["error_type"] is nothing["error_code"] is nothing["error_id"] is None


def test_a_recovery_says_what_is_well_and_how_long_it_took() -> None:
    fields = recovered("task", LAST, "e1", took_s=1.23456, attempts=3)
    assert (fields["scope"], fields["recovery_time"], fields["attempts_made"]) == ("task", 1.235, 3)
    assert (fields["error_id"], fields["degradation_id"]) == ("e1", None)
    assert fields["recovery_successful"]


def test_a_recovery_never_took_less_than_no_time() -> None:
    """The failure may have been told by a clock that runs ahead."""
    assert recovered("task", LAST, "e1", took_s=-0.2, attempts=1)["recovery_time"] == 0.0


def test_a_recovery_may_be_said_in_the_words_of_a_variant() -> None:
    plain = recovered("task", LAST, "e1", took_s=1, attempts=1)
    variant = recovered("task", LAST, "e1", took_s=1, attempts=1, told_as="task by fallback")
    assert variant["scope"] == "task"
    assert variant["user_message"] != plain["user_message"]


def test_a_recovery_may_end_a_degradation() -> None:
    fields = recovered("mode", None, None, took_s=1, attempts=1, degradation_id="d1")
    assert (fields["degradation_id"], fields["error_id"]) == ("d1", None)
