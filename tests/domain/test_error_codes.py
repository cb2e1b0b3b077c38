"""The table of codes, and what follows from a code, known or not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from gateway.domain.error_codes import CODES, RETRY_LATER_FROM_S, TYPES, action_of, failure_with
from gateway.domain.failure import COUNTED_TYPES, RETRIED_TYPES
from gateway.domain.messages import PROBLEMS
from gateway.domain.retry_hints import RETRY_AFTER_MAX_S

PAGE = Path(__file__).parents[2] / "docs" / "failures.md"


def code_rows() -> list[str]:
    """The table of the page, from the tables of the code."""
    rows = []
    for code in CODES:
        failure = failure_with(code)
        said = "yes" if failure.retryable else "no", "yes" if failure.counts else "no"
        cells = (f"`{code}`", failure.error_type, *said, failure.suggested_action, PROBLEMS[code])
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def test_the_page_lists_every_code_with_what_follows_and_its_sentence() -> None:
    """The list is open for agents, and closed for us."""
    told = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert [line for line in told if not line.startswith("| `error_code`")] == code_rows()


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


def test_a_delay_is_dropped_where_asking_again_is_no_use() -> None:
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
    assert action_of("llm_timeout", "invalid_input") == "none"
    assert action_of("llm_timeout", "timeout") == "wait"


def test_a_code_is_at_most_64_lower_case_letters_digits_and_underscores() -> None:
    for code in ("a", "a_1", "x" * 64):
        assert failure_with(code, error_type="timeout").error_code == code
    for text in ("A", "1a", "_a", "a-b", "ä", "x" * 65):
        assert failure_with(text, error_type="timeout").error_code == "llm_timeout"


def test_facts_are_copied_into_the_failure() -> None:
    facts = {"status": 429}
    failure = failure_with("llm_rate_limit", facts=facts)
    facts.clear()
    assert failure.facts == {"status": 429}
