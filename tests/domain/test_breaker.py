"""A breaker is a fold: what counts, which attempts pass, and what comes too late."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.domain.breaker import (
    OUTCOMES_MIN,
    WINDOW_S,
    Breaker,
    BreakerRules,
    Outcome,
    Window,
    subject_of,
)
from gateway.domain.timestamps import rfc3339

NOW = 1_800_000_000.0


def breaker(**rules: Any) -> Breaker:
    return Breaker("b", "agent", BreakerRules(**rules))


def outcome(kind: Any, *, generation: int = 0, probe: str | None = None) -> Outcome:
    return Outcome("b", generation, probe, kind)


def open_it(it: Breaker, *, at: float = NOW) -> None:
    it.opened(
        {
            "breaker_version": it.version + 1,
            "probe_at": rfc3339(at + it.rules.cooldown_s),
            "error_id": "e",
        },
        at=at,
    )


def half_opened(**rules: Any) -> Breaker:
    it = breaker(**rules)
    open_it(it)
    it.probing({"test_request_id": "p1"})
    return it


# --- closed ----------------------------------------------------------------------------------


def test_failures_in_a_row_are_counted_and_a_success_begins_anew() -> None:
    it = breaker()
    for count in range(1, 7):
        assert it.record(outcome("failure"), at=NOW, error_type="timeout")
        assert it.consecutive == count
    assert it.last_type == "timeout"
    assert it.record(outcome("success"), at=NOW)
    assert it.consecutive == 0


def test_a_neutral_outcome_counts_for_nothing() -> None:
    it = breaker()
    it.record(outcome("failure"), at=NOW)
    assert not it.record(outcome("neutral"), at=NOW)
    assert (it.consecutive, it.window.counts(NOW)) == (1, (1, 1))


@pytest.mark.parametrize(
    ("successes", "failures", "tripped"),
    [
        (10, 9, False),  # 19 outcomes are too few
        (10, 10, True),  # just half of just twenty
        (11, 10, False),
        (11, 11, True),
        (0, OUTCOMES_MIN - 1, False),
        (0, OUTCOMES_MIN, True),
        (20, 0, False),
    ],
)
def test_half_of_twenty_is_the_rate_that_opens_it(
    successes: int, failures: int, tripped: bool
) -> None:
    it = breaker()
    for number in range(successes + failures):
        it.record(outcome("failure" if number < failures else "success"), at=NOW)
    assert it.rate_tripped(NOW) is tripped


def test_only_the_last_half_minute_counts() -> None:
    it = breaker()
    for _ in range(OUTCOMES_MIN):
        it.record(outcome("failure"), at=NOW)
    assert it.rate_tripped(NOW + WINDOW_S - 0.001)
    assert not it.rate_tripped(NOW + WINDOW_S)
    assert it.failure_rate(NOW + WINDOW_S) == 0


def test_the_window_slides_by_the_second() -> None:
    window = Window()
    for second in range(60):
        window.add(NOW + second, failed=second % 2 == 0)
        assert window.counts(NOW + second)[0] == min(second + 1, WINDOW_S)
    assert window.counts(NOW + 59 + 15) == (15, 7)
    assert window.counts(NOW + 59 + 30) == (0, 0)


def test_a_reader_whose_clock_is_ahead_takes_nothing_from_the_window() -> None:
    it = breaker()
    for number in range(OUTCOMES_MIN - 1):
        it.record(outcome("failure" if number % 2 else "success"), at=NOW)
    assert it.window.counts(NOW + WINDOW_S + 1) == (0, 0)
    assert it.window.counts(NOW) == (19, 9)
    it.record(outcome("failure"), at=NOW)
    assert it.rate_tripped(NOW)


def test_what_is_too_old_goes_when_the_log_has_news() -> None:
    window = Window()
    for second in range(0, 300, 7):
        window.add(NOW + second, failed=True)
        assert len(window.buckets) <= WINDOW_S
        assert window.buckets[0][0] > NOW + second - WINDOW_S


# --- open ------------------------------------------------------------------------------------


def test_no_attempt_passes_while_the_breaker_cools_down() -> None:
    it = breaker(cooldown_s=30.0, permits=3)
    assert it.permits_left(NOW) == 0
    open_it(it)
    assert it.permits_left(NOW + 29.999) == 0
    assert it.permits_left(NOW + 30) == 3
    assert it.retry_after_s(NOW + 10) == pytest.approx(20)
    assert it.retry_after_s(NOW + 31) > 0


def test_an_outcome_of_an_earlier_opening_is_ignored() -> None:
    it = breaker()
    it.record(outcome("failure"), at=NOW)
    open_it(it)
    for generation in (0, 1, 2):
        assert not it.record(outcome("failure", generation=generation), at=NOW)
    it.closed()
    assert not it.record(outcome("failure", generation=0), at=NOW)
    assert not it.record(outcome("success", generation=0), at=NOW)
    assert it.record(outcome("failure", generation=1), at=NOW)
    assert it.consecutive == 1


# --- half open -------------------------------------------------------------------------------


def test_exactly_the_permits_pass_half_open() -> None:
    it = half_opened(permits=3)
    assert (it.state, it.permits_left(NOW)) == ("half_open", 2)
    it.probing({"test_request_id": "p2"})
    it.probing({"test_request_id": "p3"})
    assert it.permits_left(NOW + 1000) == 0


def test_a_probe_that_succeeded_keeps_its_permit() -> None:
    """All must succeed: a fourth is not let through to make up for one that has not ended."""
    it = half_opened(permits=2)
    assert it.record(outcome("success", generation=1, probe="p1"), at=NOW)
    assert (it.successes, it.permits_left(NOW)) == (1, 1)


def test_a_probe_without_an_outcome_gives_its_permit_back() -> None:
    it = half_opened(permits=1)
    assert it.permits_left(NOW) == 0
    assert not it.record(outcome("neutral", generation=1, probe="p1"), at=NOW)
    assert (it.state, it.permits_left(NOW)) == ("half_open", 1)
    assert not it.record(outcome("success", generation=1, probe="p1"), at=NOW)
    assert it.successes == 0


def test_an_ordinary_outcome_counts_for_nothing_half_open() -> None:
    """It began before, and says nothing about now."""
    it = half_opened()
    for kind in ("success", "failure"):
        assert not it.record(outcome(kind, generation=1), at=NOW)
    assert (it.successes, it.consecutive) == (0, 0)


def test_opening_again_takes_every_permit_back_and_goes_on_with_the_same_failure() -> None:
    it = half_opened()
    first = it.first_opened_at
    open_it(it, at=NOW + 60)
    assert (it.version, it.openings, it.probes, it.first_opened_at) == (2, 2, set(), first)
    assert not it.record(outcome("success", generation=1, probe="p1"), at=NOW)


def test_closing_forgets_everything_but_the_version() -> None:
    it = half_opened()
    it.record(outcome("success", generation=1, probe="p1"), at=NOW)
    it.closed()
    assert (it.state, it.version, it.consecutive, it.successes) == ("closed", 1, 0, 0)
    assert (it.opened_at, it.probe_at, it.error_id) == (None, None, None)
    assert it.window.counts(NOW) == (0, 0)


# --- what is due -----------------------------------------------------------------------------


def test_failures_in_a_row_make_opening_due_until_a_success_or_the_opening() -> None:
    it = breaker(threshold=3)
    for due in (None, None, "open"):
        it.record(outcome("failure"), at=NOW)
        assert it.due() == due
    it.record(outcome("success"), at=NOW)
    assert it.due() is None
    for _ in range(3):
        it.record(outcome("failure"), at=NOW)
    assert it.due() == "open"
    open_it(it)
    assert it.due() is None


@pytest.mark.parametrize("last", ["success", "failure"])
def test_the_rate_makes_opening_due_by_the_time_of_the_newest_outcome(last: str) -> None:
    it = breaker(threshold=100)
    for number in range(OUTCOMES_MIN):
        assert it.due() is None
        failed = (number % 2 == 0) == (last == "success")
        it.record(outcome("failure" if failed else "success"), at=NOW + number)
    assert it.due() == "open"
    # The next one comes when all of these are too old to count.
    it.record(outcome("failure"), at=NOW + OUTCOMES_MIN + WINDOW_S)
    assert it.due() is None


def test_all_permits_succeeding_makes_closing_due() -> None:
    it = half_opened(permits=2)
    it.probing({"test_request_id": "p2"})
    for probe, due in (("p1", None), ("p2", "closed")):
        it.record(outcome("success", generation=1, probe=probe), at=NOW)
        assert it.due() == due
    it.closed()
    assert it.due() is None


def test_a_failed_probe_makes_opening_due_whatever_the_others_tell() -> None:
    it = half_opened(permits=2)
    it.probing({"test_request_id": "p2"})
    it.record(outcome("failure", generation=1, probe="p1"), at=NOW)
    assert it.due() == "open"
    it.record(outcome("success", generation=1, probe="p2"), at=NOW)
    assert it.due() == "open"
    open_it(it)
    assert (it.due(), it.probe_failed) == (None, False)
    it.probing({"test_request_id": "p3"})
    assert it.due() is None
    it.record(outcome("failure", generation=2, probe="p3"), at=NOW)
    it.closed()
    assert (it.due(), it.probe_failed) == (None, False)


# --- what a task whose attempt ends is told --------------------------------------------------


@pytest.mark.parametrize(
    ("failed_before", "failing", "held_s"),
    [(0, True, 0.0), (3, True, 0.0), (4, True, 30.0), (4, False, 0.0)],
)
def test_a_failure_that_opens_the_breaker_holds_its_own_task_back(
    failed_before: int, failing: bool, held_s: float
) -> None:
    """The task is told when it is tried again before the breaker has opened."""
    it = breaker(threshold=5)
    for _ in range(failed_before):
        it.record(outcome("failure"), at=NOW)
    assert it.holds_back_s(NOW, failing=failing, probe=None) == held_s


def test_an_open_breaker_holds_back_until_it_probes() -> None:
    it = breaker()
    open_it(it)
    assert it.holds_back_s(NOW + 10, failing=False, probe=None) == 20.0
    assert it.holds_back_s(NOW + 30, failing=False, probe=None) == 0.001


@pytest.mark.parametrize(("cooldown_s", "retry_after_s"), [(30.0, 1.0), (0.5, 0.5)])
def test_half_open_it_is_worth_asking_again_when_a_probe_may_have_ended(
    cooldown_s: float, retry_after_s: float
) -> None:
    assert half_opened(cooldown_s=cooldown_s, permits=1).retry_after_s(NOW) == retry_after_s


@pytest.mark.parametrize(
    ("probe", "failing", "held_s"),
    [("p1", True, 30.0), ("p1", False, 0.0), ("p9", True, 0.0), (None, True, 0.0)],
)
def test_half_open_only_a_probe_that_fails_holds_back(
    probe: str | None, failing: bool, held_s: float
) -> None:
    assert half_opened().holds_back_s(NOW, failing=failing, probe=probe) == held_s


def test_a_breaker_and_its_outcomes_have_their_place_in_the_log() -> None:
    assert subject_of("model") == "breaker/model"
    assert outcome("failure", generation=2, probe="p1") == Outcome("b", 2, "p1", "failure")


class AnyOrder(RuleBasedStateMachine):
    """Whatever order the news comes in, no more probes are out than there are permits."""

    permits = 2

    def __init__(self) -> None:
        super().__init__()
        self.it = breaker(permits=self.permits, threshold=2)
        self.now = NOW
        self.out: dict[str, int] = {}  # probe → the version under which it was let through
        self.admitted: list[int] = []  # versions of ordinary calls
        self.let_through: dict[int, int] = {}
        self.given_back: dict[int, int] = {}
        self.number = 0

    @rule(seconds=st.sampled_from((1.0, 29.0, 31.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        if self.it.state == "closed":
            self.admitted.append(self.it.version)
        elif self.it.permits_left(self.now) > 0:
            self.number += 1
            probe = f"p{self.number}"
            self.it.probing({"test_request_id": probe})
            self.out[probe] = self.it.version
            self.let_through[self.it.version] = self.let_through.get(self.it.version, 0) + 1

    @precondition(lambda self: self.admitted)
    @rule(kind=st.sampled_from(("success", "failure", "neutral")))
    def an_ordinary_call_ends(self, kind: str) -> None:
        version = self.admitted.pop(0)
        counted = self.it.record(outcome(kind, generation=version), at=self.now)
        assert counted == (
            kind != "neutral" and self.it.state == "closed" and version == self.it.version
        )
        self.decide(counted and kind == "failure")

    @precondition(lambda self: self.out)
    @rule(kind=st.sampled_from(("success", "failure", "neutral")), newest=st.booleans())
    def a_probe_ends(self, kind: str, newest: bool) -> None:
        probe = list(self.out)[-1 if newest else 0]
        version = self.out.pop(probe)
        current = version == self.it.version and self.it.state == "half_open"
        counted = self.it.record(outcome(kind, generation=version, probe=probe), at=self.now)
        assert counted == (current and kind != "neutral")
        if current and kind == "neutral":
            self.given_back[version] = self.given_back.get(version, 0) + 1
        self.decide(counted and kind == "failure")

    def decide(self, failed: bool) -> None:
        if self.it.state == "half_open" and failed:
            open_it(self.it, at=self.now)
        elif self.it.state == "half_open" and self.it.successes >= self.permits:
            self.it.closed()
        elif self.it.state == "closed" and self.it.consecutive >= self.it.rules.threshold:
            open_it(self.it, at=self.now)

    @invariant()
    def never_more_probes_than_permits(self) -> None:
        flying = sum(version == self.it.version for version in self.out.values())
        if self.it.state == "half_open":
            assert flying <= self.permits
        for version, count in self.let_through.items():
            assert count - self.given_back.get(version, 0) <= self.permits


TestAnyOrder = AnyOrder.TestCase
