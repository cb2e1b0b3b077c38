"""Failure domains: a rate over a window that slides, one task a second, and three probes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.attempt import Attempt
from gateway.domain.breaker import WINDOW_S, BreakerRules
from gateway.domain.failure_domain import (
    DOMAINS_MAX,
    PERIOD_S,
    FailureDomain,
    FailureDomains,
    probe_of,
    subject_of,
)
from gateway.domain.preserved import Preserved
from gateway.domain.task import Task
from gateway.domain.timestamps import rfc3339

NOW = 1_800_000_000.0
RULES = BreakerRules(rate=0.3)


def domain(**rules: Any) -> FailureDomain:
    return FailureDomain("eu-1", "domain", BreakerRules(**{"rate": 0.3, **rules}))


def ended(it: FailureDomain, kinds: Sequence[Any], *, at: float = NOW) -> None:
    """Fold ordinary attempts that have just begun."""
    for number, kind in enumerate(kinds):
        it.ended(f"ordinary-{number}", kind, began_at=at, at=at)


def opened(it: FailureDomain, *, at: float = NOW) -> FailureDomain:
    event = {
        "type": "circuit_breaker_triggered",
        "breaker_version": it.version + 1,
        "probe_at": rfc3339(at + it.rules.cooldown_s),
        "error_id": "e",
    }
    it.told(event, at=at, offset=it.last_offset + 1)
    return it


def probed(it: FailureDomain, *numbers: int, at: float = NOW) -> None:
    for number in numbers:
        event = {"type": "circuit_breaker_test_request", "task_id": f"t{number}", "attempt": 1}
        it.told(event, at=at, offset=it.last_offset + 1)


def probe_ended(it: FailureDomain, number: int, kind: Any, *, at: float = NOW) -> None:
    it.ended(probe_of(f"t{number}", 1), kind, began_at=at, at=at)


def closed(it: FailureDomain, *, at: float) -> None:
    it.told({"type": "system_recovered"}, at=at, offset=it.last_offset + 1)


def test_a_domain_is_a_subject_of_its_own() -> None:
    assert subject_of("eu-1") == "domain/eu-1"


# --- at full speed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "successes", "due"),
    [(9, 0, None), (10, 0, "open"), (3, 7, None), (4, 6, "open"), (6, 14, None), (7, 14, "open")],
)
def test_more_than_the_rate_of_ten_outcomes_opens_it(
    failures: int, successes: int, due: str | None
) -> None:
    it = domain()
    ended(it, ["failure"] * failures + ["success"] * successes)
    assert it.due() == due


def test_failures_in_a_row_are_counted_and_are_no_reason() -> None:
    it = domain(threshold=1, rate=1.0)
    ended(it, ["failure"] * 50)
    assert (it.consecutive, it.failure_rate(NOW), it.due()) == (50, 1.0, None)
    ended(it, ["success"])
    assert it.consecutive == 0


def test_an_end_that_says_nothing_of_the_domain_is_no_outcome() -> None:
    it = domain()
    ended(it, ["neutral"] * 50)
    assert it.window.counts(NOW) == (0, 0)


@pytest.mark.requirement("FLUX-W6")
def test_the_window_slides() -> None:
    """What failed longer ago than half a minute counts no more, one by one."""
    it = domain()
    for second in range(9):
        ended(it, ["failure"], at=NOW + second)
    assert it.window.counts(NOW + 8) == (9, 9)
    for gone in range(9):
        assert it.window.counts(NOW + WINDOW_S + gone) == (8 - gone, 8 - gone)
    ended(it, ["failure"], at=NOW + WINDOW_S + 8)
    assert it.due() is None
    assert it.failure_rate(NOW + 3 * WINDOW_S) == 0.0


KINDS = st.sampled_from(["success", "failure", "neutral"])
STORIES = st.lists(st.tuples(st.floats(0, 20), KINDS), max_size=60)


def told(story: list[tuple[float, Any]], *, more: int | None = None) -> tuple[FailureDomain, float]:
    """Fold a story, with one more failure after so many of its ends."""
    it, at = domain(), NOW
    for place, (after_s, kind) in enumerate(story):
        at += after_s
        ended(it, [kind], at=at)
        if place == more:
            ended(it, ["failure"], at=at)
    return it, at


@given(STORIES, st.integers(0, 59), st.floats(0, 40))
def test_one_more_failure_never_makes_a_rate_lower_nor_keeps_a_domain_from_opening(
    story: list[tuple[float, Any]], place: int, later_s: float
) -> None:
    (without, at), (with_it, _) = told(story), told(story, more=place)
    for now in (at, at + later_s):
        assert with_it.failure_rate(now) >= without.failure_rate(now)
        assert not without.rate_tripped(now) or with_it.rate_tripped(now)


@given(STORIES, st.floats(0, 1000))
def test_time_alone_opens_no_domain_and_heals_every_one(
    story: list[tuple[float, Any]], later_s: float
) -> None:
    it, at = told(story)
    due = it.due()
    it.window.counts(at + later_s)
    assert it.due() == due
    assert it.failure_rate(at + WINDOW_S) == 0.0
    # A single success that comes then is judged alone.
    ended(it, ["success"], at=at + WINDOW_S)
    assert it.due() is None


# --- slowed down -----------------------------------------------------------------------------


def test_a_closed_domain_waits_for_nothing() -> None:
    it = domain()
    for _ in range(100):
        it.began(NOW)
    assert it.wait_s(NOW) == 0.0


def test_one_task_a_second_begins_in_an_open_domain() -> None:
    it = opened(domain())
    assert it.wait_s(NOW) == PERIOD_S
    assert it.wait_s(NOW + 0.25) == 0.75
    assert it.wait_s(NOW + PERIOD_S) == 0.0
    it.began(NOW + 5)
    assert it.wait_s(NOW + 5.5) == 0.5
    assert it.wait_s(NOW + 6) == 0.0


def test_two_that_begin_at_once_cost_two_seconds() -> None:
    it = opened(domain())
    it.began(NOW + 5)
    it.began(NOW + 5.001)
    assert it.wait_s(NOW + 5) == 2 * PERIOD_S


@given(st.lists(st.floats(0, 3), max_size=50), st.integers(1, 4))
def test_however_many_ask_no_more_begin_than_seconds_go_by(gaps: list[float], nodes: int) -> None:
    """Each node lets one begin when it may, unless it has not read of the others' yet."""
    it, now, begun = opened(domain()), NOW, 0
    for gap_s in gaps:
        now += gap_s
        if it.wait_s(now) == 0.0:
            for _ in range(nodes):
                it.began(now)
                begun += 1
    assert begun <= (now - NOW) / PERIOD_S + nodes


