"""Coming to an end: what runs may finish, nothing is left open, and it can begin again."""

from __future__ import annotations

import asyncio

import pytest

from gateway import Task
from gateway.app.gateway import Gateway
from gateway.domain.errors import Rejected
from gateway.domain.settings import Settings
from gateway.errors import RateLimited
from tests.execution.conftest import OpenWorld
from tests.execution.world import World


async def test_every_open_task_is_ended(open_world: OpenWorld) -> None:
    here = await open_world(drain_grace=5.0, workers=2)
    stop = here.stop()

    @here.gateway.agent("slow", timeout=100.0)
    async def slow(task: Task) -> None:
        task.preserve("a", 1)
        await here.passing(90)

    @here.gateway.agent("thread", timeout=100.0)
    def thread(task: Task) -> None:
        stop.here()

    @here.gateway.agent("limited")
    async def limited(task: Task) -> None:
        raise RateLimited(retry_after=50.0)

    waiting = await here.submit("limited")
    await here.passing(1)
    running = [await here.submit("slow"), await here.submit("thread")]
    await here.passing(1)
    pending = [await here.submit("slow"), await here.submit("nobody")]
    await here.engine.drain()
    for task_id in [waiting, *running, *pending]:
        (finished,) = here.said("task_finished", task_id=task_id)
        assert (finished["outcome"], finished["reason"]) == ("failed", "shutdown")
        assert here.said("agent_error", task_id=task_id)[-1]["error_code"] == "shutdown"
    assert here.said("partial_result_preserved")[0]["preserved_data"] == {"a": 1}
    assert here.said("resource_cleanup")[0]["leftovers"] == ["thread: thread"]
    stop.go()


async def test_what_runs_may_finish_within_its_grace(open_world: OpenWorld) -> None:
    here = await open_world(drain_grace=10.0)

    @here.gateway.agent("slow", timeout=100.0)
    async def slow(task: Task) -> str:
        await here.passing(9)
        return "done"

    running = await here.submit("slow")
    await here.passing(0.5)
    draining = asyncio.ensure_future(here.engine.drain())
    await here.passing(1)
    with pytest.raises(Rejected) as rejected:
        await here.submit("slow")
    assert rejected.value.code == "draining"
    await draining
    assert here.state.tasks[running].result == "done"


async def test_draining_twice_is_draining_once(here: World) -> None:
    await here.submit("nobody")
    await here.engine.drain()
    before = len(here.events)
    await here.engine.drain()
    assert len(here.events) == before


async def test_a_gateway_stops_though_agents_do_not(open_world: OpenWorld) -> None:
    here = await open_world(drain_grace=1.0)
    go = asyncio.Event()

    @here.gateway.agent("stubborn", timeout=100.0)
    async def stubborn(task: Task) -> None:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue

    await here.submit("stubborn")
    await here.passing(1)
    await here.engine.drain()
    assert here.said("resource_cleanup")[0]["leftovers"] == ["coroutine: stubborn"]
    go.set()


def test_a_gateway_can_run_again() -> None:
    """Tests of an application enter its lifespan once each, on a loop of their own."""
    gateway = Gateway(Settings())

    @gateway.agent("echo")
    async def echo(task: Task, word: str) -> str:
        return word

    async def once(word: str) -> None:
        async with gateway._life(None):
            handle = await gateway.submit("echo", {"word": word})
            assert await handle.result() == word

    for word in ("one", "two", "three"):
        asyncio.run(once(word))
