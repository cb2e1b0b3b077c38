"""One try at a task: every kind of function, every kind of end."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from gateway import Task
from gateway.domain.errors import AttemptOver, RequestError
from gateway.errors import RateLimited
from tests.execution.conftest import OpenWorld
from tests.execution.world import World

# --- kinds of functions ----------------------------------------------------------------------


async def test_an_async_function_gives_its_result(here: World) -> None:
    @here.gateway.agent("echo")
    async def echo(task: Task, word: str) -> str:
        return word

    task = await here.run("echo", {"word": "yes"})
    assert (task.status, task.result) == ("succeeded", "yes")
    assert here.types() == ["task_submitted", "task_started", "task_finished"]


async def test_a_plain_function_runs_in_a_thread(here: World) -> None:
    @here.gateway.agent("plain")
    def plain(task: Task, word: str) -> str:
        task.append(word)
        return word * 2

    task = await here.run("plain", {"word": "yes"})
    assert (task.status, task.result, task.preserved.text) == ("succeeded", "yesyes", "yes")


async def test_an_async_generator_has_each_item_preserved(here: World) -> None:
    """Text is appended, everything else is a step."""

    @here.gateway.agent("items")
    async def items(task: Task) -> AsyncIterator[Any]:
        yield "one "
        yield {"two": 2}

    task = await here.run("items")
    assert task.result == ["one ", {"two": 2}]
    assert task.preserved.text == "one "
    assert task.preserved.steps == {"item-2": {"two": 2}}


async def test_a_plain_generator_has_each_item_preserved(here: World) -> None:
    @here.gateway.agent("words")
    def words(task: Task) -> Iterator[str]:
        yield "one "
        yield "two"

    task = await here.run("words")
    assert (task.result, task.preserved.text) == ("one two", "one two")


async def test_a_generator_that_ends_early_lets_go_of_what_it_holds(here: World) -> None:
    """Its `finally` runs at once, not when the garbage collector comes by."""
    let_go: list[str] = []

    @here.gateway.agent("holder")
    async def holder(task: Task) -> AsyncIterator[Any]:
        try:
            yield math.nan
        finally:
            let_go.append("yes")

    task = await here.run("holder")
    assert task.status == "failed"
    assert let_go == ["yes"]


async def test_a_function_that_returns_a_coroutine_is_awaited(here: World) -> None:
    """A lambda or a decorated function does not look async, and is."""

    async def answer(task: Task, word: str) -> str:
        return word

    here.gateway.agent("wrapped")(lambda task, word: answer(task, word))
    here.gateway.agent("partial")(functools.partial(answer, word="no"))
    assert (await here.run("wrapped", {"word": "yes"})).result == "yes"
    assert (await here.run("partial")).result == "no"


# --- inputs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("input", "field"),
    [
        ({}, "word"),
        ({"word": "a", "more": 1}, "input"),
        ({"task": "a", "word": "b"}, "input"),
        (["a", "b"], None),
        (None, "word"),
    ],
)
async def test_an_input_that_does_not_fit_is_the_callers_mistake(
    here: World, input: Any, field: str | None
) -> None:
    """It is not the agent's failure: the breaker does not count it, nothing is retried."""

    @here.gateway.agent("echo")
    async def echo(task: Task, word: str) -> Any:
        return word

    task = await here.run("echo", input)
    if field is None:
        assert task.result == input
        return
    (error,) = here.said("agent_error")
    assert (task.status, error["error_type"]) == ("failed", "invalid_input")
    assert here.state.breakers["echo"].consecutive == 0


async def test_an_agent_cannot_change_what_was_asked(here: World) -> None:
    """The next attempt, a retry and the dead letter get the same input, whatever this one did."""
    seen: list[Any] = []

    @here.gateway.agent("taker", max_attempts=2)
    async def taker(task: Task, words: list[str]) -> None:
        seen.append(list(words))
        words.clear()
        raise RateLimited

    task = await here.run("taker", {"words": ["a", "b"]})
    assert seen == [["a", "b"], ["a", "b"]]
    assert task.input == {"words": ["a", "b"]}


# --- limits ----------------------------------------------------------------------------------


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


async def test_what_a_thread_raises_after_its_end_is_ignored(here: World) -> None:
    stop = here.stop()

    @here.gateway.agent("blocked", timeout=5.0, max_attempts=1)
    def blocked(task: Task) -> None:
        stop.here()
        raise SystemExit(3)

    await here.run("blocked")
    stop.go()
    await here.until(lambda: here.engine.parts.attempts.threads.room)
    assert len(here.said("agent_error")) == 1


# --- what agents raise -----------------------------------------------------------------------


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


# --- results ---------------------------------------------------------------------------------


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


# --- what agents say -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "say",
    [
        lambda task: task.preserve("", 1),
        lambda task: task.preserve("x" * 129, 1),
        lambda task: task.preserve("\ud800", 1),
        lambda task: task.preserve(None, 1),
        lambda task: task.preserve("step", {1, 2}),
        lambda task: task.preserve("step", math.nan),
        lambda task: task.preserve("step", "x" * 262_144),
        lambda task: task.append(b"bytes"),
        lambda task: task.append("\ud800"),
        lambda task: task.append(None),
        lambda task: task.progress(1.01),
        lambda task: task.progress(-0.01),
        lambda task: task.progress(math.nan),
        lambda task: task.progress("half"),
        lambda task: task.progress(0.5, ""),
        lambda task: task.progress(0.5, step=3),
        lambda task: task.progress(step="\ud800"),
        lambda task: task.progress(step="x" * 1000),
        lambda task: task.plan("a", ""),
        lambda task: task.plan("a", 3),
        lambda task: task.plan("\ud800"),
        lambda task: task.plan("x" * 1000),
        lambda task: task.plan(*map(str, range(257))),
    ],
)
async def test_what_cannot_be_told_is_refused_where_it_is_said(
    here: World, say: Callable[[Task], None]
) -> None:
    """The agent's author finds it on the first run; nobody's task hangs because of it."""
    refused: list[Exception] = []

    @here.gateway.agent("odd")
    async def odd(task: Task) -> str:
        try:
            say(task)
        except RequestError as error:
            refused.append(error)
        return "done"

    task = await here.run("odd")
    assert task.result == "done"
    assert [type(error).__name__ for error in refused] in (["InvalidParams"], ["TooLarge"])
    assert here.types() == ["task_submitted", "task_started", "task_finished"]


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


async def test_what_was_preserved_stays_as_it_was_then(here: World) -> None:
    """An agent goes on filling the list that it has preserved; that is its own copy."""

    @here.gateway.agent("filler", max_attempts=2)
    async def filler(task: Task) -> Any:
        if task.attempt == 1:
            done: list[Any] = ["first"]
            task.preserve("list", done)
            done.append({1, 2})
            await here.passing(1)
            raise RateLimited
        task.preserved.steps["list"].append("mine")
        await here.passing(1)
        raise RateLimited

    task = await here.run("filler")
    assert task.preserved.steps == {"list": ["first"]}
    assert task.status == "dead_lettered"


async def test_after_its_end_an_attempt_is_told_so(here: World) -> None:
    kept: list[Task] = []

    @here.gateway.agent("keeper")
    async def keeper(task: Task) -> None:
        kept.append(task)

    await here.run("keeper")
    (task,) = kept
    for say in (
        lambda: task.append("x"),
        lambda: task.preserve("x", 1),
        lambda: task.progress(0.1),
        lambda: task.plan("x"),
        lambda: task.temp_dir(),
    ):
        with pytest.raises(AttemptOver):
            say()
