"""After a failed attempt: another one, the fallback, or an end, and each is told."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import Task
from gateway.domain.errors import Conflict
from gateway.errors import (
    AuthFailed,
    ContentRefused,
    InvalidInput,
    InvalidResponse,
    NotRetryable,
    RateLimited,
    ResourceExhausted,
    ServiceUnavailable,
)
from tests.execution.conftest import OpenWorld
from tests.execution.world import World


async def stand_in(task: Task, *args: Any, **kwargs: Any) -> str:
    """A fallback."""
    return "stand-in"


async def test_a_retry_waits_longer_each_time(here: World) -> None:
    @here.gateway.agent("flaky", max_attempts=4)
    async def flaky(task: Task) -> str:
        if task.attempt < 4:
            raise RateLimited
        return "done"

    task = await here.run("flaky")
    assert (task.status, task.attempt, task.error_id) == ("succeeded", 4, None)
    recoveries = here.said("recovery_attempt")
    assert [r["attempt_number"] for r in recoveries] == [1, 2, 3]
    assert [r["attempt"] for r in recoveries] == [2, 3, 4]
    delays = [r["backoff_delay"] for r in recoveries]
    assert delays == sorted(delays)
    assert 0.5 <= delays[0] < 1 <= delays[1] < 2 <= delays[2] < 4
    (error_id,) = {e["error_id"] for e in here.said("agent_error", "system_recovered")}
    assert here.said("task_finished")[0]["error_id"] == error_id
    assert here.said("system_recovered")[0]["attempts_made"] == 4


async def test_retry_after_is_honoured(here: World) -> None:
    times: list[float] = []

    @here.gateway.agent("limited", max_attempts=2)
    async def limited(task: Task) -> str:
        times.append(here.engine.clock.monotonic())
        if task.attempt == 1:
            raise RateLimited(retry_after=100.0)
        return "done"

    await here.run("limited")
    assert times[1] - times[0] >= 100
    (error,) = here.said("agent_error")
    assert (error["estimated_recovery_time"], error["recovery_estimate_source"]) == (
        100.0,
        "upstream_retry_after",
    )


async def test_a_retry_after_beyond_the_callers_deadline_ends_it_at_once(here: World) -> None:
    """To wait would only hide the end."""

    @here.gateway.agent("limited", max_attempts=2)
    async def limited(task: Task) -> None:
        raise RateLimited(retry_after=100.0)

    task = await here.run("limited", timeout=99.0)
    finished = here.said("task_finished")[0]
    assert (task.status, finished["reason"]) == ("failed", "retry_after_deadline")
    assert finished["duration"] < 1


async def test_attempts_exhausted_are_a_dead_letter_with_every_error(here: World) -> None:
    @here.gateway.agent("flaky", max_attempts=3)
    async def flaky(task: Task, word: str) -> None:
        raise ServiceUnavailable if task.attempt < 3 else InvalidResponse

    task = await here.run("flaky", {"word": "a"})
    (letter,) = here.said("task_dead_lettered")
    assert (letter["reason"], letter["attempts"], letter["severity"]) == (
        "attempts_exhausted",
        3,
        "critical",
    )
    assert [error["attempt"] for error in letter["errors"]] == [1, 2, 3]
    assert [error["error_type"] for error in letter["errors"]] == [
        "service_unavailable",
        "service_unavailable",
        "validation_error",
    ]
    assert (task.status, task.input) == ("dead_lettered", {"word": "a"})
    assert here.types(task.task_id)[-1] == "task_finished"


@pytest.mark.parametrize(
    "raised", [NotRetryable, InvalidInput, ContentRefused, AuthFailed, ResourceExhausted]
)
async def test_what_cannot_get_well_is_not_tried_again(
    here: World, raised: type[Exception]
) -> None:
    @here.gateway.agent("bad", max_attempts=3)
    async def bad(task: Task) -> None:
        raise raised

    task = await here.run("bad")
    assert (task.status, task.attempt) == ("failed", 1)
    assert here.said("recovery_attempt", "task_dead_lettered") == []
    assert not here.said("agent_error")[0]["will_retry"]


# --- the fallback ----------------------------------------------------------------------------


async def test_the_fallback_answers_when_attempts_are_exhausted(here: World) -> None:
    @here.gateway.agent("flaky", max_attempts=2, fallback=stand_in)
    async def flaky(task: Task) -> None:
        raise RateLimited

    task = await here.run("flaky")
    finished = here.said("task_finished")[0]
    assert (task.result, finished["degraded"], finished["served_by"]) == (
        "stand-in",
        True,
        "stand_in",
    )
    assert [r["strategy"] for r in here.said("recovery_attempt")] == [
        "exponential_backoff",
        "fallback",
    ]
    assert here.said("system_recovered")[0]["scope"] == "task"


@pytest.mark.parametrize("raised", [ValueError, NotRetryable])
async def test_a_mistake_of_the_agent_goes_to_the_fallback_at_once(
    here: World, raised: type[Exception]
) -> None:
    @here.gateway.agent("bad", max_attempts=3, fallback=stand_in)
    async def bad(task: Task) -> None:
        raise raised

    task = await here.run("bad")
    assert (task.status, task.attempt, task.degraded) == ("succeeded", 2, True)


async def test_a_mistake_of_the_caller_does_not_go_to_the_fallback(here: World) -> None:
    @here.gateway.agent("bad", fallback=stand_in)
    async def bad(task: Task) -> None:
        raise ContentRefused

    assert (await here.run("bad")).status == "failed"


@pytest.mark.parametrize(
    ("raised", "status"), [(RateLimited, "dead_lettered"), (ValueError, "failed")]
)
async def test_a_fallback_that_fails_ends_the_task(
    here: World, raised: type[Exception], status: str
) -> None:
    async def bad_stand_in(task: Task) -> None:
        raise KeyError("no")

    @here.gateway.agent("bad", max_attempts=1, fallback=bad_stand_in)
    async def bad(task: Task) -> None:
        raise raised

    task = await here.run("bad")
    assert (task.status, here.said("task_finished")[0]["reason"]) == (status, "fallback_failed")


@pytest.mark.parametrize("name", ["<lambda>", "ein-Ersatz-ö", "x" * 200, ""])
async def test_a_fallback_may_have_any_name(here: World, name: str) -> None:
    """A lambda's name is no name that events may carry; the agent is served all the same."""

    async def nameless(task: Task) -> str:
        return "stand-in"

    nameless.__name__ = name

    @here.gateway.agent("bad", max_attempts=1, fallback=nameless)
    async def bad(task: Task) -> None:
        raise RateLimited

    assert (await here.run("bad")).result == "stand-in"


