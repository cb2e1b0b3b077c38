"""What is said about events that are not errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.announcements import SENTENCES, VARIED_BY, sentence


@pytest.mark.parametrize(
    ("event_type", "facts", "said"),
    [
        (
            "recovery_attempt",
            {"strategy": "exponential_backoff", "backoff_delay": 2.1},
            "We are trying again in about 2 seconds.",
        ),
        ("recovery_attempt", {"strategy": "reassignment"}, "Another agent is taking over."),
        (
            "recovery_attempt",
            {"strategy": "new_one"},
            "We are trying to put this right shortly.",
        ),
        (
            "partial_result_preserved",
            {"progress": 0.6},
            "We have kept about 60 % of the work, so it is not lost.",
        ),
        (
            "partial_result_preserved",
            {"progress": None},
            "We have kept what was done so far, so it is not lost.",
        ),
        ("system_recovered", {"scope": "mode"}, "All features are available again."),
        ("system_recovered", {}, "The problem is over."),
        ("lock_expired", {"lock_id": "l1"}, ""),
        ("of_the_future", {}, ""),
    ],
)
def test_a_sentence_fits_the_event(event_type: str, facts: dict[str, object], said: str) -> None:
    assert sentence(event_type, **facts).user_message == said


def test_an_opening_says_whether_a_fallback_stands_in() -> None:
    with_fallback = sentence("circuit_breaker_triggered", fallback_active=True, cooldown_period=30)
    without = sentence("circuit_breaker_triggered", fallback_active=False, cooldown_period=30)
    assert "stand-in" in with_fallback.user_message
    assert "in about 30 seconds" in without.user_message


def test_a_rejection_says_why_and_for_how_long() -> None:
    said = sentence("request_rejected", reason="circuit_breaker_open", retry_after=12.0)
    assert "circuit breaker" in said.user_message
    assert "about 12 seconds" in said.user_message


def test_developers_read_the_facts() -> None:
    said = sentence(
        "recovery_attempt", strategy="fallback", attempt_number=1, agent_id=None, delay=0.5
    )
    assert said.message == "recovery attempt: strategy fallback, attempt_number 1, delay 0.5"
    assert sentence("task_started").message == "task started"
    assert len(sentence("task_started", reason="x" * 10_000).message) < 300


def test_every_variant_has_a_plain_sentence_behind_it() -> None:
    """So that a new strategy or reason is announced, if less exactly."""
    for event_type, variant in SENTENCES:
        assert (event_type, "") in SENTENCES
        assert not variant or event_type in VARIED_BY


@given(
    st.sampled_from(sorted({event_type for event_type, _ in SENTENCES})),
    st.dictionaries(
        st.sampled_from(["strategy", "reason", "retry_after", "progress", "mode", "scope"]),
        st.none() | st.text() | st.floats() | st.integers() | st.lists(st.text()),
    ),
)
def test_no_fact_is_quoted_to_people(event_type: str, facts: dict[str, object]) -> None:
    said = sentence(event_type, **facts)
    assert said.message
    assert len(said.user_message) > 10
    assert "{" not in said.user_message
