"""After a failure: how long to wait, whether the upstream bears it, and what comes next."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.error_codes import CODES, failure_with
from gateway.domain.recovery import (
    BUDGET_MIN,
    BUDGET_WINDOW_S,
    BUDGETS_MAX,
    Backoff,
    Next,
    RetryBudget,
    RetryBudgets,
    next_step,
)

NOW = 1_800_000_000.0
BACKOFF = Backoff(base_s=1.0, max_s=30.0)
chances = st.floats(0, 1, exclude_max=True)

# --- backoff ---------------------------------------------------------------------------------


@given(number=st.integers(1, 4), chance=chances, later=chances)
def test_the_wait_grows_although_half_of_it_is_random(
    number: int, chance: float, later: float
) -> None:
    first = BACKOFF.delay_s(number, chance=chance)
    assert first <= BACKOFF.delay_s(number + 1, chance=later)
    whole = 2.0 ** (number - 1)
    assert whole / 2 <= first <= whole


@given(number=st.integers(1, 10_000), chance=chances)
def test_the_wait_is_bounded_and_never_nothing(number: int, chance: float) -> None:
    assert 0.5 <= BACKOFF.delay_s(number, chance=chance) <= 30


@given(number=st.integers(1, 100), chance=chances, asked=st.floats(0, 86_400))
def test_an_upstream_is_not_asked_again_before_it_said(
    number: int, chance: float, asked: float
) -> None:
    delay = BACKOFF.delay_s(number, chance=chance, retry_after_s=asked)
    assert delay >= asked
    assert delay >= BACKOFF.delay_s(number, chance=chance)
    assert delay in (asked, BACKOFF.delay_s(number, chance=chance))


# --- the budget ------------------------------------------------------------------------------


def spend(budget: RetryBudget, *, at: float = NOW) -> int:
    """Retry until the budget is empty."""
    spent = 0
    while budget.allows(at):
        budget.retrying(at)
        spent += 1
    return spent


@pytest.mark.parametrize(
    ("calls", "retries"), [(0, 10), (1, 10), (100, 10), (101, 11), (110, 11), (1000, 100)]
)
def test_a_tenth_of_the_calls_may_be_retries_and_ten_always(calls: int, retries: int) -> None:
    budget = RetryBudget()
    for _ in range(calls):
        budget.called(NOW)
    assert spend(budget) == retries


def test_the_budget_fills_again_after_half_a_minute() -> None:
    budget = RetryBudget()
    assert spend(budget) == BUDGET_MIN
    assert spend(budget, at=NOW + BUDGET_WINDOW_S - 1) == 0
    assert spend(budget, at=NOW + BUDGET_WINDOW_S) == BUDGET_MIN


def test_to_ask_a_budget_changes_nothing() -> None:
    budget = RetryBudget("model")
    budget.called(NOW)
    budget.retrying(NOW)
    before = dataclasses.replace(budget, buckets=list(budget.buckets))
    assert budget.allows(NOW + 3600)
    assert budget == before


def test_budgets_are_apart_and_one_that_is_not_known_is_full() -> None:
    budgets = RetryBudgets()
    spend(budgets.of("a", NOW))
    budgets.of("b", NOW).called(NOW)
    assert (budgets.allow("a", NOW), budgets.allow("b", NOW)) == (False, True)
    assert budgets.allow("c", NOW)
    assert [budget.name for budget in budgets] == ["a", "b"]
    assert budgets.allow("a", NOW + BUDGET_WINDOW_S)


def test_budgets_that_count_nothing_any_more_are_forgotten() -> None:
    budgets = RetryBudgets()
    for name in ("a", "b"):
        budgets.of(name, NOW).called(NOW)
    later = NOW + BUDGET_WINDOW_S
    budgets.of("a", later - 1).called(later - 1)
    budgets.of("c", later).called(later)
    assert [budget.name for budget in budgets] == ["a", "c"]


def test_of_more_budgets_than_there_may_be_the_longest_unused_is_forgotten() -> None:
    budgets = RetryBudgets()
    for number in range(BUDGETS_MAX + 2):
        budgets.of(str(number), NOW).called(NOW)
    names = [budget.name for budget in budgets]
    assert len(names) == BUDGETS_MAX
    assert names[0] == "2"


# --- what comes next -------------------------------------------------------------------------

FACTS = list(itertools.product((0, 1), (False, True), (1.0, 100.0), (False, True)))


def expected(  # The table, in the words of the contract.
    kind: str, tries: int, fallback: bool, delay: float, budget: bool
) -> Next:
    stand_in = Next("fallback")
    match kind:
        case "cancelled":
            return Next("cancelled", reason="cancelled")
        case "deadline":
            return Next("failed", reason="caller_deadline")
        case "mistake":
            return stand_in if fallback else Next("failed", reason="agent_exception")
        case "refused":
            return Next("failed", reason="llm_content_filtered")
        case "lost" if tries:
            return Next("reassign")
    if tries and delay < 50 and budget:
        return Next("retry", delay_s=delay)
    if fallback:
        return stand_in
    if not tries:
        return Next("dead_lettered", reason="attempts_exhausted")
    if delay >= 50:
        return Next("failed", reason="retry_after_deadline")
    return Next("dead_lettered", reason="retry_budget")


def step_after(code: str, tries: int, fallback: bool, delay: float, budget: bool) -> Next:
    return next_step(
        failure_with(code),
        tries_left=tries,
        fallback=fallback,
        delay_s=delay,
        time_left_s=50.0,
        budget_left=budget,
    )


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("cancelled", "cancelled"),
        ("deadline", "caller_deadline"),
        ("mistake", "agent_exception"),
        ("refused", "llm_content_filtered"),
        ("retried", "llm_rate_limit"),
        ("lost", "heartbeat_lost"),
    ],
)
def test_every_road_leads_where_the_table_says(kind: str, code: str) -> None:
    for facts in FACTS:
        assert step_after(code, *facts) == expected(kind, *facts), facts


def test_an_end_has_a_reason_and_what_goes_on_has_none() -> None:
    for code, facts in itertools.product(sorted(CODES), FACTS):
        after = step_after(code, *facts)
        assert after.ends == (after.reason is not None), (code, facts)
        assert after.ends == (after.step not in ("retry", "reassign", "fallback")), (code, facts)
        assert after.will_retry == (not after.ends and after.step != "fallback"), (code, facts)
        assert after.step != "retry" or failure_with(code).retryable, (code, facts)


def test_a_wait_of_just_the_time_that_is_left_is_too_long() -> None:
    given = {"tries_left": 1, "fallback": False, "time_left_s": 5.0, "budget_left": True}
    failure = failure_with("llm_rate_limit")
    assert next_step(failure, delay_s=4.999, **given).step == "retry"  # type: ignore[arg-type]
    assert next_step(failure, delay_s=5.0, **given).step == "failed"  # type: ignore[arg-type]