# --- the retry budget ------------------------------------------------------------------------


async def test_a_storm_of_failures_does_not_become_a_storm_of_retries(
    open_world: OpenWorld,
) -> None:
    """All at once is when it matters: of a hundred that fail together ten are tried again."""
    here = await open_world(breaker_threshold=10_000, breaker_rate=1.0, workers=200)

    @here.gateway.agent("down", max_attempts=2, upstream="model")
    async def down(task: Task) -> None:
        await here.passing(1)
        raise ValueError if task.attempt > 1 else ServiceUnavailable

    ids = [await here.submit("down") for _ in range(9)]
    for task_id in ids:
        await here.done(task_id)
    assert len(here.said("recovery_attempt")) == 9
    assert here.said("task_dead_lettered", reason="retry_budget") == []


async def test_an_empty_budget_is_told_as_the_reason(open_world: OpenWorld) -> None:
    here = await open_world(breaker_threshold=10_000, workers=200)

    @here.gateway.agent("down", max_attempts=2, breaker="a", upstream="model")
    async def down(task: Task, number: int) -> None:
        await here.passing(1)
        if number < 19:
            raise ServiceUnavailable

    @here.gateway.agent("careful", max_attempts=2, breaker="b", upstream="model", fallback=stand_in)
    async def careful(task: Task) -> None:
        await here.passing(2)
        raise ServiceUnavailable

    ids = [await here.submit("down", {"number": number}) for number in range(38)]
    careful_id = await here.submit("careful")
    for task_id in [*ids, careful_id]:
        await here.done(task_id)
    first = [
        event
        for event in here.said("recovery_attempt")
        if event["strategy"] == "exponential_backoff"
    ]
    assert len(first) == 10
    assert len(here.said("task_dead_lettered", reason="retry_budget")) == 9
    # Whoever has a fallback does not wait for the budget.
    assert here.state.tasks[careful_id].degraded


# --- time ------------------------------------------------------------------------------------


async def test_nobody_takes_it(here: World) -> None:
    """With the default limits, where the deadline is just as long, the better reason is told."""
    created = await here.call("task.create", agent="nobody", user_id="ann")
    assert created["warning"] == "no_worker"
    task = await here.done(created["task_id"])
    assert task.status == "dead_lettered"
    (finished,) = here.said("task_finished")
    assert (finished["reason"], finished["duration"]) == ("no_worker", 300)
    assert here.said("agent_error")[0]["error_code"] == "no_worker"


