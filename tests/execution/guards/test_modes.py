"""Modes: set by an operator, or by what is measured, once in a period and by one node."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway import Task
from gateway.domain.agent import AgentPolicy
from gateway.domain.errors import InvalidParams, Rejected
from gateway.domain.settings import Settings
from gateway.domain.timestamps import seconds_of
from gateway.execution.guards.modes import FEATURES_MAX, Modes
from gateway.execution.record.mode_drafts import ModeDrafts
from tests.execution.conftest import OpenWorld
from tests.execution.hands import hand
from tests.execution.world import World, away_world


class Meter:
    """A machine that a test sets."""

    def __init__(self) -> None:
        self.busy = 0.0
        self.memory = 0.0

    def busy_s(self) -> float:
        return self.busy

    def memory_share(self) -> float:
        return self.memory


@contextlib.asynccontextmanager
async def measured(here: World, meter: Meter, **changes: Any) -> AsyncIterator[Modes]:
    """Measure with the meter while inside."""
    parts = here.engine.parts
    modes = Modes(
        holder="this node",
        state=parts.state,
        intake=parts.intake,
        drafts=ModeDrafts(parts.intake),
        features=lambda: ["translations"],
        machine=meter,
        clock=here.engine.clock,
        settings=Settings(queue_limit=parts.settings.queue_limit, **changes),
    )
    running = asyncio.create_task(modes.run())
    try:
        yield modes
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def told(here: World) -> list[str]:
    return [event["mode"] for event in here.said("mode_changed")]


async def test_an_operators_mode_is_told_and_ends_with_the_next(here: World) -> None:
    for mode in ("degraded", "read_only", "normal", "normal"):
        answer = await here.call("mode.set", mode=mode)
        assert answer["mode"] == mode
    assert told(here) == ["degraded", "read_only", "normal"]
    opened = [event["degradation_id"] for event in here.said("graceful_degradation")]
    ended = [event["degradation_id"] for event in here.said("system_recovered", scope="mode")]
    assert len(opened) == 2
    assert opened == ended
    assert here.state.degradations == {}


async def test_a_full_queue_degrades_within_a_second_and_ends_with_room(
    open_world: OpenWorld,
) -> None:
    here = await open_world(queue_limit=10)
    async with measured(here, Meter()):
        tasks = [await here.submit("nobody", priority=3) for _ in range(8)]
        await here.passing(1)
        assert here.state.mode.name == "degraded"
        with pytest.raises(Rejected, match="degraded_mode"):
            await here.submit("nobody", priority=6)
        for task_id in tasks:
            await here.call("task.cancel", task_id=task_id)
        await here.passing(20)
        assert told(here) == ["degraded", "normal"]
        await here.submit("nobody", priority=6)
    recovered = here.said("system_recovered", scope="mode")
    assert [event["degradation_id"] for event in recovered] == [
        event["degradation_id"] for event in here.said("graceful_degradation")
    ]
    assert here.said("mode_changed")[0]["message"] == "mode degraded: the queue is 80% full"


async def test_it_changes_at_most_once_in_a_period(open_world: OpenWorld) -> None:
    here = await open_world(queue_limit=10)
    meter = Meter()
    async with measured(here, meter, mode_period=30):
        for _ in range(30):
            meter.memory = 0.95
            await here.passing(4)
            meter.memory = 0.1
            await here.passing(4)
    times = [seconds_of(event["timestamp"]) for event in here.said("mode_changed")]
    assert len(times) >= 4
    assert min(after - before for before, after in itertools.pairwise(times)) >= 29.9


async def test_what_an_operator_has_set_stays(here: World) -> None:
    meter = Meter()
    async with measured(here, meter):
        await here.call("mode.set", mode="degraded")
        await here.passing(100)
        assert told(here) == ["degraded"]
        await here.call("mode.set", mode="read_only")
        meter.memory = 0.99
        await here.passing(100)
        assert told(here) == ["degraded", "read_only"]


async def test_another_node_ends_it_only_when_the_one_that_measured_it_is_gone(
    here: World,
) -> None:
    meter = Meter()
    worker = await here.call("agent.register", handle="other")
    async with measured(here, meter) as modes:
        modes._holder = worker["agent_id"]
        meter.memory = 0.95
        await here.passing(1)
        assert told(here) == ["degraded"]
        modes._holder = "this node"
        meter.memory = 0.1
        await here.passing(1)
        await here.call(
            "agent.heartbeat", agent_id=worker["agent_id"], agent_secret=worker["agent_secret"]
        )
        assert told(here) == ["degraded"]
        await here.passing(60)  # it is silent, and offline
        assert told(here) == ["degraded", "normal"]


async def test_a_store_that_is_away_is_tried_again(open_world: OpenWorld) -> None:
    here, log = await away_world(open_world)
    meter = Meter()
    async with measured(here, meter):
        log.away = True
        meter.memory = 0.95
        await here.passing(5)
        log.away = False
        await here.passing(2)
        assert here.state.mode.name == "degraded"


async def test_nothing_is_measured_without_a_machine(here: World) -> None:
    await here.passing(5)
    assert here.state.mode.name == "normal"
    assert here.engine.parts.modes.overload.load.memory == 0.0


async def test_no_worker_keeps_the_mode_from_changing_by_what_it_says_of_itself(
    here: World,
) -> None:
    """One event tells of all features, and an event has a bound; a lost feature has a name."""

    @here.gateway.agent("translator", features=["translations"])
    async def translate(task: Task) -> None: ...

    with pytest.raises(InvalidParams) as refused:
        await hand(here, agents=[{"name": "nameless", "features": [""]}])
    assert refused.value.field == "agents.0.features.0"
    many = [f"{number:04}" + "é" * 124 for number in range(60 * 30)]
    agents = [{"name": f"a{at}", "features": many[at : at + 60]} for at in range(0, len(many), 60)]
    worker = await hand(here, agents=agents)
    # As an earlier version has taken it.
    here.state.workers[worker.agent_id].agents["a0"] = AgentPolicy("a0", features=("",))
    await here.call("mode.set", mode="degraded")
    (told,) = here.said("graceful_degradation")
    urgent, *features = told["available_features"]
    assert urgent == "tasks of priority 0 to 5"
    assert len(features) == len(set(features)) == FEATURES_MAX
    assert "translations" in features