# --- probing ---------------------------------------------------------------------------------


def test_nothing_is_a_probe_before_the_cooldown_is_over_and_three_are_after_it() -> None:
    it = opened(domain(cooldown_s=20.0))
    assert it.permits_left(NOW + 19.9) == 0
    assert it.permits_left(NOW + 20) == 3
    probed(it, 1, 2)
    assert (it.state, it.permits_left(NOW + 20)) == ("half_open", 1)
    assert it.wait_s(NOW) == PERIOD_S


@pytest.mark.requirement("FLUX-15")
def test_it_is_closed_when_every_probe_has_succeeded() -> None:
    it = opened(domain())
    probed(it, 1, 2, 3)
    for number in (1, 2, 3):
        assert it.due() is None
        probe_ended(it, number, "success")
    assert it.due() == "closed"
    closed(it, at=NOW + 60)
    assert (it.state, it.due(), it.version, it.error_id) == ("closed", None, 1, None)
    assert it.window.counts(NOW) == (0, 0)


@pytest.mark.requirement("FLUX-15", "FLUX-W11")
def test_one_probe_that_fails_opens_it_again() -> None:
    it = opened(domain())
    probed(it, 1, 2, 3)
    probe_ended(it, 1, "success")
    probe_ended(it, 2, "failure")
    assert it.due() == "open"
    probe_ended(it, 3, "success")
    assert it.due() == "open"
    opened(it, at=NOW + 60)
    assert (it.state, it.version, it.successes, it.due()) == ("open", 2, 0, None)
    # A probe of the opening before says nothing any more.
    probe_ended(it, 3, "success")
    assert it.successes == 0


@pytest.mark.requirement("FLUX-W11")
def test_a_probe_that_says_nothing_gives_its_permit_back() -> None:
    it = opened(domain())
    at = NOW + it.rules.cooldown_s
    probed(it, 1, 2, 3)
    assert it.permits_left(at) == 0
    probe_ended(it, 2, "neutral")
    assert (it.permits_left(at), it.due()) == (1, None)


def test_attempts_that_are_no_probes_move_no_half_open_domain() -> None:
    it = opened(domain())
    probed(it, 1)
    ended(it, ["failure"] * 50)
    assert it.due() is None
    ended(it, ["success"] * 50)
    assert it.due() is None


def test_what_began_before_a_closing_does_not_count_after_it() -> None:
    it = opened(domain())
    closed(it, at=NOW + 60)
    for number in range(50):
        it.ended(f"late-{number}", "failure", began_at=NOW + 59.9, at=NOW + 61)
    assert (it.window.counts(NOW + 61), it.due()) == ((0, 0), None)
    ended(it, ["failure"] * 10, at=NOW + 61)
    assert it.due() == "open"


# --- all of them -----------------------------------------------------------------------------


