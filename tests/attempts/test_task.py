"""A task as the agent's code sees it: what may be said, what is refused, what ends with it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import pytest

from gateway import Task
from gateway.domain.errors import AttemptOver, InvalidParams, RequestError, TooLarge
from gateway.errors import RateLimited
from tests.attempts.steps import Attempt
from tests.execution.world import World


async def test_what_an_agent_does_to_its_input_changes_nothing_for_the_next_attempt(
    here: World,
) -> None:
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


@pytest.mark.parametrize(
    "say",
    [
        lambda task: task.preserve("", 1),
        lambda task: task.preserve("x" * 129, 1),
        lambda task: task.preserve("\ud800", 1),
        lambda task: task.preserve(None, 1),
        lambda task: task.preserve("step", "x" * 262_144),
        lambda task: task.append(b"bytes"),
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
async def test_what_an_event_cannot_hold_is_refused_where_it_is_said(
    here: World, say: Callable[[Task], None]
) -> None:
    """The agent's author finds it on the first run; no task hangs because of it."""
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


async def test_after_its_end_an_attempt_can_say_nothing_more(here: World) -> None:
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


# --- without a gateway -----------------------------------------------------------------------


def test_a_task_shows_what_it_is_and_not_what_was_asked() -> None:
    task = Attempt(input={"secret": "x"}).task
    assert repr(task) == "<Task 0190-task of echo, attempt 2>"
    assert (task.user_id, task.timeout, task.result) == ("ann", 30.0, None)


@pytest.mark.parametrize("chars", [1, 128])
def test_a_steps_name_has_1_to_128_characters_each_of_any_kind(chars: int) -> None:
    attempt = Attempt()
    attempt.task.preserve("\x01" * chars, 1)
    attempt.task.progress(step="\x01" * chars)
    attempt.task.plan("\x01" * chars)
    assert attempt.pieces.close().steps == {"\x01" * chars: 1}


@pytest.mark.parametrize("chars", [0, 129])
def test_a_steps_name_beyond_its_bounds_is_refused_everywhere(chars: int) -> None:
    task = Attempt().task
    with pytest.raises(InvalidParams):
        task.preserve("x" * chars, 1)
    with pytest.raises(InvalidParams):
        task.progress(step="x" * chars)
    with pytest.raises(InvalidParams):
        task.plan("x" * chars)


def test_a_step_may_be_as_large_as_a_task_preserves() -> None:
    attempt = Attempt()
    # Two quotes belong to it.
    attempt.task.preserve("fits", "x" * 998)
    with pytest.raises(TooLarge):
        attempt.task.preserve("one more", "x" * 999)
    assert list(attempt.pieces.close().steps) == ["fits"]


@pytest.mark.parametrize("progress", [0, 0.0, 0.5, 1, 1.0, True])
def test_progress_is_from_0_to_1(progress: float) -> None:
    attempt = Attempt()
    attempt.task.progress(progress)
    assert attempt.pieces.close().progress == float(progress)


def test_a_plan_has_up_to_256_steps_of_8_kib_together() -> None:
    attempt = Attempt()
    attempt.task.plan(*map(str, range(256)))
    with pytest.raises(InvalidParams):
        attempt.task.plan(*map(str, range(257)))
    with pytest.raises(TooLarge):
        attempt.task.plan(*("x" * 100 for _ in range(80)))
    assert attempt.pieces.close().plan == tuple(map(str, range(256)))


def test_everything_that_is_said_wakes_the_teller() -> None:
    attempt = Attempt()
    attempt.task.append("x")
    attempt.task.preserve("a", 1)
    attempt.task.progress(0.5)
    attempt.task.plan("a")
    assert attempt.woken == 4


def test_a_folder_and_processes_are_written_down_for_the_cleanup() -> None:
    attempt = Attempt()
    folder = attempt.task.temp_dir()
    process = attempt.task.start_process("sleep", "1000")
    try:
        assert folder.is_dir()
        assert attempt.task.temp_dir() == folder
        assert attempt.resources.folder == folder
        assert attempt.resources.processes == [process]
        # It leads a group, by which what it starts is found.
        assert os.getpgid(process.pid) == process.pid
    finally:
        process.kill()
        process.wait()
        folder.rmdir()


def test_a_program_that_does_not_exist_is_the_agents_error_and_leaves_nothing_to_clean_up() -> None:
    attempt = Attempt()
    with pytest.raises(FileNotFoundError):
        attempt.task.start_process("no-such-program-anywhere")
    assert attempt.resources.processes == []


def test_after_its_end_an_attempt_starts_no_process() -> None:
    attempt = Attempt()
    attempt.pieces.close()
    with pytest.raises(AttemptOver):
        attempt.task.start_process("true")
