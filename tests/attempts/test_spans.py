"""Spans, where no SDK is set up: nothing is recorded, and nothing is in the way."""

from __future__ import annotations

from gateway.attempts.spans import Span, current_traceparent, spanned
from gateway.domain import own_failures
from tests.attempts.steps import assignment


def test_without_an_sdk_there_is_no_span_to_name() -> None:
    assert current_traceparent() is None
    with spanned(assignment(), mode="primary") as span:
        span.failed(own_failures.timed_out(1.0, llm_upstream=False))
        assert current_traceparent() is None


def test_the_callers_span_is_handed_on_without_an_sdk() -> None:
    """So that what the agent's code calls is traced below it all the same."""
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with spanned(assignment(traceparent=traceparent), mode="fallback"):
        assert current_traceparent() == traceparent
    assert current_traceparent() is None


def test_without_the_extra_a_failure_is_noted_nowhere() -> None:
    Span().failed(own_failures.timed_out(1.0, llm_upstream=False))