def task(name: str | None, *, number: int = 1) -> Task:
    it = Task(
        task_id="t1",
        user_id="ann",
        agent_name="search",
        capability=None,
        priority=5,
        input=None,
        timeout_s=300.0,
        max_attempts=3,
        created_at=NOW,
        sequence=1,
        preserved=Preserved(bytes_max=1),
        domain=name,
    )
    it.attempts.append(Attempt(number, "w1", "primary", NOW))
    return it


def failed(error_type: str = "timeout", error_code: str = "task_timeout") -> dict[str, Any]:
    return {"type": "agent_error", "error_type": error_type, "error_code": error_code}


def domains() -> FailureDomains:
    return FailureDomains(RULES, 0.3, lambda _: None)


@pytest.mark.parametrize(
    ("event", "counted"),
    [
        ({"type": "task_finished", "outcome": "succeeded"}, (1, 0)),
        ({"type": "task_finished", "outcome": "cancelled"}, (0, 0)),
        ({"type": "lease_changed"}, (0, 0)),
        (failed(), (1, 1)),
        (failed("agent_lost", "heartbeat_lost"), (1, 1)),
        (failed("processing_error", "agent_exception"), (1, 1)),
        (failed("timeout", "caller_deadline"), (0, 0)),
        *((failed(kind, kind), (0, 0)) for kind in ("invalid_input", "content_refused")),
        *((failed(kind, kind), (0, 0)) for kind in ("auth_error", "circuit_open", "cancelled")),
    ],
)
def test_what_counts(event: dict[str, Any], counted: tuple[int, int]) -> None:
    all_of_them = domains()
    all_of_them.ended(task("eu-1"), event, at=NOW)
    known = all_of_them.get("eu-1")
    assert (known.window.counts(NOW) if known else (0, 0)) == counted


def test_what_has_no_domain_is_not_counted() -> None:
    all_of_them = domains()
    all_of_them.began(task(None), at=NOW)
    all_of_them.ended(task(None), failed(), at=NOW)
    assert list(all_of_them) == []


def test_a_domain_is_known_by_its_first_outcome_or_event() -> None:
    all_of_them = domains()
    all_of_them.began(task("eu-1"), at=NOW)
    assert len(all_of_them) == 0
    all_of_them.told("eu-2", {"type": "system_recovered"}, at=NOW, offset=7)
    assert all_of_them["eu-2"].last_offset == 7
    assert all_of_them["eu-2"].scope == "domain"
    assert all_of_them["eu-2"].rules.rate == 0.3


def test_whoever_writes_the_folds_down_is_told_of_every_change_before_it() -> None:
    seen: list[tuple[int, str]] = []

    def before(it: object) -> None:
        assert isinstance(it, FailureDomain)
        seen.append((it.consecutive, it.state))

    all_of_them = FailureDomains(RULES, 0.3, before)
    all_of_them.ended(task("eu-1"), failed(), at=NOW)
    opened_now = {
        "type": "circuit_breaker_triggered",
        "breaker_version": 1,
        "probe_at": rfc3339(NOW),
        "error_id": "e",
    }
    all_of_them.told("eu-1", opened_now, at=NOW, offset=1)
    all_of_them.began(task("eu-1"), at=NOW)
    assert seen == [(0, "closed"), (1, "closed"), (1, "open")]


def full() -> FailureDomains:
    all_of_them = domains()
    for number in range(DOMAINS_MAX):
        all_of_them.ended(task(f"d{number}"), failed(), at=NOW + number)
    return all_of_them


def test_at_the_bound_the_one_without_an_outcome_for_longest_goes() -> None:
    all_of_them = full()
    all_of_them.ended(task("d0"), failed(), at=NOW + DOMAINS_MAX)
    all_of_them.ended(task("one-more"), failed(), at=NOW + DOMAINS_MAX)
    assert len(all_of_them) == DOMAINS_MAX
    assert ("d0" in all_of_them, "d1" in all_of_them) == (True, False)


def test_one_that_has_opened_goes_last_and_one_that_is_open_never() -> None:
    all_of_them = full()
    all_of_them["d0"].last_offset = 1
    for name in all_of_them:
        if name != "d0":
            opened(all_of_them[name])
    assert all_of_them.of("one-more") is not None
    assert "d0" not in all_of_them
    opened(all_of_them["one-more"])
    assert all_of_them.of("another") is None
    # There is no room: it keeps its full speed.
    all_of_them.ended(task("another"), failed(), at=NOW)
    all_of_them.told("another", {"type": "system_recovered"}, at=NOW, offset=1)
    assert "another" not in all_of_them


def test_a_domain_of_a_snapshot_goes_by_the_settings_of_now() -> None:
    old = domain(rate=0.9, cooldown_s=7.0)
    all_of_them = domains()
    all_of_them.adopt(old)
    assert all_of_them["eu-1"] is old
    assert (old.rules.rate, old.rules.cooldown_s) == (0.3, RULES.cooldown_s)
