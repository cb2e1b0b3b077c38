"""Health: one number from the outcomes of a worker's attempts, which no failure raises."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.error_codes import CODES, TYPES
from gateway.domain.health import HALF_LIFE_S, Health, weighs

BEGUN = 1_800_000_000.0
DAY_S = 86_400.0


class Ended(NamedTuple):
    """An attempt's end: so many seconds after the one before, having lasted for so long."""

    after_s: float
    lasted_s: float
    how: str


SECONDS = st.floats(0, 300, allow_nan=False)
FAILURES = ("failed", "stood still")
FAILED = st.builds(Ended, SECONDS, SECONDS, st.sampled_from(FAILURES))
ENDED = st.builds(Ended, SECONDS, SECONDS, st.sampled_from(("succeeded", *FAILURES)))
STORIES = st.lists(ENDED, max_size=30)
SHARES = st.floats(0, 1)


def fold(health: Health, at: float, ended: Ended) -> None:
    if ended.how == "succeeded":
        health.succeeded(at)
    else:
        stood_still = ended.how == "stood still"
        health.failed(at, began_at=at - ended.lasted_s, stood_still=stood_still)


def told(story: list[Ended], *, more: tuple[int, Ended] | None = None) -> tuple[Health, float]:
    """Fold a story, with one more end in it that moves no other; gives when it was over."""
    health, at = Health(), BEGUN
    for place, ended in enumerate(story):
        at += ended.after_s
        if more is not None and more[0] == place:
            fold(health, at - ended.after_s, more[1])
        fold(health, at, ended)
    if more is not None and more[0] >= len(story):
        fold(health, at, more[1])
    return health, at


def stalled(times: int, *, at: float = BEGUN) -> Health:
    health = Health()
    for _ in range(times):
        health.failed(at, began_at=at, stood_still=True)
    return health


@pytest.mark.requirement("FLUX-W5")
@given(STORIES, st.integers(0, 30), FAILED, SECONDS, SHARES)
def test_one_more_failure_never_raises_a_score(
    story: list[Ended], place: int, failure: Ended, later_s: float, reported: float
) -> None:
    (without, at), (with_it, _) = told(story), told(story, more=(min(place, len(story)), failure))
    for now in (at, at + later_s):
        score = without.score(now, reported=reported)
        assert with_it.score(now, reported=reported) <= score + 1e-12


@given(STORIES, FAILED)
def test_a_failure_lowers_the_score_that_there_was(story: list[Ended], failure: Ended) -> None:
    health, at = told(story)
    before = health.score(at)
    fold(health, at, failure)
    assert health.score(at) <= before + 1e-12
    # Half of what is left is a difference that can be seen, unless there is nothing left.
    assert health.score(at) < before or before <= 0.5 + 1e-12


@given(STORIES, st.floats(0, DAY_S), SHARES)
def test_a_score_is_from_0_to_1_and_time_alone_raises_it(
    story: list[Ended], later_s: float, reported: float
) -> None:
    health, at = told(story)
    now, later = (health.score(at + s, reported=reported) for s in (0, later_s))
    assert 0.0 <= now <= later <= 1.0


@given(STORIES)
def test_time_takes_half_of_what_lacks_every_half_minute_until_nothing_does(
    story: list[Ended],
) -> None:
    health, at = told(story)
    lacks = 1 - health.score(at)
    for halves in (1, 2, 5):
        left = 1 - health.score(at + halves * HALF_LIFE_S)
        assert math.isclose(left, lacks / 2**halves, abs_tol=1e-9)
    assert health.score(at + DAY_S) == pytest.approx(1.0)


@given(STORIES, SECONDS)
def test_a_success_never_lowers_a_score(story: list[Ended], after_s: float) -> None:
    health, at = told(story)
    succeeded = copy.copy(health)
    succeeded.succeeded(at + after_s)
    assert succeeded.score(at + after_s) >= health.score(at + after_s) - 1e-12


@given(STORIES, st.floats(0.01, 0.99), SHARES)
def test_it_is_told_when_time_alone_will_have_healed(
    story: list[Ended], score: float, reported: float
) -> None:
    health, at = told(story)
    heals_in_s = health.heals_in_s(score, at, reported=reported)
    if math.isinf(heals_in_s):
        assert 0.8 + 0.2 * reported <= score
        return
    assert health.score(at + heals_in_s + 0.001, reported=reported) >= score - 1e-6
    if heals_in_s > 0.1:
        assert health.score(at + heals_in_s - 0.1, reported=reported) < score


def test_a_worker_begins_at_1_and_each_task_that_stands_still_takes_half_of_what_is_left() -> None:
    assert Health().score(BEGUN) == 1.0
    scores = [round(stalled(times).score(BEGUN), 3) for times in range(1, 6)]
    assert scores == [0.6, 0.4, 0.3, 0.25, 0.225]


@pytest.mark.requirement("FLUX-W5")
def test_a_worker_that_fails_and_moves_never_falls_below_a_half() -> None:
    """Its upstream may be down; that is the breaker's business."""
    health = Health()
    for _ in range(1000):
        health.failed(BEGUN, began_at=BEGUN, stood_still=False)
    assert health.score(BEGUN) == 0.5


def test_the_time_in_which_an_attempt_failed_heals_nothing() -> None:
    """Or a limit of half a minute would hide that every task stands still."""
    at, health = BEGUN, Health()
    for _ in range(4):
        health.failed(at + 30, began_at=at, stood_still=True)
        at += 30
    assert health.score(at) == 0.25
    # An earlier attempt that ends later takes nothing back either.
    health.failed(at, began_at=BEGUN, stood_still=True)
    assert health.score(at) == 0.225


def test_what_a_worker_says_of_itself_is_a_fifth() -> None:
    scores = [Health().score(BEGUN, reported=said) for said in (0.0, 0.5, 1.0)]
    assert scores == pytest.approx([0.8, 0.9, 1.0])


@pytest.mark.parametrize("error_type", TYPES)
def test_a_failure_weighs_by_its_type(error_type: str) -> None:
    kinds = "timeout rate_limit network_error service_unavailable validation_error database_error"
    kinds += " processing_error agent_lost"
    assert weighs(error_type, "a_code_of_its_own") is (error_type in kinds.split())


@pytest.mark.parametrize("code", [code for code, kind in CODES.items() if not kind.counted])
def test_what_is_not_the_workers_doing_does_not_weigh(code: str) -> None:
    """A caller's deadline is a timeout, and nobody's failure."""
    assert not weighs(CODES[code].error_type, code)
