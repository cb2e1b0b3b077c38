"""Breakers at work: one event for each opening, a counted number of probes, no call in between."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest

from gateway import Task
from gateway.domain.errors import Rejected, Unavailable
from gateway.errors import ContentRefused, NotRetryable, RateLimited, ServiceUnavailable
from tests.execution.conftest import OpenWorld
from tests.execution.world import SlowLog, World


class Upstream:
    """What the agents of these tests call: it is up or down, and counts its calls."""

    def __init__(self, here: World) -> None:
        self.here = here
        self.up = True
        self.raises: type[Exception] = ServiceUnavailable
        self.calls = 0
        self.takes_s = 0.0

    async def ask(self) -> str:
        self.calls += 1
        if self.takes_s:
            await self.here.passing(self.takes_s)
        if not self.up:
            raise self.raises
        return "done"


def declare(here: World, name: str = "asker", **options: Any) -> Upstream:
    upstream = Upstream(here)

    @here.gateway.agent(name, **{"max_attempts": 1, "timeout": 100.0, **options})
    async def asker(task: Task) -> str:
        return await upstream.ask()

    return upstream


async def opened(here: World, upstream: Upstream, name: str = "asker") -> None:
    """Let the breaker open."""
    upstream.up = False
    for _ in range(5):
        await here.engine.parts.ends.of(await here.submit(name))
    await here.until(lambda: here.state.breakers[name].state == "open", within=1)
    upstream.up = True
    assert here.state.breakers[name].state == "open"


def opened_events(here: World) -> list[dict[str, Any]]:
    return here.said("circuit_breaker_triggered")


@pytest.mark.parametrize(("failures", "opens"), [(4, 0), (5, 1)])
async def test_five_failures_in_a_row_open_a_breaker(
    here: World, failures: int, opens: int
) -> None:
    upstream = declare(here)
    upstream.up = False
    for _ in range(failures):
        await here.run("asker")
    assert len(opened_events(here)) == opens


async def test_a_success_in_between_begins_the_row_anew(here: World) -> None:
    upstream = declare(here)
    for up in (False,) * 4 + (True,) + (False,) * 4:
        upstream.up = up
        await here.run("asker")
    assert opened_events(here) == []
    await here.run("asker")
    assert len(opened_events(here)) == 1


@pytest.mark.parametrize("last_fails", [True, False])
async def test_every_second_failure_opens_a_breaker_at_the_twentieth_outcome(
    here: World, last_fails: bool
) -> None:
    """Half of twenty is reached with the twentieth, whether that one fails or not."""
    upstream = declare(here)
    for number in range(20):
        assert opened_events(here) == []
        upstream.up = (number % 2 == 0) == last_fails
        await here.run("asker")
    (event,) = opened_events(here)
    assert event["failure_rate"] == 0.5
    assert event["failure_threshold_reached"] == 10


async def test_outcomes_of_longer_than_half_a_minute_ago_do_not_count(here: World) -> None:
    upstream = declare(here)
    for number in range(19):
        upstream.up = number % 2 == 0
        await here.run("asker")
    await here.passing(31)
    upstream.up = False
    await here.run("asker")
    assert opened_events(here) == []


@pytest.mark.parametrize("raised", [ContentRefused, None])
async def test_a_failure_that_is_not_the_agents_does_not_count(
    here: World, raised: type[Exception] | None
) -> None:
    upstream = declare(here)
    upstream.up = False
    upstream.raises = raised or ServiceUnavailable
    upstream.takes_s = 10.0 if raised is None else 0.0
    for _ in range(10):
        await here.run("asker", timeout=5.0)
    assert opened_events(here) == []


async def test_a_mistake_of_the_agent_counts(here: World) -> None:
    upstream = declare(here)
    upstream.up = False
    upstream.raises = NotRetryable
    for _ in range(5):
        await here.run("asker")
    assert len(opened_events(here)) == 1


async def test_many_failures_at_once_are_one_opening(open_world: OpenWorld) -> None:
    """Exactly one event per opening, whatever was on its way."""
    here = await open_world(workers=100)
    upstream = declare(here)
    upstream.up, upstream.takes_s = False, 1.0
    ids = [await here.submit("asker") for _ in range(100)]
    for task_id in ids:
        await here.done(task_id)
    (event,) = opened_events(here)
    assert (event["user_id"], event["task_id"], event["severity"]) == ("*", None, "error")
    assert (event["breaker_version"], event["cooldown_period"]) == (1, 30)
    assert here.state.breakers["asker"].version == 1


async def test_while_a_breaker_is_open_requests_are_refused_and_the_upstream_is_not_called(
    here: World,
) -> None:
    upstream = declare(here)
    await opened(here, upstream)
    calls = upstream.calls
    await here.passing(10)
    with pytest.raises(Rejected) as rejected:
        await here.submit("asker", user_id="ann")
    assert rejected.value.code == "circuit_breaker_open"
    assert rejected.value.retry_after == pytest.approx(20, abs=0.1)
    (event,) = here.said("request_rejected")
    assert (event["user_id"], event["reason"]) == ("ann", "circuit_breaker_open")
    assert event["error_id"] == opened_events(here)[0]["error_id"]
    assert event["retry_after"] == pytest.approx(20, abs=0.1)
    assert upstream.calls == calls
    assert len(here.said("task_submitted")) == 5


async def test_while_a_breaker_is_open_the_fallback_answers(here: World) -> None:
    async def stand_in(task: Task) -> str:
        return "stand-in"

    upstream = declare(here, fallback=stand_in)
    await opened(here, upstream)
    assert opened_events(here)[0]["fallback_active"]
    calls = upstream.calls
    task = await here.run("asker")
    assert (task.result, task.degraded, task.served_by) == ("stand-in", True, "stand_in")
    assert upstream.calls == calls
    assert task.attempt == 1
    # Nothing failed, so nothing recovered.
    assert here.said("agent_error", "system_recovered", task_id=task.task_id) == []


async def test_three_probes_that_succeed_close_a_breaker(here: World) -> None:
    upstream = declare(here)
    await opened(here, upstream)
    await here.passing(30)
    probes = []
    for closed in (0, 0, 1):
        probe = await here.run("asker")
        assert probe.status == "succeeded"
        probes.append(probe.task_id)
        assert len(here.said("system_recovered", scope="breaker")) == closed
    # Its owner learns which of the tasks it is.
    told = [(e["task_id"], e["attempt"]) for e in here.said("circuit_breaker_test_request")]
    assert told == [(task_id, 1) for task_id in probes]
    (recovered,) = here.said("system_recovered", scope="breaker")
    assert recovered["error_id"] == opened_events(here)[0]["error_id"]
    assert recovered["recovery_time"] >= 30
    assert (await here.run("asker")).status == "succeeded"
    assert len(here.said("circuit_breaker_test_request")) == 3


async def test_one_probe_that_fails_opens_a_breaker_again(here: World) -> None:
    """The same failure goes on, now critical."""
    upstream = declare(here)
    await opened(here, upstream)
    await here.passing(30)
    await here.run("asker")
    upstream.up = False
    await here.run("asker")
    first, second = opened_events(here)
    assert second["error_id"] == first["error_id"]
    assert (second["breaker_version"], second["severity"]) == (2, "critical")
    with pytest.raises(Rejected):
        await here.run("asker")
    upstream.up = True
    await here.passing(30)
    for _ in range(3):
        await here.run("asker")
    assert here.state.breakers["asker"].state == "closed"
    assert here.said("system_recovered", scope="breaker")[0]["attempts_made"] == 2


async def test_of_a_hundred_calls_at_once_exactly_three_pass_half_open(
    open_world: OpenWorld,
) -> None:
    """pybreaker itself would let a hundred of a hundred through."""
    here = await open_world(workers=200)
    upstream = declare(here)
    await opened(here, upstream)
    upstream.takes_s = 1.0
    await here.passing(30)
    calls = upstream.calls

    async def ask() -> str:
        try:
            return await here.submit("asker")
        except Rejected:
            return ""

    answers = await asyncio.gather(*(ask() for _ in range(100)))
    await here.passing(0.5)
    assert upstream.calls - calls == 3
    ids = [answer for answer in answers if answer]
    assert len(ids) == 3
    for task_id in ids:
        assert (await here.done(task_id)).status == "succeeded"
    assert here.state.breakers["asker"].state == "closed"


async def test_of_a_hundred_supervised_blocks_exactly_three_pass_half_open(here: World) -> None:
    upstream = declare(here)
    await opened(here, upstream)
    await here.passing(30)
    inside = 0
    most = 0

    async def ask() -> bool:
        nonlocal inside, most
        try:
            async with here.gateway.attempt("asker"):
                inside += 1
                most = max(most, inside)
                await here.passing(1)
                inside -= 1
        except Rejected:
            return False
        return True

    answers = await asyncio.gather(*(ask() for _ in range(100)))
    assert (sum(answers), most) == (3, 3)


async def test_tasks_that_wait_are_probed_most_urgent_first(open_world: OpenWorld) -> None:
    here = await open_world(workers=1)
    upstream = declare(here)
    upstream.up, upstream.takes_s = False, 1.0
    doomed = [await here.submit("asker", priority=0) for _ in range(5)]
    waiting = [await here.submit("asker", priority=number) for number in (9, 8, 7, 1, 2, 3)]
    for task_id in doomed:
        await here.done(task_id)
    upstream.up = True
    await here.until(lambda: len(here.said("circuit_breaker_test_request")) == 3)
    started = [e["task_id"] for e in here.said("task_started")[5:8]]
    assert started == waiting[3:]
    for task_id in waiting:
        assert (await here.done(task_id)).status == "succeeded"


async def test_a_probe_that_is_cancelled_gives_its_permit_back(open_world: OpenWorld) -> None:
    """A task that waits for a permit is woken, too."""
    here = await open_world(breaker_permits=1, workers=6)
    upstream = declare(here)
    upstream.up, upstream.takes_s = False, 1.0
    doomed = [await here.submit("asker") for _ in range(6)]
    waiting = await here.submit("asker")
    for task_id in doomed:
        await here.done(task_id)
    upstream.up = True
    entered = asyncio.Event()

    async def probe() -> None:
        await here.passing(29.999)
        async with here.gateway.attempt("asker"):
            entered.set()
            await here.passing(50)

    # The block takes the only permit before the task does.
    breaker = here.state.breakers["asker"]
    here.engine.parts.runner.pause()
    probing = asyncio.ensure_future(probe())
    await entered.wait()
    here.engine.parts.runner._paused = False
    await here.passing(5)
    assert here.state.tasks[waiting].status == "pending"
    assert breaker.permits_left(here.engine.clock.wall()) == 0
    probing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await probing
    await here.passing(3)
    assert here.state.tasks[waiting].status == "succeeded"
    assert breaker.state == "closed"


async def test_a_probe_that_is_cancelled_before_it_begins_gives_its_permit_back(
    open_world: OpenWorld,
) -> None:
    here = await open_world(breaker_permits=1, workers=1)
    upstream = declare(here)

    @here.gateway.agent("hog", timeout=100.0)
    async def hog(task: Task) -> None:
        await here.passing(90)

    await opened(here, upstream)
    await here.passing(30)
    hogging = await here.submit("hog")
    probe = await here.submit("asker")
    await here.passing(1)
    with pytest.raises(Rejected):
        await here.submit("asker")
    await here.call("task.cancel", task_id=probe)
    again = await here.submit("asker")
    await here.done(hogging)
    assert (await here.done(again)).status == "succeeded"
    assert here.state.breakers["asker"].state == "closed"


async def test_a_late_outcome_of_an_earlier_opening_is_ignored(open_world: OpenWorld) -> None:
    """What began before the breaker opened says nothing about what is now."""
    here = await open_world(workers=50)
    upstream = declare(here)
    upstream.takes_s = 40.0
    late = [await here.submit("asker") for _ in range(10)]
    await here.passing(1)
    upstream.takes_s = 0.0
    await opened(here, upstream)
    upstream.up = False  # what still runs will fail
    for task_id in late:
        await here.done(task_id)
    assert len(opened_events(here)) == 1
    assert here.state.breakers["asker"].window.counts(here.engine.clock.wall())[1] == 0


async def test_a_task_in_backoff_spends_no_attempt_on_an_open_breaker(here: World) -> None:
    upstream = declare(here, max_attempts=3)
    upstream.up = False
    first = await here.submit("asker")
    await here.until(lambda: here.state.tasks[first].status == "waiting")
    for _ in range(4):
        await here.engine.parts.ends.of(await here.submit("asker", max_attempts=1))
    assert len(opened_events(here)) == 1
    calls = upstream.calls
    upstream.up = True
    await here.passing(25)
    assert upstream.calls == calls
    task = await here.done(first)
    assert (task.status, task.attempt) == ("succeeded", 2)


async def test_a_task_that_waits_longer_than_its_caller_ends_with_circuit_open(
    here: World,
) -> None:
    upstream = declare(here, max_attempts=3)
    upstream.up = False
    first = await here.submit("asker", timeout=20.0)
    await here.until(lambda: here.state.tasks[first].status == "waiting")
    for _ in range(4):
        await here.engine.parts.ends.of(await here.submit("asker", max_attempts=1))
    task = await here.done(first)
    assert (task.status, here.said("task_finished", task_id=first)[0]["reason"]) == (
        "failed",
        "circuit_open",
    )
    assert here.said("agent_error", task_id=first)[-1]["error_type"] == "circuit_open"


@pytest.mark.parametrize("seed", range(20))
async def test_a_probe_that_fails_while_the_next_one_begins_still_opens_a_breaker(
    open_world: OpenWorld, seed: int
) -> None:
    """On a store further away another permit is taken between the failure and the opening."""
    chance = random.Random(seed)
    here = await open_world(wrap=lambda log: SlowLog(log, chance), breaker_permits=10)
    upstream = declare(here)
    await opened(here, upstream)
    await here.until(lambda: here.state.breakers["asker"].state == "open")
    await here.passing(30)
    upstream.up = False

    async def ask() -> None:
        await here.passing(chance.random() / 10)
        with contextlib.suppress(Rejected, Unavailable):
            await here.submit("asker")

    await asyncio.gather(*(ask() for _ in range(12)))
    await here.until(lambda: len(opened_events(here)) == 2, within=5)
    upstream.up = True
    for _ in range(10):
        await here.passing(31)
        with contextlib.suppress(Rejected):
            await here.run("asker")
    assert here.state.breakers["asker"].state == "closed"


async def test_agents_that_share_a_breaker_rest_together(here: World) -> None:
    one = declare(here, "one", breaker="model")
    declare(here, "two", breaker="model")
    three = declare(here, "three")
    one.up = False
    for _ in range(5):
        await here.run("one")
    (event,) = opened_events(here)
    assert (event["breaker"], event["scope"], event["agent_name"]) == ("model", "upstream", "one")
    with pytest.raises(Rejected):
        await here.run("two")
    await here.run("three")
    assert three.calls == 1


async def test_a_breaker_still_opens_when_the_log_has_forgotten_its_last_entry(
    open_world: OpenWorld,
) -> None:
    """A gateway that has run for months: its breakers' subjects were written long ago."""
    here = await open_world(log_events=50)
    upstream = declare(here)
    await opened(here, upstream)
    await here.passing(30)
    for _ in range(150):
        await here.run("asker")
    assert len(here.said("system_recovered", scope="breaker")) == 1
    upstream.up = False
    upstream.raises = RateLimited
    for _ in range(6):
        with contextlib.suppress(Rejected):
            await here.run("asker")
    assert here.state.breakers["asker"].state == "open"


async def test_a_long_task_still_ends_when_the_log_has_forgotten_its_last_entry(
    open_world: OpenWorld,
) -> None:
    here = await open_world(log_events=50)
    declare(here)
    long = await here.submit("nobody")
    for _ in range(150):
        await here.run("asker")
    assert (await here.done(long)).status == "dead_lettered"
