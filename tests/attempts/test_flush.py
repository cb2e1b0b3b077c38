"""`task.flush()`: what was given before it is in the log when it returns."""

from __future__ import annotations

import asyncio

import pytest

from gateway import Task
from gateway.domain.errors import AttemptOver
from tests.execution.world import World


async def test_what_was_given_is_in_the_log_when_it_returns(here: World) -> None:
    found: list[tuple[list[str], str]] = []

    @here.gateway.agent("writer")
    async def writer(task: Task) -> str:
        for number in range(5):
            task.preserve(f"step{number}", number)
        task.append("some text")
        began_at = asyncio.get_running_loop().time()
        await task.flush()
        # Nothing but the store is waited for: no pieces at the pace at which they are shown.
        assert asyncio.get_running_loop().time() == began_at
        kept = here.state.tasks[task.task_id].preserved
        found.append((list(kept.steps), kept.text))
        await task.flush()
        return "done"

    task = await here.run("writer")
    assert task.status == "succeeded"
    assert found == [([f"step{number}" for number in range(5)], "some text")]


async def test_after_the_end_there_is_nothing_to_wait_for(here: World) -> None:
    kept: list[Task] = []

    @here.gateway.agent("writer")
    async def writer(task: Task) -> str:
        kept.append(task)
        return "done"

    await here.run("writer")
    with pytest.raises(AttemptOver):
        await kept[0].flush()
