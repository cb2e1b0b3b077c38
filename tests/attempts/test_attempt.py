"""One attempt at a task: its limit, what its code raises and gives, what it tells meanwhile."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway import Task
from gateway.domain.errors import AttemptOver
from tests.execution.conftest import OpenWorld
from tests.execution.world import World


async def test_an_agent_that_takes_too_long_is_stopped(here: World) -> None:
    stopped: list[bool] = []

    @here.gateway.agent("slow", timeout=5.0, max_attempts=1)
    async def slow(task: Task) -> None:
        try:
            await here.passing(100)
        finally:
            stopped.append(True)

    task = await here.run("slow")
    (error,) = here.said("agent_error")
    assert (error["error_code"], error["cause"]) == ("task_timeout", "timeout")
    assert (task.status, stopped) == ("dead_lettered", [True])


async def test_an_agent_of_a_language_model_has_llm_timeouts(here: World) -> None:
    @here.gateway.agent("slow", timeout=5.0, max_attempts=1, upstream="model")
    async def slow(task: Task) -> None:
        await here.passing(100)

    await here.run("slow")
    assert here.said("agent_error")[0]["error_code"] == "llm_timeout"


async def test_an_agent_that_swallows_its_cancellation_is_named_and_left_alone(
    here: World,
) -> None:
    """The task goes on without it, and what it says later reaches nobody."""
    refused: list[AttemptOver] = []
    go = asyncio.Event()

    @here.gateway.agent("stubborn", timeout=5.0, max_attempts=1)
    async def stubborn(task: Task) -> str:
        task.append("early")
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                try:
                    task.append("late")
                except AttemptOver as error:
                    refused.append(error)
        return "too late"

    task = await here.run("stubborn")
    assert (task.status, task.result) == ("dead_lettered", None)
    (cleanup,) = here.said("resource_cleanup")
    assert cleanup["leftovers"] == ["coroutine: stubborn"]
    assert len(refused) == 1
    assert task.preserved.text == "early"
    go.set()
    await here.passing(1)


async def test_a_thread_that_runs_on_is_named_and_keeps_its_slot(open_world: OpenWorld) -> None:
    """Code in a thread cannot be stopped; what it holds is told, never asserted to be free."""
    here = await open_world(threads=1)
    stop = here.stop()
    refused: list[AttemptOver] = []

    @here.gateway.agent("blocked", timeout=5.0, max_attempts=1)
    def blocked(task: Task) -> None:
        stop.here()
        try:
            task.preserve("late", 1)
        except AttemptOver as error:
            refused.append(error)

    @here.gateway.agent("next")
    def following(task: Task) -> str:
        return "done"

    task = await here.run("blocked")
    assert task.status == "dead_lettered"
    (cleanup,) = here.said("resource_cleanup")
    assert cleanup["leftovers"] == ["thread: blocked"]
    assert not here.engine.parts.attempts.threads.room

    waiting = await here.submit("next")
    await here.passing(10)
    assert here.state.tasks[waiting].status == "pending"
    stop.go()
    assert (await here.done(waiting)).result == "done"
    assert len(refused) == 1
    assert task.preserved.steps == {}


async def test_what_a_thread_raises_after_its_attempt_is_ignored(here: World) -> None:
    stop = here.stop()

    @here.gateway.agent("blocked", timeout=5.0, max_attempts=1)
    def blocked(task: Task) -> None:
        stop.here()
        raise SystemExit(3)

    await here.run("blocked")
    stop.go()
    await here.until(lambda: here.engine.parts.attempts.threads.room)
    assert len(here.said("agent_error")) == 1


class Strange(BaseException):
    """Neither an error nor an exit."""


@pytest.mark.parametrize(
    ("raised", "code", "status"),
    [
        (SystemExit, "agent_exception", "failed"),
        (KeyboardInterrupt, "agent_exception", "failed"),
        (MemoryError, "memory_limit_exceeded", "failed"),
        (ValueError, "agent_exception", "failed"),
        (StopIteration, "agent_exception", "failed"),
        (StopAsyncIteration, "agent_exception", "failed"),
        (asyncio.CancelledError, "cancelled", "cancelled"),
        (GeneratorExit, "cancelled", "cancelled"),
        (Strange, "control_flow", "cancelled"),
    ],
)
@pytest.mark.parametrize("kind", ["async", "thread", "generator"])
async def test_whatever_an_agent_raises_ends_its_task_alone(
    here: World, raised: type[BaseException], code: str, status: str, kind: str
) -> None:
    """An agent that exits does not take the gateway with it."""

    async def in_coroutine(task: Task) -> None:
        raise raised

    def in_thread(task: Task) -> None:
        raise raised

    async def in_generator(task: Task) -> AsyncIterator[str]:
        yield "a"
        raise raised

    @here.gateway.agent("fine")
    async def fine(task: Task) -> str:
        return "fine"

    functions: dict[str, Callable[..., Any]] = {
        "async": in_coroutine,
        "thread": in_thread,
        "generator": in_generator,
    }
    here.gateway.agent("bad")(functions[kind])
    task = await here.run("bad")
    if kind == "thread" and not issubclass(raised, Exception):
        # In a thread nothing is control flow: whatever is raised there is the agent's failure.
        code, status = "agent_exception", "failed"
    if kind == "generator" and issubclass(raised, StopIteration | StopAsyncIteration):
        code, status = "agent_exception", "failed"
    assert (task.status, here.said("agent_error")[0]["error_code"]) == (status, code)
    assert (await here.run("fine")).result == "fine"


async def test_neither_the_text_nor_the_type_of_an_exception_reaches_users(here: World) -> None:
    @here.gateway.agent("bad")
    async def bad(task: Task) -> None:
        raise ValueError("the secret of /srv/place")

    await here.run("bad")
    public = b"".join(entry.public for entry in here.entries)
    assert b"secret" not in public
    assert b"ValueError" not in public
    assert here.said("agent_error")[0]["detail"]["exception"] == "builtins.ValueError"


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    return [nested(depth - 1)] if depth else 0


@pytest.mark.parametrize(
    "result",
    [
        "x" * (256 * 1024),
        {1, 2},
        math.nan,
        [math.inf],
        b"bytes",
        2**64,
        "\ud800",
        {1: 2},
        nested(200),
        object(),
    ],
    ids=["large", "set", "nan", "inf", "bytes", "int", "surrogate", "keys", "deep", "object"],
)
async def test_a_result_that_cannot_be_kept_fails_the_task(here: World, result: Any) -> None:
    """Never altered, never silently dropped: the operator reads which rule it broke."""

    @here.gateway.agent("odd")
    async def odd(task: Task) -> Any:
        task.preserve("before", 1)
        return result

    task = await here.run("odd")
    (error,) = here.said("agent_error")
    assert (task.status, error["error_code"]) == ("failed", "unencodable_result")
    assert "result" in error["detail"]["text"]
    assert here.said("partial_result_preserved")[0]["preserved_data"] == {"before": 1}


async def test_a_result_of_just_the_bound_is_kept(here: World) -> None:
    largest = "x" * (256 * 1024 - 2)

    @here.gateway.agent("large")
    async def large(task: Task) -> str:
        return largest

    assert (await here.run("large")).result == largest


async def test_progress_and_steps_reach_the_user(here: World) -> None:
    @here.gateway.agent("worker")
    async def worker(task: Task) -> str:
        task.plan("a", "b")
        task.progress(0.5, step="a")
        task.preserve("a", [1])
        await here.passing(1)
        assert here.said("task_progress")[0]["progress"] == 0.5
        assert here.said("partial_result")[0]["data"] == [1]
        return "done"

    task = await here.run("worker")
    assert (task.status, task.progress, task.plan) == ("succeeded", 1.0, ("a", "b"))


async def test_text_is_told_at_most_ten_times_a_second(here: World) -> None:
    @here.gateway.agent("streamer", timeout=100.0)
    async def stream(task: Task) -> str:
        for _ in range(1000):
            task.append("x")
            await here.passing(0.01)
        return "done"

    task = await here.run("streamer")
    assert task.preserved.text == "x" * 1000
    pieces = here.said("partial_result")
    assert [piece["piece"] for piece in pieces] == list(range(1, len(pieces) + 1))
    assert len(pieces) <= 10 * 10 + 2
