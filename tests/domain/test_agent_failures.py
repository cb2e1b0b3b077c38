"""What an agent raises to be exact: each class has its code, is exported, and drawn as it is."""

from __future__ import annotations

import inspect

import pytest

from gateway.domain import agent_failures
from gateway.domain.agent_failures import AgentFailure, RateLimited
from gateway.domain.error_codes import CODES, failure_with

FAILURES: list[type[AgentFailure]] = [
    kind
    for kind in vars(agent_failures).values()
    if isinstance(kind, type) and issubclass(kind, AgentFailure)
]


@pytest.mark.parametrize("kind", FAILURES)
def test_every_failure_is_exported_and_drawn(kind: type[AgentFailure]) -> None:
    assert kind.__name__ in agent_failures.__all__
    assert kind.__name__ in (inspect.getdoc(agent_failures) or "")


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failure_of_an_agent_has_a_known_code_of_its_type(kind: type[AgentFailure]) -> None:
    failure = kind()
    assert CODES[failure.error_code].error_type == kind.error_type
    assert str(failure) == kind.__name__
    assert failure.retry_after is None


def test_an_agent_may_be_more_exact_than_the_class() -> None:
    failure = RateLimited("the limit per minute", error_code="model_busy", retry_after=7)
    assert (failure.error_type, failure.error_code) == ("rate_limit", "model_busy")
    assert (str(failure), failure.retry_after) == ("the limit per minute", 7)


def test_the_failures_that_are_drawn_to_be_tried_again_are() -> None:
    retried = {kind.__name__ for kind in FAILURES if failure_with(kind.default_code).retryable}
    assert retried == {
        *("RateLimited", "ServiceUnavailable", "UpstreamTimeout"),
        *("ConnectionLost", "InvalidResponse", "DatabaseLost"),
    }
