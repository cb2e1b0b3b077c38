"""Figures: what is so now, in numbers, as the folds say it."""

from __future__ import annotations

import pytest

from gateway.domain.agent import AgentPolicy
from gateway.domain.error_codes import failure_with
from gateway.execution.record.figures import OVERDUE_S, figures, oldest_age_s
from gateway.execution.service import Figures
from tests.execution.conftest import OpenWorld
from tests.execution.record.room import Room
from tests.execution.world import away_world

SEARCH = AgentPolicy("search", max_attempts=3)
DRAW = AgentPolicy("draw")
DOWN = failure_with("upstream_unavailable")


def now(room: Room) -> Figures:
    scores = {
        agent_id: worker.health_score
        for agent_id, worker in room.state.workers.items()
        if not worker.gone
    }
    return figures(room.state, room.log, scores=scores, now=room.clock.now)


async def test_an_empty_gateway_is_all_zero() -> None:
    room = Room(SEARCH)
    assert now(room) == Figures(
        mode="normal",
        tasks_open=0,
        tasks_without_end=0,
        queue_depth=0,
        queue_oldest_age_s=0.0,
        workers={},
        health={},
        breakers={},
        domains={},
        log_events=0,
        log_bytes=0,
        log_offset=0,
    )


async def test_what_runs_and_what_waits_is_told_apart() -> None:
    room = Room(SEARCH)
    running = await room.running()
    room.clock.now += 2
    await room.task()
    room.clock.now += 3
    found = now(room)
    assert (found.tasks_open, found.queue_depth, found.queue_oldest_age_s) == (2, 1, 3.0)
    assert found.log_offset == found.log_events == room.log.head
    assert found.breakers == {"search": "closed"}
    await room.lifecycle.fail(running.task_id, 1, DOWN, cause="exception")
    assert now(room).queue_oldest_age_s == 5.0


@pytest.mark.parametrize(("over_s", "count"), [(-1.0, 0), (OVERDUE_S, 0), (OVERDUE_S + 0.001, 1)])
async def test_a_task_that_should_have_ended_is_without_an_end(over_s: float, count: int) -> None:
    """No timer runs in this room, so that nobody ends it."""
    room = Room(SEARCH)
    task = await room.running(timeout=60.0)
    await room.task(timeout=1000.0)
    room.clock.now = task.deadline_at + over_s
    assert now(room).tasks_without_end == count
    await room.lifecycle.succeed(task.task_id, 1, "at last")
    assert now(room).tasks_without_end == 0


async def test_while_ends_cannot_be_told_they_are_missing_and_afterwards_none_is(
    open_world: OpenWorld,
) -> None:
    here, log = await away_world(open_world)
    await here.submit("nobody", timeout=10.0)
    log.away = True
    await here.passing(30)
    told = here.engine.figures()
    assert told is not None
    assert (told.tasks_open, told.tasks_without_end) == (1, 1)
    log.away = False
    await here.passing(30)
    told = here.engine.figures()
    assert told is not None
    assert (told.tasks_open, told.tasks_without_end) == (0, 0)


def test_an_agents_health_is_that_of_its_worst_worker_that_is_there() -> None:
    room = Room()
    well, suspect, gone = room.worker(SEARCH, DRAW), room.worker(SEARCH), room.worker(SEARCH)
    well.health_score = 0.9
    suspect.health_score, suspect.status = 0.4, "suspect"
    gone.health_score, gone.status = 0.1, "offline"
    found = now(room)
    assert found.health == {"search": 0.4, "draw": 0.9}
    assert found.workers == {"healthy": 1, "suspect": 1, "offline": 1}


async def test_where_none_waits_there_is_no_oldest() -> None:
    room = Room(SEARCH)
    assert oldest_age_s(room.state, room.clock.now) is None
    await room.running()
    assert oldest_age_s(room.state, room.clock.now) is None
    await room.task()
    # A clock that is behind the log's makes nobody younger than new.
    assert oldest_age_s(room.state, room.clock.now - 5) == 0.0
