"""What is said about failures, to people and to developers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.error_codes import CODES, TYPES, failure_with
from gateway.domain.messages import (
    ADVICE,
    PROBLEMS,
    PROBLEMS_BY_TYPE,
    RECOVERY_OF_CODE_S,
    RECOVERY_S,
    default_recovery_s,
    developer_message,
    duration_words,
    user_message,
)

# Codes whose own words would be jargon, and what is said instead.
SAID_OTHERWISE = {
    "caller_deadline": "deadline",
    "agent_exception": "processing error",
    "unencodable_result": "processing error",
    "circuit_open": "circuit breaker open",
    "control_flow": "cancelled",
}


def test_every_code_and_every_type_has_its_sentence() -> None:
    assert set(PROBLEMS) == set(CODES)
    assert set(PROBLEMS_BY_TYPE) == set(TYPES) == set(RECOVERY_S)
    assert set(RECOVERY_OF_CODE_S) <= set(CODES)
    assert set(ADVICE) == {
        "wait",
        "retry",
        "retry_later",
        "shorten_input",
        "sign_in_again",
        "contact_support",
        "none",
    }


@pytest.mark.parametrize("code", CODES)
def test_a_sentence_names_the_kind_of_problem(code: str) -> None:
    """Users search for it, and support asks for it."""
    text = user_message(code, CODES[code].error_type, will_retry=False, delay_s=None)
    assert SAID_OTHERWISE.get(code, code.replace("_", " ")) in text.lower()
    assert text.endswith(".")


@pytest.mark.parametrize("error_type", TYPES)
def test_an_agents_own_code_is_spoken_of_by_its_type(error_type: str) -> None:
    text = user_message("of_their_own", error_type, will_retry=True, delay_s=2.0)
    assert text.startswith(PROBLEMS_BY_TYPE[error_type])
    assert "of_their_own" not in text


@pytest.mark.parametrize(
    ("arguments", "following"),
    [
        ({"will_retry": True, "delay_s": 2.2}, "We are trying again in about 2 seconds."),
        ({"will_retry": True, "delay_s": 0.0}, "We are trying again now."),
        ({"will_retry": True, "delay_s": None}, "We are trying again shortly."),
        ({"will_retry": False, "delay_s": None}, "Please try again in a little while."),
        ({"will_retry": False, "delay_s": 30.0}, "Please try again in about 30 seconds."),
        ({"will_retry": False, "delay_s": 600.0}, "Please come back in about 10 minutes."),
        (
            {"will_retry": True, "delay_s": 2.0, "fallback": True},
            "A simpler stand-in is answering instead.",
        ),
    ],
)
def test_a_sentence_says_what_happens_next(
    arguments: dict[str, float | None], following: str
) -> None:
    text = user_message("llm_timeout", "timeout", **arguments)  # type: ignore[arg-type]
    assert text == f"The language model took too long to answer (LLM timeout). {following}"


def test_where_waiting_is_no_help_the_sentence_says_what_is() -> None:
    def said(code: str) -> str:
        return user_message(code, CODES[code].error_type, will_retry=False, delay_s=None)

    assert said("llm_context_too_long").endswith("Please shorten your text and send it again.")
    assert said("llm_auth_failed").endswith("Please contact support, who can put this right.")
    assert said("cancelled") == "This was cancelled."


@given(
    st.text() | st.sampled_from(sorted(CODES)),
    st.text() | st.sampled_from(sorted(TYPES)),
    st.booleans(),
    st.none() | st.floats(),
    st.booleans(),
)
def test_there_is_always_a_sentence_and_never_a_stranger_in_it(
    code: str, error_type: str, will_retry: bool, delay_s: float | None, fallback: bool
) -> None:
    """Codes are an open list: whatever is reported, the sentence is ours."""
    text = user_message(code, error_type, will_retry=will_retry, delay_s=delay_s, fallback=fallback)
    assert 10 < len(text) < 300
    problem = next(p for p in (*PROBLEMS.values(), *PROBLEMS_BY_TYPE.values()) if p in text)
    rest = text.replace(problem, "")
    assert all(part not in rest for part in ("sk-", "/", "Traceback", "{", "_"))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "about 1 second"),
        (1.4, "about 1 second"),
        (89.0, "about 89 seconds"),
        (90.0, "about 2 minutes"),
        (600.0, "about 10 minutes"),
        (7200.0, "about 2 hours"),
        (200_000.0, "about 2 days"),
        (math.inf, "about 99 days"),
    ],
)
def test_durations_are_said_in_words(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


def test_developers_read_agent_attempt_kind_and_facts() -> None:
    failure = failure_with(
        "llm_rate_limit", retry_after_s=7.0, facts={"status": 429, "request": "chat"}
    )
    assert developer_message(failure, agent_name="researcher", attempt=2) == (
        "agent researcher, attempt 2: llm_rate_limit (rate_limit), status 429, request chat,"
        " retry_after_s 7"
    )
    bare = developer_message(failure_with("stalled"), agent_name="a")
    assert bare == "agent a: stalled (agent_lost)"
    long = failure_with("invalid_input", facts={"field": "x" * 10_000})
    assert len(developer_message(long, agent_name="a")) < 300


def test_the_default_estimate_is_by_code_then_by_type() -> None:
    assert default_recovery_s("timeout", "llm_timeout") == 5.0
    assert default_recovery_s("rate_limit", "of_their_own") == 30.0
    assert default_recovery_s("resource_limit", "memory_limit_exceeded") == 0.0
    assert default_recovery_s("resource_limit", "capacity_exceeded") == 30.0
    assert default_recovery_s("nonsense", "nonsense") == 0.0
