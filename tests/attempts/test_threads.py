"""Threads for plain functions: slots, names, and what a future cannot carry."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from gateway.attempts.threads import Threads

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("NAME", default="none")


class Strange(BaseException):
    """Neither an error nor an exit."""


async def test_a_function_runs_in_a_thread_of_its_own_under_its_name() -> None:
    name = await Threads(1).run(lambda: threading.current_thread().name, name="task t")
    assert name == "task t"


async def test_a_function_sees_the_context_variables_of_its_caller() -> None:
    NAME.set("ann")
    assert await Threads(1).run(NAME.get, name="x") == "ann"


async def test_there_is_room_until_as_many_run_as_may() -> None:
    threads = Threads(2)
    go = threading.Event()
    running = []
    rooms = []
    for number in range(3):
        rooms.append(threads.room)
        running.append(threads.run(lambda: go.wait(10), name=f"thread {number}"))
    # The third was started without looking, as hooks are, and keeps the room away for longer.
    assert rooms == [True, True, False]
    assert threads.runs("thread 2")
    assert not threads.runs("thread 3")
    go.set()
    await asyncio.gather(*running)
    assert threads.room
    assert not threads.runs("thread 2")


async def test_an_ended_function_frees_its_slot_before_its_end_is_told() -> None:
    rooms: list[bool] = []
    threads = Threads(1, lambda: rooms.append(threads.room))
    await threads.run(lambda: None, name="x")
    assert rooms == [True]


async def test_a_function_whose_caller_went_away_keeps_its_slot_until_it_returns() -> None:
    freed = asyncio.Event()
    go = threading.Event()
    threads = Threads(1, freed.set)
    running = threads.run(lambda: go.wait(10), name="x")
    running.cancel()
    before = threads.room
    go.set()
    await freed.wait()
    assert (before, threads.room) == (False, True)
    assert running.cancelled()


@pytest.mark.parametrize("raised", [ValueError, StopAsyncIteration, asyncio.TimeoutError])
async def test_an_exception_is_raised_where_the_result_is_waited_for(
    raised: type[Exception],
) -> None:
    def function() -> None:
        raise raised("said")

    with pytest.raises(raised, match="said"):
        await Threads(1).run(function, name="x")


@pytest.mark.parametrize(
    "raised", [StopIteration, SystemExit, KeyboardInterrupt, GeneratorExit, Strange]
)
async def test_what_a_future_cannot_carry_becomes_a_runtime_error(
    raised: type[BaseException],
) -> None:
    def function() -> None:
        raise raised

    with pytest.raises(RuntimeError, match=f"the agent raised {raised.__name__}") as error:
        await Threads(1).run(function, name="x")
    assert isinstance(error.value.__cause__, raised)


def test_a_function_that_outlives_its_loop_ends_in_silence() -> None:
    """Warnings are errors here: one about a closed loop would fail the test."""
    go = threading.Event()
    threads = Threads(1)

    async def begin() -> None:
        threads.run(lambda: go.wait(10), name="x").cancel()

    asyncio.run(begin())
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "x")
    go.set()
    thread.join(10)
    assert threads.room
