"""After a failed attempt: another one, the fallback, or an end, and each is told."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import Task
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
    """Waiting would only hide the end."""

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
    # A task with a fallback does not wait for the budget.
    assert here.state.tasks[careful_id].degraded