async def test_nobody_can_do_it(here: World) -> None:
    created = await here.call("task.create", capability="flying")
    assert created["warning"] == "no_worker"
    assert (await here.done(created["task_id"])).status == "dead_lettered"


async def test_somebody_can_do_it(here: World) -> None:
    @here.gateway.agent("bird", capabilities=["flying"])
    async def bird(task: Task) -> str:
        return "up"

    created = await here.call("task.create", capability="flying")
    assert "warning" not in created
    assert (await here.done(created["task_id"])).result == "up"


@pytest.mark.parametrize("state", ["pending", "running", "waiting"])
async def test_the_callers_deadline_ends_a_task_in_any_state(
    open_world: OpenWorld, state: str
) -> None:
    """It is nobody's failure: no breaker counts it."""
    here = await open_world(workers=1)

    @here.gateway.agent("hog", timeout=100.0)
    async def hog(task: Task) -> None:
        await here.passing(20)

    @here.gateway.agent("slow", timeout=100.0, max_attempts=2)
    async def slow(task: Task) -> None:
        if state == "waiting":
            raise RateLimited(retry_after=4.0)
        await here.passing(90)

    name = "nobody" if state == "pending" else "slow"
    task_id = await here.submit(name, timeout=10.0)
    await here.passing(2)
    if state == "waiting":
        # Its second attempt finds no room.
        await here.submit("hog")
    await here.passing(4)
    assert here.state.tasks[task_id].status == state
    task = await here.done(task_id)
    assert (task.status, here.said("task_finished")[0]["reason"]) == ("failed", "caller_deadline")
    assert here.said("agent_error")[-1]["error_code"] == "caller_deadline"
    if name in here.state.breakers:
        assert here.state.breakers[name].window.counts(here.engine.clock.wall())[1] == (
            state == "waiting"
        )


# --- asked for by people ---------------------------------------------------------------------


async def test_a_retry_can_be_asked_for_during_the_backoff(here: World) -> None:
    @here.gateway.agent("limited", max_attempts=2)
    async def limited(task: Task) -> str:
        if task.attempt == 1:
            raise RateLimited(retry_after=100.0)
        return "done"

    task_id = await here.submit("limited", user_id="ann")
    await here.passing(10)
    answer = await here.call("task.retry", task_id=task_id)
    assert answer["task_id"] == task_id
    task = await here.done(task_id)
    assert task.result == "done"
    assert task.finished_at is not None
    assert task.finished_at - task.created_at < 20


async def test_a_retry_after_the_end_is_a_new_task(here: World) -> None:
    @here.gateway.agent("bad", max_attempts=1)
    async def bad(task: Task, word: str) -> None:
        raise NotRetryable

    first = await here.run("bad", {"word": "a"}, user_id="ann", priority=3)
    answer = await here.call("task.retry", task_id=first.task_id)
    assert answer["retry_of"] == first.task_id
    second = await here.done(answer["task_id"])
    assert (second.input, second.user_id, second.priority) == ({"word": "a"}, "ann", 3)
    finished = here.said("task_finished", task_id=first.task_id)[0]
    submitted = here.said("task_submitted", task_id=second.task_id)[0]
    assert submitted["causation_id"] == finished["event_id"]
    assert submitted["retry_of"] == first.task_id


async def test_there_is_nothing_to_retry_of_what_runs_or_succeeded(here: World) -> None:
    @here.gateway.agent("fine")
    async def fine(task: Task) -> None:
        await here.passing(10)

    task_id = await here.submit("fine")
    with pytest.raises(Conflict):
        await here.call("task.retry", task_id=task_id)
    await here.passing(1)
    with pytest.raises(Conflict):
        await here.call("task.retry", task_id=task_id)
    await here.done(task_id)
    with pytest.raises(Conflict):
        await here.call("task.retry", task_id=task_id)


async def test_a_declared_number_of_attempts_is_the_settings_unless_said(
    open_world: OpenWorld,
) -> None:
    here = await open_world(max_attempts=2)

    @here.gateway.agent("flaky")
    async def flaky(task: Task) -> None:
        raise RateLimited

    assert (await here.run("flaky")).attempt == 2
    assert (await here.run("flaky", max_attempts=1)).attempt == 1
