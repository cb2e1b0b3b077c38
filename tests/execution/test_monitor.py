"""The monitor: an action that is due is called, whatever goes wrong with it or with another."""

from __future__ import annotations

import pytest

from gateway.domain.errors import Unavailable
from gateway.execution.monitor import LATE_S, SWEEP_MIN, Action
from tests.execution.world import VirtualClock, World


@pytest.mark.parametrize(
    ("error", "again_s"),
    [(Unavailable("the store is away", retry_after=2.0), 2.0), (RuntimeError("a mistake"), 30.0)],
)
async def test_an_action_that_fails_is_called_again_and_stops_no_other(
    here: World, error: Exception, again_s: float
) -> None:
    """A task must not be without its deadline because of one bad moment."""
    clock = here.engine.clock
    began = clock.wall()
    called: list[tuple[str, float]] = []

    async def fails_once() -> None:
        called.append(("fails once", round(clock.wall() - began, 3)))
        if len(called) == 1:
            raise error

    async def other() -> None:
        called.append(("other", round(clock.wall() - began, 3)))

    here.engine.parts.monitor.at(began + 1, fails_once)
    here.engine.parts.monitor.at(began + 1, other)
    await here.passing(60)
    assert called == [("fails once", 1.0), ("other", 1.0), ("fails once", 1.0 + again_s)]


async def test_actions_are_called_in_the_order_of_their_times_then_of_their_coming(
    here: World,
) -> None:
    monitor, clock = here.engine.parts.monitor, here.engine.clock
    began = clock.wall()
    called: list[tuple[str, float]] = []

    def noted(name: str) -> Action:
        async def note() -> None:
            called.append((name, round(clock.wall() - began, 3)))

        return note

    monitor.at(began + 3, noted("third"))
    monitor.at(began + 1, noted("first"))
    monitor.at(began + 1, noted("second"))
    monitor.at(began - 5, noted("overdue"))
    await here.passing(0.5)
    monitor.soon(noted("soon"))
    await here.passing(10)
    assert called == [
        ("overdue", 0.0),
        ("soon", 0.5),
        ("first", 1.0),
        ("second", 1.0),
        ("third", 3.0),
    ]


async def test_an_action_may_plan_itself_again(here: World) -> None:
    monitor, clock = here.engine.parts.monitor, here.engine.clock
    called: list[float] = []

    async def tick() -> None:
        called.append(clock.wall())
        monitor.at(clock.wall() + 1, tick)

    monitor.soon(tick)
    await here.passing(4.5)
    assert len(called) == 5
    monitor.clear()
    await here.passing(10)
    assert len(called) == 5


@pytest.mark.parametrize("set_s", [-3600.0, 3600.0])
async def test_a_wall_clock_that_is_set_moves_no_timer(here: World, set_s: float) -> None:
    monitor, clock = here.engine.parts.monitor, here.engine.clock
    assert isinstance(clock, VirtualClock)
    called: list[float] = []
    late: list[bool] = []

    async def note() -> None:
        called.append(clock.monotonic())

    monitor.clear()
    monitor.when_late(lambda: late.append(True))
    monitor.at(monitor.now + 100, note)
    begun_at = clock.monotonic()
    clock.ahead_s = set_s
    await here.passing(101)
    assert called == pytest.approx([begun_at + 100], abs=0.001)
    assert late == [], "the process did run"


async def test_that_a_process_did_not_run_is_noticed_though_its_clock_was_set_back(
    here: World,
) -> None:
    clock = here.engine.clock
    assert isinstance(clock, VirtualClock)
    late: list[bool] = []
    here.engine.parts.monitor.when_late(lambda: late.append(True))
    await here.passing(1)
    clock.ahead_s = -3600.0
    here.stopped_for(60)
    await here.passing(1)
    assert late == [True]


@pytest.mark.parametrize(("stopped_s", "late"), [(LATE_S - 0.1, 0), (LATE_S + 0.1, 1), (60, 1)])
async def test_what_hears_workers_is_told_first_when_the_process_did_not_run(
    here: World, stopped_s: float, late: int
) -> None:
    """What it did not hear meanwhile, it could not hear: no timer may act on it."""
    monitor, clock = here.engine.parts.monitor, here.engine.clock
    order: list[str] = []

    async def act() -> None:
        order.append("action")

    monitor.when_late(lambda: order.append("late"))
    monitor.clear()
    monitor.at(clock.wall() + 5, act)
    await here.passing(4.999)
    here.stopped_for(0.001 + stopped_s)
    await here.passing(1)
    assert order == ["late"] * late + ["action"]


async def test_timers_of_tasks_that_have_ended_are_swept_out(here: World) -> None:
    """Each has one for its deadline, which may be a week away."""
    monitor = here.engine.parts.monitor
    kept = await here.submit("nobody", timeout=604_800)
    for _ in range(SWEEP_MIN):
        task_id = await here.submit("nobody", timeout=604_800)
        await here.call("task.cancel", task_id=task_id)
    assert len(monitor._due) <= SWEEP_MIN
    await here.passing(301)
    assert here.state.tasks[kept].status == "dead_lettered"
