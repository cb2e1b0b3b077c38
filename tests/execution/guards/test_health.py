"""Health: what a worker is for the way in which it does its tasks, and what it may take."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.attempt import Attempt
from gateway.domain.errors import Rejected
from gateway.domain.settings import Settings
from gateway.domain.worker import Status, Worker
from gateway.execution.guards.health import Health
from tests.execution.record.room import NOW
from tests.execution.record.story import Story


class Moment:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = NOW + 1000

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody waits here")


class Case:
    """One worker, and the guard that judges it."""

    def __init__(self, **changes: Any) -> None:
        story = Story(**changes)
        story.registered("w1")
        self.story = story
        self.clock = Moment()
        self.worker: Worker = story.state.workers["w1"]
        self.health = Health(state=story.state, clock=self.clock, settings=Settings(**changes))

    def missed(self, times: int) -> None:
        for _ in range(times):
            self.worker.health.failed(self.clock.now, began_at=self.clock.now, stood_still=True)

    def holds(self, task_id: str, *, moved: bool, since: float) -> None:
        self.story.submitted(task_id)
        self.story.started(task_id)
        (attempt,) = self.story.state.tasks[task_id].attempts
        assert isinstance(attempt, Attempt)
        attempt.moved, attempt.started_at = moved, since


@pytest.mark.parametrize(
    ("missed", "status"),
    [(0, "healthy"), (1, "healthy"), (2, "suspect"), (3, "suspect"), (4, "quarantined")],
)
def test_a_worker_is_warned_of_before_it_is_quarantined(missed: int, status: Status) -> None:
    case = Case()
    case.missed(missed)
    assert case.health.standing(case.worker) == status


def test_a_quarantined_worker_stays_so_until_it_is_released() -> None:
    case = Case()
    case.missed(4)
    case.worker.quarantined = True
    heals_in_s = case.health.heals_in_s(case.worker)
    assert heals_in_s is not None
    case.clock.now += heals_in_s - 0.01
    assert 0.3 < case.health.score(case.worker) < 0.5
    assert case.health.standing(case.worker) == "quarantined"
    case.clock.now += 0.02
    assert case.health.standing(case.worker) == "healthy"


def test_the_two_limits_are_settings() -> None:
    case = Case(quarantine_below=0.7, quarantine_release=0.8)
    case.missed(1)
    assert case.health.standing(case.worker) == "quarantined"
    never = Case(quarantine_below=0)
    never.missed(60)
    assert never.health.standing(never.worker) == "suspect"


@pytest.mark.parametrize(("moved", "heals"), [(False, False), (True, True)])
def test_time_heals_no_worker_whose_tasks_stand_still(moved: bool, heals: bool) -> None:
    case = Case()
    case.missed(2)
    case.holds("t1", moved=moved, since=case.clock.now)
    before = case.health.score(case.worker)
    case.clock.now += 30
    assert (case.health.score(case.worker) > before) is heals
    assert case.health.score(case.worker, []) > before


def test_the_scores_of_all_workers_that_are_there_are_told_at_once() -> None:
    case = Case()
    case.missed(2)
    case.story.registered("w2")
    case.story.registered("w3")
    case.story.state.workers["w3"].status = "offline"
    case.holds("t1", moved=False, since=case.clock.now)
    case.clock.now += 30
    assert case.health.scores() == {"w1": pytest.approx(0.4), "w2": 1.0}


def test_a_process_of_the_gateway_is_never_quarantined() -> None:
    case = Case()
    case.worker.owner = ""
    case.missed(10)
    assert case.health.standing(case.worker) == "healthy"
    assert case.health.score(case.worker) < 0.3


def test_what_a_worker_says_counts_until_it_says_otherwise_or_goes() -> None:
    case = Case()
    case.health.report("w1", 0.0)
    assert case.health.score(case.worker) == pytest.approx(0.8)
    assert case.health.take_reported() == {"w1": 0.0}
    assert case.health.take_reported() == {}
    case.health.report("w1", 0.5, tell=False)
    assert case.health.take_reported() == {}
    assert case.health.score(case.worker) == pytest.approx(0.9)
    case.health.report("w1", 0.5)
    case.health.forget("w1")
    assert case.health.take_reported() == {}
    assert case.health.score(case.worker) == 1.0


def test_it_is_not_told_when_a_worker_is_well_again_that_time_alone_does_not_heal() -> None:
    case = Case(quarantine_release=0.9)
    case.missed(1)
    assert case.health.heals_in_s(case.worker) is not None
    case.health.report("w1", 0.0)
    assert case.health.heals_in_s(case.worker) is None


def test_a_worker_on_trial_has_one_task_at_a_time_and_a_quarantined_one_none() -> None:
    case = Case()
    assert case.health.may_take(case.worker)
    case.holds("t1", moved=True, since=case.clock.now)
    assert case.health.may_take(case.worker)
    case.worker.on_trial = True
    assert not case.health.may_take(case.worker)
    with pytest.raises(Rejected, match="one at a time"):
        case.health.require_may_take(case.worker)
    case.story.finished("t1")
    assert case.health.may_take(case.worker)
    case.worker.status = "quarantined"
    case.worker.on_trial = True
    assert not case.health.may_take(case.worker)
    with pytest.raises(Rejected, match="it gets none") as refused:
        case.health.require_may_take(case.worker)
    assert (refused.value.code, refused.value.http_status) == ("quarantined", 503)
