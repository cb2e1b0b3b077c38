"""After an attempt: what was cleaned up is looked at, never asserted."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from gateway import Task
from tests.execution.conftest import OpenWorld
from tests.execution.world import World


async def test_a_temporary_folder_is_gone_after_the_attempt(here: World) -> None:
    folders: list[pathlib.Path] = []

    @here.gateway.agent("writer")
    async def writer(task: Task) -> None:
        folders.append(task.temp_dir())
        assert task.temp_dir() == folders[0]
        (folders[0] / "file").write_text("x")

    task = await here.run("writer")
    assert not folders[0].exists()
    (cleanup,) = here.said("resource_cleanup")
    assert (cleanup["resources_cleaned"], cleanup["cleanup_status"]) == (["temp_files"], "success")
    assert here.types(task.task_id)[-2:] == ["task_finished", "resource_cleanup"]


async def test_hooks_are_called_after_each_attempt(here: World) -> None:
    called: list[str] = []

    async def close(task: Task) -> None:
        called.append(f"async {task.attempt}")

    def release(task: Task) -> None:
        called.append(f"sync {task.attempt}")

    @here.gateway.agent("worker", max_attempts=2, timeout=1.0, cleanup=[close, release])
    async def worker(task: Task) -> None:
        await here.passing(10)

    await here.run("worker")
    assert called == ["async 1", "sync 1", "async 2", "sync 2"]
    cleanups = here.said("resource_cleanup")
    assert [c["resources_cleaned"] for c in cleanups] == [["close", "release"]] * 2
    assert [c["attempt"] for c in cleanups] == [1, 2]
    assert cleanups[0]["error_id"] == here.said("agent_error")[0]["error_id"]


@pytest.mark.parametrize(
    "raised", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError]
)
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_hook_that_fails_is_named_and_stops_nothing(
    here: World, raised: type[BaseException], kind: str
) -> None:
    """A hook that exits does not take the gateway with it."""

    async def bad_async(task: Task) -> None:
        raise raised

    def bad_sync(task: Task) -> None:
        raise raised

    def good(task: Task) -> None:
        pass

    bad = bad_async if kind == "async" else bad_sync

    @here.gateway.agent("worker", cleanup=[bad, good])
    async def worker(task: Task) -> str:
        return "done"

    assert (await here.run("worker")).result == "done"
    (cleanup,) = here.said("resource_cleanup")
    assert cleanup["leftovers"] == [bad.__name__]
    assert (cleanup["resources_cleaned"], cleanup["cleanup_status"]) == (["good"], "partial")
    assert (await here.run("worker")).result == "done"


async def test_a_hook_that_hangs_is_named_and_left_alone(here: World) -> None:
    """Even one that swallows its cancellation does not hold the slot for ever."""
    go = asyncio.Event()
    stop = here.stop()

    async def stubborn(task: Task) -> None:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue

    def blocked(task: Task) -> None:
        stop.here()

    @here.gateway.agent("worker", cleanup=[stubborn, blocked])
    async def worker(task: Task) -> str:
        return "done"

    assert (await here.run("worker")).result == "done"
    (cleanup,) = here.said("resource_cleanup")
    assert cleanup["leftovers"] == ["stubborn", "blocked"]
    assert cleanup["cleanup_status"] == "failed"
    go.set()
    stop.go()
    await here.until(lambda: not here.engine.attempts.threads._running)


async def test_hooks_are_called_when_the_gateway_stops(open_world: OpenWorld) -> None:
    """An end of the process is no excuse for files and locks that stay behind."""
    called: list[str] = []
    folders: list[pathlib.Path] = []
    here = await open_world(drain_grace=1.0)

    async def close(task: Task) -> None:
        called.append("closed")

    @here.gateway.agent("worker", timeout=1000.0, cleanup=[close])
    async def worker(task: Task) -> None:
        folders.append(task.temp_dir())
        try:
            await here.passing(1000)
        finally:
            called.append("stopped")

    task_id = await here.submit("worker")
    await here.until(lambda: folders)
    await here.engine.drain()
    assert called == ["stopped", "closed"]
    assert not folders[0].exists()
    assert here.types(task_id)[-2:] == ["task_finished", "resource_cleanup"]
