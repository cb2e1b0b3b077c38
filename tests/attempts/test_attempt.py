"""One attempt at a task: its limit, what its code raises and gives, what it tells meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import anyio
import pytest

from gateway import Task
from gateway.attempts.agents import Agents, Declared
from gateway.attempts.attempt import Attempts
from gateway.domain.agent import AgentPolicy
from gateway.domain.errors import AttemptOver, StaleTerm, TooLarge
from gateway.domain.settings import Settings
from tests.attempts.steps import Script, assignment
from tests.execution.conftest import OpenWorld
from tests.execution.world import VirtualClock, World


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
    """The task goes on without it, and what it says later is refused."""
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
        # Nobody had asked for it, so it is a failure, and the agent has one attempt here.
        (asyncio.CancelledError, "cancelled_itself", "dead_lettered"),
        (GeneratorExit, "cancelled_itself", "dead_lettered"),
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
    if kind == "thread" and not issubclass(raised, Exception | asyncio.CancelledError):
        # In a thread nothing is control flow: whatever is raised there is the agent's failure.
        code, status = "agent_exception", "failed"
    if kind == "generator" and issubclass(raised, StopIteration | StopAsyncIteration):
        code, status = "agent_exception", "failed"
    assert (task.status, here.said("agent_error")[0]["error_code"]) == (status, code)
    assert (await here.run("fine")).result == "fine"


@pytest.mark.parametrize("scope", ["task", "asyncio", "anyio"])
async def test_a_cancellation_that_nobody_asked_for_is_tried_again_and_counted(
    here: World, scope: str
) -> None:
    """An MCP client that lost its server raises it; the fallback was never asked."""

    async def offline(task: Task) -> str:
        return "offline"

    async def broken() -> None:
        lost = asyncio.ensure_future(here.passing(100))
        lost.cancel()
        await lost

    @here.gateway.agent("lost", max_attempts=3, fallback=offline)
    async def lost(task: Task) -> None:
        if scope == "asyncio":
            async with asyncio.timeout(50):
                await broken()
        elif scope == "anyio":
            with anyio.fail_after(50):
                await broken()
        else:
            await broken()

    task = await here.run("lost")
    told = [(e["error_type"], e["error_code"], e["cause"]) for e in here.said("agent_error")]
    assert told == [("processing_error", "cancelled_itself", "exception")] * 3
    assert (task.status, task.result, task.degraded) == ("succeeded", "offline", True)
    assert here.state.breakers["lost"].consecutive == 3


@pytest.mark.parametrize("scope", ["asyncio", "anyio"])
async def test_a_limit_of_the_agents_own_is_a_timeout_and_no_cancellation(
    here: World, scope: str
) -> None:
    @here.gateway.agent("hasty", max_attempts=1)
    async def hasty(task: Task) -> None:
        if scope == "asyncio":
            async with asyncio.timeout(2):
                await here.passing(5)
        with anyio.fail_after(2):
            await here.passing(5)

    await here.run("hasty")
    assert here.said("agent_error")[0]["error_type"] == "timeout"


@pytest.mark.parametrize("scope", ["asyncio", "anyio", "closed"])
async def test_a_caller_that_ends_a_block_has_asked_for_it(here: World, scope: str) -> None:
    async def block() -> AsyncIterator[int]:
        async with here.gateway.attempt("endpoint"):
            yield 1
            await here.passing(100)

    if scope == "closed":
        going = block()
        await anext(going)
        await cast(Any, going).aclose()
    elif scope == "anyio":
        with anyio.move_on_after(2):
            async for _ in block():
                pass
    else:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                async for _ in block():
                    pass
    await here.passing(1)
    assert here.said("task_finished")[0]["outcome"] == "cancelled"


async def test_neither_the_text_nor_the_type_of_an_exception_reaches_users(here: World) -> None:
    @here.gateway.agent("bad")
    async def bad(task: Task) -> None:
        raise ValueError("the secret of /srv/place")

    await here.run("bad")
    public = b"".join(entry.public for entry in here.entries)
    assert b"secret" not in public
    assert b"ValueError" not in public
    assert here.said("agent_error")[0]["detail"]["exception"] == "builtins.ValueError"


@pytest.mark.parametrize(
    "result",
    ["x" * (256 * 1024), {"\ud800" * (256 * 1024)}, range(10**12), bytes(256 * 1024)],
    ids=["text", "set", "range", "bytes"],
)
async def test_a_result_that_is_too_large_fails_the_task(here: World, result: Any) -> None:
    """Never cut, never silently dropped: the operator reads which rule it broke."""

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


# --- code that the caller runs ---------------------------------------------------------------


async def test_a_block_is_an_attempt_like_any_other(here: World) -> None:
    closed: list[int] = []
    here.gateway.agent("endpoint", cleanup=[lambda task: closed.append(task.attempt)])(
        lambda task: None
    )
    async with here.gateway.attempt("endpoint", user_id="ann") as task:
        task.append("so far")
        task.result = "done"
    known = here.state.tasks[task.task_id]
    assert (known.status, known.result, known.preserved.text) == ("succeeded", "done", "so far")
    assert closed == [1]


@pytest.mark.parametrize(
    ("raised", "code", "cause"),
    [
        (ValueError, "agent_exception", "exception"),
        (asyncio.CancelledError, "cancelled_itself", "exception"),
        # Its own, and not that of the limit.
        (TimeoutError, "task_timeout", "exception"),
    ],
)
async def test_what_a_block_raises_is_told_and_raised_on(
    here: World, raised: type[BaseException], code: str, cause: str
) -> None:
    with pytest.raises(raised):
        async with here.gateway.attempt("endpoint", user_id="ann"):
            raise raised
    (error,) = here.said("agent_error")
    assert (error["error_code"], error["cause"]) == (code, cause)


async def test_a_block_over_its_limit_is_a_timeout(here: World) -> None:
    with pytest.raises(TimeoutError):
        async with here.gateway.attempt("endpoint", user_id="ann", timeout=5.0):
            await here.passing(100)
    (error,) = here.said("agent_error")
    assert (error["error_code"], error["cause"]) == ("task_timeout", "timeout")


# --- without a gateway -----------------------------------------------------------------------


def attempts(listener: Script, *, threads: int = 1) -> Attempts:
    return Attempts(
        Agents(), listener, VirtualClock(), Settings(threads=threads), freed=lambda: None
    )


def declared(function: Callable[..., Any], **options: Any) -> Declared:
    return Declared(AgentPolicy("echo"), function, **options)


async def test_an_attempt_that_has_lost_its_task_tells_no_more_pieces() -> None:
    listener = Script(StaleTerm("term 3 is over"), StaleTerm("term 3 is over"))

    async def stream(task: Task) -> None:
        for _ in range(3):
            task.append("x")
            await VirtualClock().sleep(1.0)

    await attempts(listener).make(assignment(), declared(stream), fallback=False)
    # What waits is told once more with the end, which ends there.
    assert [name for name, _ in listener.told] == ["tell", "tell"]


async def test_a_piece_that_is_refused_keeps_no_other_from_being_told() -> None:
    listener = Script(TooLarge("no room"))

    async def stream(task: Task) -> None:
        for word in ("one", "two"):
            task.append(word)
            await VirtualClock().sleep(1.0)

    await attempts(listener).make(assignment(), declared(stream), fallback=False)
    assert listener.told == [("tell", "one"), ("tell", "two"), ("succeed", (None, {}))]


async def test_a_task_that_has_ended_stops_its_code_and_has_no_end_of_its_own() -> None:
    listener = Script()
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def wait(task: Task) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    making = attempts(listener)
    making.ended("another task")
    running = asyncio.ensure_future(making.make(assignment(), declared(wait), fallback=False))
    await begun.wait()
    making.ended(assignment().task_id)
    making.ended(assignment().task_id)
    await running
    assert stopped.is_set()
    assert listener.told == []


async def test_cancelling_an_attempt_cancels_its_code_and_tells_nothing() -> None:
    listener = Script()
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def wait(task: Task) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    running = asyncio.ensure_future(
        attempts(listener).make(assignment(), declared(wait), fallback=False)
    )
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await stopped.wait()
    assert listener.told == []


async def test_a_fallback_is_called_in_place_of_the_agent() -> None:
    listener = Script()
    agent = declared(lambda task: "agent", fallback=lambda task: "fallback")
    await attempts(listener).make(assignment(), agent, fallback=True)
    assert listener.told == [("succeed", ("fallback", {}))]


async def test_only_a_plain_function_needs_room_for_a_thread() -> None:
    async def in_loop(task: Task) -> None: ...

    making = attempts(Script())
    go = threading.Event()
    running = making.threads.run(lambda: go.wait(10), name="x")
    assert making.has_room(declared(in_loop), fallback=False)
    assert not making.has_room(declared(lambda task: None), fallback=False)
    assert not making.has_room(declared(in_loop, fallback=lambda task: None), fallback=True)
    go.set()
    await running
    assert making.has_room(declared(lambda task: None), fallback=False)
