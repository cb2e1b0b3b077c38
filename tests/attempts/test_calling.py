"""The call of an agent's function, of whatever kind, with whatever input."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from gateway import Task
from gateway.attempts.calling import InputMismatch, call, is_async
from gateway.attempts.threads import Threads
from tests.attempts.steps import Attempt
from tests.execution.world import World


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


async def test_a_generator_that_goes_on_numbers_its_items_after_those_that_are_kept(
    here: World,
) -> None:
    """And one that has not looked starts over: each of its items replaces the earlier one."""

    @here.gateway.agent("looks")
    async def looks(task: Task) -> AsyncIterator[Any]:
        done = len(task.preserved.steps)
        for number in range(done, 4):
            if number == 2 > done:
                raise ConnectionError("half way")
            yield {"n": number}

    @here.gateway.agent("starts-over")
    def starts_over(task: Task) -> Iterator[Any]:
        for number in range(4):
            if number == 2 and task.attempt == 1:
                raise ConnectionError("half way")
            yield {"n": number, "attempt": task.attempt}

    @here.gateway.agent("mixed")
    async def mixed(task: Task) -> AsyncIterator[Any]:
        if not task.preserved.steps:
            yield "first "
            yield {"n": 1}
            raise ConnectionError("half way")
        yield {"n": 2}
        yield "last"

    task = await here.run("looks")
    assert task.result == [{"n": number} for number in range(4)]
    assert task.preserved.steps == {f"item-{number + 1}": {"n": number} for number in range(4)}
    task = await here.run("starts-over")
    assert task.result == [{"n": number, "attempt": 2} for number in range(4)]
    assert list(task.preserved.steps.values()) == task.result
    task = await here.run("mixed")
    assert task.result == ["first ", {"n": 1}, {"n": 2}, "last"]
    assert task.preserved.steps == {"item-2": {"n": 1}, "item-3": {"n": 2}}
    assert task.preserved.text == "first last"


async def test_a_plain_generator_has_each_item_preserved(here: World) -> None:
    @here.gateway.agent("words")
    def words(task: Task) -> Iterator[str]:
        yield "one "
        yield "two"

    task = await here.run("words")
    assert (task.result, task.preserved.text) == ("one two", "one two")


async def test_a_generator_that_ends_early_runs_its_finally_at_once(here: World) -> None:
    """Its `finally` runs at once, not when the garbage collector comes by."""
    let_go: list[str] = []

    @here.gateway.agent("holder")
    async def holder(task: Task) -> AsyncIterator[Any]:
        try:
            yield "x" * 262_144
            yield ["x" * 262_144]
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


# --- without a gateway -----------------------------------------------------------------------


async def call_of(function: Callable[..., Any], input: Any = None) -> Any:
    return await call(function, Attempt(input=input).task, threads=Threads(1))


@pytest.mark.parametrize(
    ("input", "arguments"),
    [
        ({"word": "a"}, ("a", 1)),
        ({"word": "a", "times": 2}, ("a", 2)),
        ("a", ("a", 1)),
        (["a", "b"], (["a", "b"], 1)),
        (0, (0, 1)),
        (False, (False, 1)),
    ],
)
async def test_members_of_an_object_become_keywords_and_anything_else_the_first_argument(
    input: Any, arguments: tuple[Any, ...]
) -> None:
    async def take(task: Task, word: str, times: int = 1) -> Any:
        return word, times

    assert await call_of(take, input) == arguments


@pytest.mark.parametrize(
    ("input", "field", "rule"),
    [
        (None, "word", "required"),
        ({"times": 2}, "word", "required"),
        ({"word": "a", "more": 1}, "input", "unexpected"),
        ({"word": "a", "task": "b"}, "input", "unexpected"),
    ],
)
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_mismatch_names_the_parameter_and_never_what_was_given(
    input: Any, field: str, rule: str, kind: str
) -> None:
    called: list[bool] = []

    async def in_loop(task: Task, word: str, times: int = 1) -> None:
        called.append(True)

    def in_thread(task: Task, word: str, times: int = 1) -> None:
        called.append(True)

    with pytest.raises(InputMismatch) as mismatch:
        await call_of(in_loop if kind == "async" else in_thread, input)
    assert (mismatch.value.field, mismatch.value.rule) == (field, rule)
    assert called == []


async def test_a_type_error_of_the_agents_own_is_no_mismatch() -> None:
    async def stumble(task: Task) -> None:
        raise TypeError("the agent's own")

    with pytest.raises(TypeError, match="the agent's own"):
        await call_of(stumble)


async def test_a_generator_of_text_gives_one_text_and_an_empty_one_gives_the_empty_text() -> None:
    async def words(task: Task, said: list[str]) -> AsyncIterator[str]:
        for word in said:
            yield word

    assert await call_of(words, ["one ", "two"]) == "one two"
    assert await call_of(words, []) == ""


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt])
async def test_an_exit_in_the_loop_becomes_a_runtime_error(raised: type[BaseException]) -> None:
    async def leave(task: Task) -> None:
        raise raised

    with pytest.raises(RuntimeError, match=f"the agent raised {raised.__name__}"):
        await call_of(leave)


def test_only_what_looks_async_runs_in_the_loop() -> None:
    async def coroutine(task: Task) -> None: ...

    async def generator(task: Task) -> AsyncIterator[str]:
        yield ""

    assert is_async(coroutine)
    assert is_async(generator)
    assert not is_async(lambda task: coroutine(task))
    assert not is_async(None)
