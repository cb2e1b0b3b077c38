"""
What comes after a failed attempt: another one, the fallback, or an end.

``next_step`` decides alone, from facts, so that every road through it is tested without waiting.
Of several reasons the one that it checks first is given.
"""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import Literal

from gateway.domain.failure import Failure

__all__ = ["STRATEGIES", "Backoff", "Next", "RetryBudget", "RetryBudgets", "next_step"]

BUDGET_WINDOW_S = 30
BUDGET_SHARE = 0.1
BUDGET_MIN = 10
# Upstreams, and agents without one, whose calls are counted at once.
BUDGETS_MAX = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class Backoff:
    """
    Exponential backoff, half of it random, so that it still grows (AWS "equal jitter").

    Attributes:
        base_s: The whole backoff before the first retry, in seconds; it doubles with each one.
        max_s: The longest backoff, in seconds; an upstream's Retry-After may be longer.
    """

    base_s: float
    max_s: float

    def delay_s(self, number: int, *, chance: float, retry_after_s: float | None = None) -> float:
        """
        Tell how many seconds to wait before a retry.

        Args:
            number: Which retry it is, from 1.
            chance: A random number from [0, 1).
            retry_after_s: What the upstream asked for, in seconds: the delay is never less.
                None: it asked for nothing.
        """
        whole = min(self.max_s, self.base_s * 2.0 ** min(number - 1, 60))
        own = whole / 2 + whole / 2 * chance
        return own if retry_after_s is None else max(own, retry_after_s)


@dataclasses.dataclass(slots=True)
class RetryBudget:
    """
    How many retries one upstream gets: 10 % of its calls, at least 10, in 30 s.

    A storm of retries keeps an upstream down (retry budgets of Finagle and of the SRE book).
    Counted in buckets of one second. A retry counts when it is decided, so that a hundred calls
    that fail together do not each find the whole budget left.

    Attributes:
        name: The upstream's, or that of an agent without one.
        buckets: Second, calls and retries of each, at most one for each second of the window.
    """

    name: str = ""
    buckets: list[list[int]] = dataclasses.field(default_factory=list)

    def called(self, at: float) -> None:
        """Count one call, whether it is a retry or not."""
        self._bucket(at)[1] += 1

    def retrying(self, at: float) -> None:
        """Count one retry that will be made."""
        self._bucket(at)[2] += 1

    def allows(self, now: float) -> bool:
        """Whether one more retry is within the budget."""
        counted = [bucket for bucket in self.buckets if not _too_old(bucket, now)]
        calls = sum(calls for _, calls, _ in counted)
        retries = sum(retries for _, _, retries in counted)
        return retries < max(BUDGET_MIN, BUDGET_SHARE * calls)

    def _bucket(self, at: float) -> list[int]:
        while self.buckets and _too_old(self.buckets[0], at):
            del self.buckets[0]
        second = math.floor(at)
        if not self.buckets or self.buckets[-1][0] < second:
            self.buckets.append([second, 0, 0])
        return self.buckets[-1]


def _too_old(bucket: list[int], now: float) -> bool:
    return bucket[0] <= now - BUDGET_WINDOW_S


class RetryBudgets:
    """
    The retry budgets of all upstreams.

    Bounded: one that counts nothing any more is forgotten, and beyond ``BUDGETS_MAX`` the longest
    unused; it is full again then.
    """

    def __init__(self) -> None:
        self._by_name: OrderedDict[str, RetryBudget] = OrderedDict()

    def __iter__(self) -> Iterator[RetryBudget]:
        """All of them, the longest unused first."""
        return iter(self._by_name.values())

    def of(self, name: str, at: float) -> RetryBudget:
        """Give a budget, to count something at ``at``."""
        budget = self._by_name.pop(name, None) or RetryBudget(name)
        self.adopt(budget)
        oldest = next(iter(self._by_name.values()))
        while oldest is not budget and (
            len(self._by_name) > BUDGETS_MAX
            or not oldest.buckets
            or _too_old(oldest.buckets[-1], at)
        ):
            del self._by_name[oldest.name]
            oldest = next(iter(self._by_name.values()))
        return budget

    def adopt(self, budget: RetryBudget) -> None:
        """Know a budget as it is."""
        self._by_name[budget.name] = budget

    def allow(self, name: str, now: float) -> bool:
        """Whether one more retry is within the budget of that name."""
        budget = self._by_name.get(name)
        return budget is None or budget.allows(now)


# The steps by which a task goes on, and their ``strategy`` in ``recovery_attempt``.
STRATEGIES = {
    "retry": "exponential_backoff",
    "reassign": "reassignment",
    "fallback": "fallback",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Next:
    """
    What comes after a failed attempt.

    Attributes:
        step: ``retry``, ``reassign`` and ``fallback`` go on; the others are the task's outcome.
        delay_s: Seconds before the task goes on.
        reason: Why the task ends; None while it goes on.
    """

    step: Literal["retry", "reassign", "fallback", "failed", "dead_lettered", "cancelled"]
    delay_s: float = 0.0
    reason: str | None = None

    @property
    def ends(self) -> bool:
        """Whether the task ends with it."""
        return self.step not in STRATEGIES

    @property
    def will_retry(self) -> bool:
        """Whether the agent itself makes another attempt."""
        return self.step in ("retry", "reassign")


def next_step(
    failure: Failure,
    *,
    tries_left: int,
    fallback: bool,
    delay_s: float,
    time_left_s: float,
    budget_left: bool,
) -> Next:
    """
    Decide what comes after ``failure``.

    Args:
        failure: Why the attempt failed.
        tries_left: How many attempts by the agent itself remain.
        fallback: Whether there is a fallback that has not been tried.
        delay_s: Seconds to wait before another attempt.
        time_left_s: Seconds until the caller's own deadline.
        budget_left: Whether the upstream's retry budget allows one more retry.
    """
    if failure.error_type == "cancelled":
        return Next("cancelled", reason=failure.error_code)
    if failure.error_code == "caller_deadline":
        return Next("failed", reason="caller_deadline")
    if not failure.retryable:
        if failure.error_type == "processing_error" and fallback:
            return Next("fallback")
        return Next("failed", reason=failure.error_code)
    if tries_left <= 0:
        return Next("fallback") if fallback else Next("dead_lettered", reason="attempts_exhausted")
    if failure.error_type == "agent_lost":
        # The upstream is not at fault: another worker goes on at once, and its budget is spared.
        return Next("reassign")
    if delay_s >= time_left_s:
        # The caller's deadline comes before the next attempt: waiting would only hide the end.
        return Next("fallback") if fallback else Next("failed", reason="retry_after_deadline")
    if not budget_left:
        return Next("fallback") if fallback else Next("dead_lettered", reason="retry_budget")
    return Next("retry", delay_s=delay_s)
