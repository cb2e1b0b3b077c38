"""Ends: every caller that waits for a task learns how it ended, or that it is lost."""

from __future__ import annotations

import asyncio

import pytest

from gateway.domain.errors import NotFound
from tests.execution.hands import hand
from tests.execution.world import World


async def test_every_caller_that_waits_gets_the_task_at_its_end(here: World) -> None:
    ends, worker = here.engine.parts.ends, await hand(here)
    task_id = await here.submit("writer")
    waiting = [asyncio.create_task(ends.of(task_id)) for _ in range(3)]
    await worker.claim()
    await here.passing(1)
    assert not any(wait.done() for wait in waiting)
    await worker.tell("task.complete", result=1)
    assert [task.status for task in await asyncio.gather(*waiting)] == ["succeeded"] * 3
    assert ends._waiting == {}


async def test_a_caller_that_comes_after_the_end_does_not_wait(here: World) -> None:
    task_id = await here.submit("writer")
    await here.call("task.cancel", task_id=task_id)
    before = here.engine.clock.monotonic()
    assert (await here.engine.parts.ends.of(task_id)).status == "cancelled"
    assert here.engine.clock.monotonic() == before


async def test_a_caller_that_stops_waiting_ends_neither_the_task_nor_other_waits(
    here: World,
) -> None:
    ends = here.engine.parts.ends
    task_id = await here.submit("writer")
    gone, stays = (asyncio.create_task(ends.of(task_id)) for _ in range(2))
    await here.passing(1)
    gone.cancel()
    await asyncio.wait({gone})
    assert here.state.tasks[task_id].live
    await here.call("task.cancel", task_id=task_id)
    assert (await stays).status == "cancelled"
    # The last caller that stops waiting leaves nothing behind.
    other_id = await here.submit("writer")
    alone = asyncio.create_task(ends.of(other_id))
    await here.passing(1)
    alone.cancel()
    await asyncio.wait({alone})
    assert ends._waiting == {}
    await here.call("task.cancel", task_id=other_id)


async def test_a_caller_is_told_when_its_task_is_lost_with_the_log(here: World) -> None:
    ends = here.engine.parts.ends
    task_id = await here.submit("writer")
    waiting = [asyncio.create_task(ends.of(task_id)) for _ in range(2)]
    await here.passing(1)
    waiting[0].cancel()
    ends.clear()
    with pytest.raises(NotFound, match="lost with its log"):
        await waiting[1]
    await here.call("task.cancel", task_id=task_id)


async def test_there_is_no_end_of_a_task_that_does_not_exist(here: World) -> None:
    with pytest.raises(KeyError):
        await here.engine.parts.ends.of("unknown")
