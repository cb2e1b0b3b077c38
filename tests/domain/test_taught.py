"""What a program teaches the gateway about exceptions of its own."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import pytest

from gateway.domain import taught
from gateway.domain.agent_failures import RateLimited
from gateway.domain.classification import classify
from gateway.domain.errors import ConfigurationError
from gateway.domain.failure import Failure
from gateway.domain.taught import Taught, rule

NOW = 1_800_000_000.0


class Closed(Exception):
    retry_after: object = None


class ClosedForever(Closed):
    pass


def named(error: BaseException, *rules: taught.Rule) -> Failure:
    told = Taught()
    for each in rules:
        told.add(each)
    return classify(error, now=NOW, llm_upstream=False, taught=told)


def test_a_class_stands_for_a_code_with_its_verdict_and_delay() -> None:
    failure = named(Closed(), rule(Closed, error_code="shop_closed", retryable=True, retry_after=7))
    assert (failure.error_type, failure.error_code) == ("service_unavailable", "shop_closed")
    assert (failure.retryable, failure.counts, failure.retry_after_s) == (True, True, 7.0)
    mistake = named(ClosedForever(), rule(Closed, error_code="shop_closed"))
    assert (mistake.error_type, mistake.retryable) == ("processing_error", False)


def test_a_code_of_the_table_keeps_what_follows_from_it() -> None:
    failure = named(Closed(), rule(Closed, error_code="upstream_rate_limit", retryable=True))
    assert failure.error_type == "rate_limit"
    typed = named(Closed(), rule(Closed, error_code="shop_closed", error_type="invalid_input"))
    assert not typed.counts


def test_a_predicate_is_asked_about_every_exception_of_a_chain_and_of_a_group() -> None:
    closed = rule(lambda error: "closed" in str(error), error_code="shop_closed")
    wrapper = RuntimeError("the tool failed")
    wrapper.__cause__ = KeyError("closed")
    assert named(wrapper, closed).error_code == "shop_closed"
    assert named(ExceptionGroup("g", [wrapper]), closed).error_code == "shop_closed"
    assert named(RuntimeError("open"), closed).error_code == "agent_exception"


def test_the_first_rule_that_fits_counts_and_comes_before_every_table() -> None:
    first, second = rule(Closed, error_code="first"), rule(Exception, error_code="second")
    assert named(Closed(), first, second).error_code == "first"
    assert named(TimeoutError(), first, second).error_code == "second"
    assert named(RateLimited(), second).error_code == "second"


def test_a_cancellation_is_never_something_else() -> None:
    everything = rule(BaseException, error_code="mine")
    assert named(asyncio.CancelledError(), everything).error_code == "cancelled"
    pause = type("GraphInterrupt", (Exception,), {})()
    assert named(pause, everything).error_code == "mine"


def test_the_exceptions_own_delay_is_taken_in_every_form() -> None:
    error = Closed()
    error.retry_after = datetime.datetime.fromtimestamp(NOW + 9, datetime.UTC)
    closed = rule(Closed, error_code="shop_closed", retryable=True)
    assert named(error, closed).retry_after_s == 9.0
    asked = rule(Closed, error_code="a", retryable=True, retry_after=lambda error: "1m")
    assert named(error, asked).retry_after_s == 60.0


def test_what_fails_when_it_is_asked_hides_nothing() -> None:
    def broken(error: BaseException) -> Any:
        raise ZeroDivisionError

    assert named(Closed(), rule(broken, error_code="a")).error_code == "agent_exception"
    late = rule(Closed, error_code="a", retryable=True, retry_after=broken)
    assert named(Closed(), late).retry_after_s is None


@pytest.mark.parametrize(
    ("which", "said"),
    [
        (Closed, {"error_code": "Not A Code"}),
        (Closed, {"error_code": "a", "error_type": "odd"}),
        (Closed, {"error_code": "llm_context_too_long", "retryable": True}),
        (Closed, {"error_code": "llm_timeout", "retryable": False}),
        (Closed, {"error_code": "a", "error_type": "timeout", "retryable": False}),
        (int, {"error_code": "a"}),
        ("Closed", {"error_code": "a"}),
    ],
)
def test_a_rule_that_could_not_hold_is_refused(which: Any, said: dict[str, Any]) -> None:
    """A worker reports code and type alone: a verdict that is not theirs would be lost."""
    with pytest.raises(ConfigurationError):
        rule(which, **said)


def test_rules_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taught, "RULES_MAX", 1)
    told = Taught()
    told.add(rule(Closed, error_code="a"))
    with pytest.raises(ConfigurationError):
        told.add(rule(Closed, error_code="b"))
