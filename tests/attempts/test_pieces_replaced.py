"""Text that begins anew: an attempt that starts over, and one that throws its own text away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from gateway import Gateway, Task
from gateway.attempts.pieces import Piece, Rest
from gateway.domain.errors import AttemptOver, InvalidParams
from gateway.errors import RateLimited
from tests.attempts.steps import Attempt
from tests.execution.conftest import OpenWorld
from tests.execution.world import World
from tests.worker.crew import call
from tests.worker.test_desk import at_desk


def told(here: World) -> list[tuple[str, bool]]:
    """The texts that a client is told, and whether each replaces what was before."""
    return [(e["text"], e.get("replaces", False)) for e in here.said("partial_result")]


async def test_an_attempt_that_does_not_look_starts_over(here: World) -> None:
    """Nobody reads "Here is the Here is the plan"."""

    @here.gateway.agent("writer")
    async def writer(task: Task) -> AsyncIterator[str]:
        yield "Here is the "
        await here.passing(1)
        if task.attempt == 1:
            raise RateLimited
        yield "plan"

    task = await here.run("writer")
    assert told(here) == [("Here is the ", False), ("Here is the ", True), ("plan", False)]
    assert task.result == task.preserved.text == "Here is the plan"
    partial = await here.call("task.partial", task_id=task.task_id)
    assert partial["preserved_text"] == "Here is the plan"


async def test_an_attempt_that_has_looked_goes_on(here: World) -> None:
    @here.gateway.agent("writer")
    async def writer(task: Task) -> str:
        task.append("plan" if task.preserved.text else "Here is the ")
        await here.passing(1)
        if task.attempt == 1:
            raise RateLimited
        return "done"

    task = await here.run("writer")
    assert told(here) == [("Here is the ", False), ("plan", False)]
    assert task.preserved.text == "Here is the plan"


async def test_the_result_of_a_generator_that_went_on_has_its_beginning(here: World) -> None:
    """What was streamed and kept is half of the answer; the result is the whole."""

    @here.gateway.agent("writer")
    async def writer(task: Task) -> AsyncIterator[str]:
        for word in ("Here ", "is ", "the ", "plan")[len(task.preserved.text.split()) :]:
            yield word
            if word == "is " and task.attempt == 1:
                raise RateLimited

    @here.gateway.agent("threaded")
    def threaded(task: Task) -> Iterator[str]:
        if task.preserved.text:
            yield "plan"
        else:
            yield "Here is the "
            raise RateLimited

    for agent in ("writer", "threaded"):
        task = await here.run(agent)
        assert task.result == task.preserved.text == "Here is the plan"


async def test_the_result_of_a_generator_has_no_text_that_is_void(here: World) -> None:
    """It has looked at what is kept, and then begun anew; or begun anew, and then looked."""

    @here.gateway.agent("first")
    async def first(task: Task) -> AsyncIterator[str]:
        if task.preserved.text:
            task.restart_text()
        yield f"text {task.attempt}"
        if task.attempt == 1:
            raise RateLimited

    @here.gateway.agent("later")
    async def later(task: Task) -> AsyncIterator[str]:
        yield f"text {task.attempt}"
        if not task.preserved.text:
            raise RateLimited

    for agent in ("first", "later"):
        task = await here.run(agent)
        assert task.result == task.preserved.text == "text 2"


async def test_a_fallback_starts_over_too_and_steps_stay(here: World) -> None:
    async def offline(task: Task) -> str:
        task.append("offline")
        return "offline"

    @here.gateway.agent("writer", max_attempts=1, fallback=offline)
    async def writer(task: Task) -> None:
        task.preserve("outline", 1)
        task.append("some")
        raise RateLimited

    task = await here.run("writer")
    assert (task.preserved.steps, task.preserved.text) == ({"outline": 1}, "offline")


async def test_what_is_preserved_of_a_second_failure_is_the_second_text_alone(
    here: World,
) -> None:
    """It fails at once, so that its text is still on its way."""

    @here.gateway.agent("writer", max_attempts=2)
    async def writer(task: Task) -> None:
        task.append(f"text {task.attempt}")
        raise RateLimited

    await here.run("writer")
    kept = [event["preserved_text"] for event in here.said("partial_result_preserved")]
    assert kept == ["text 1", "text 2"]


async def test_text_may_begin_anew_at_any_time(here: World) -> None:
    @here.gateway.agent("writer")
    async def writer(task: Task) -> str:
        task.append("draft")
        await here.passing(1)
        task.restart_text("better")
        await here.passing(1)
        task.append(" still")
        await here.passing(1)
        task.restart_text()
        return "done"

    task = await here.run("writer")
    assert told(here) == [("draft", False), ("better", True), (" still", False), ("", True)]
    assert (task.result, task.preserved.text) == ("done", "")


async def test_room_that_void_text_took_is_free_again(open_world: OpenWorld) -> None:
    """Text that was cut at the bound is void as well, and so is the mark of the cut."""
    here = await open_world(partial_bytes_task=10)

    @here.gateway.agent("writer")
    async def writer(task: Task) -> str:
        task.append("x" * 20)
        await here.passing(1)
        task.restart_text("y" * 10)
        return "done"

    task = await here.run("writer")
    assert (task.preserved.text, task.preserved.truncated) == ("y" * 10, False)
    assert here.state.tasks[task.task_id].preserved.size == 10


async def test_a_worker_starts_over_as_the_gateway_does() -> None:
    worker = Gateway()

    @worker.agent("writer", max_attempts=3)
    async def writer(task: Task) -> str:
        task.append(f"text {task.attempt}")
        if task.attempt < 3:
            raise RateLimited(retry_after=0.01)
        task.restart_text("last ")
        task.append("one")
        return "done"

    async with at_desk(worker) as scene:
        task = await scene.run("writer")
        assert task.preserved.text == "last one"
        kept = [event["preserved_text"] for event in scene.said("partial_result_preserved")]
        assert kept == ["text 1", "text 2"]
        partial = await call(scene.here, "task.partial", task_id=task.task_id)
        assert partial["preserved_text"] == "last one"


# --- without a gateway -----------------------------------------------------------------------


def test_only_the_first_piece_replaces() -> None:
    attempt = Attempt(attempt=2)
    attempt.task.append("a")
    assert attempt.pieces.take() == Piece(text="a", replaces=True)
    attempt.task.append("b")
    assert attempt.pieces.take() == Piece(text="b")


def test_text_that_waits_is_void_when_it_begins_anew() -> None:
    attempt = Attempt(attempt=1)
    attempt.task.append("x" * 2000)
    attempt.task.append("\ud83d")
    attempt.task.restart_text("b")
    assert attempt.pieces.close() == Rest(text="b", replaces=True)
    assert attempt.pieces.close() == Rest()


def test_an_empty_text_does_not_start_over() -> None:
    attempt = Attempt(attempt=2)
    attempt.task.append("")
    assert attempt.pieces.take() is None


def test_what_is_no_text_and_what_comes_too_late_are_refused() -> None:
    attempt = Attempt()
    with pytest.raises(InvalidParams):
        attempt.task.restart_text(b"x")  # type: ignore[arg-type]
    attempt.pieces.close()
    with pytest.raises(AttemptOver):
        attempt.task.restart_text()
