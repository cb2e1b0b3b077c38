"""The cleanup after an attempt: what was cleaned up is looked at, never asserted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import subprocess

import psutil
import pytest

from gateway import Task
from gateway.attempts.cleanup import Cleaned, clean, status_of
from gateway.attempts.threads import Threads
from tests.attempts.steps import Attempt
from tests.execution.conftest import OpenWorld
from tests.execution.world import World
from tests.unremovable import Unremovable


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
    await here.until(lambda: not here.engine.parts.attempts.threads._running)


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


async def test_a_process_ends_with_its_attempt_and_what_it_has_started(here: World) -> None:
    """It is looked for afterwards, and the memory that it had is counted."""
    started: list[int] = []

    @here.gateway.agent("starter")
    def starter(task: Task) -> None:
        process = task.start_process("sh", "-c", "sleep 1000 & echo $!; wait", stdout=-1)
        assert process.stdout is not None
        started.extend((process.pid, int(process.stdout.readline())))
        process.stdout.close()

    await here.run("starter")
    assert len(started) == 2
    assert not any(psutil.pid_exists(pid) and _lives(pid) for pid in started)
    (cleanup,) = here.said("resource_cleanup")
    assert (cleanup["resources_cleaned"], cleanup["cleanup_status"]) == (["process"], "success")
    assert cleanup["memory_freed"] > 0


async def test_a_process_in_a_session_of_its_own_ends_with_the_one_that_started_it(
    here: World,
) -> None:
    started: list[int] = []

    @here.gateway.agent("starter")
    async def starter(task: Task) -> None:
        process = task.start_process("sh", "-c", "setsid sleep 1000 & wait", stdout=-3)
        while not (below := psutil.Process(process.pid).children()):
            await asyncio.to_thread(int)
        started.extend((process.pid, below[0].pid))

    await here.run("starter")
    assert not any(_lives(pid) for pid in started)
    (cleanup,) = here.said("resource_cleanup")
    assert (cleanup["resources_cleaned"], cleanup["leftovers"]) == (["process"], [])


def _lives(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


async def test_a_folder_that_cannot_be_removed_is_told_as_it_is(
    here: World, unremovable: Unremovable
) -> None:
    @here.gateway.agent("writer")
    async def writer(task: Task) -> None:
        unremovable(task.temp_dir())

    await here.run("writer")
    (cleanup,) = here.said("resource_cleanup")
    assert (cleanup["resources_cleaned"], cleanup["cleanup_status"]) == ([], "failed")
    assert cleanup["leftovers"][0].startswith("temp_files: 2 in task-")


async def test_folders_without_end_are_a_leftover_and_no_mistake_of_ours(here: World) -> None:
    """Deeper than some Pythons can remove them; the attempt's end is told all the same."""
    folders: list[pathlib.Path] = []

    @here.gateway.agent("writer")
    async def writer(task: Task) -> str:
        folders.append(task.temp_dir())
        at = os.open(folders[0], os.O_RDONLY)
        for _ in range(3000):
            os.mkdir("d", dir_fd=at)
            at, above = os.open("d", os.O_RDONLY, dir_fd=at), at
            os.close(above)
        os.close(at)
        return "done"

    assert (await here.run("writer")).result == "done"
    (cleanup,) = here.said("resource_cleanup")
    # Some Pythons can follow.
    assert cleanup["cleanup_status"] == ("failed" if folders[0].exists() else "success")
    await asyncio.to_thread(subprocess.run, ["rm", "-rf", str(folders[0])], check=True)


# --- without a gateway -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resources", "leftovers", "status"),
    [
        (["process"], [], "success"),
        ([], [], "success"),
        (["process"], ["close"], "partial"),
        ([], ["close"], "failed"),
    ],
)
def test_a_status_says_whether_something_is_left_and_whether_something_is_gone(
    resources: list[str], leftovers: list[str], status: str
) -> None:
    assert status_of(resources, leftovers) == status


async def test_an_attempt_that_used_nothing_has_no_cleanup_to_tell() -> None:
    attempt = Attempt()
    cleaned = await clean(
        attempt.task, attempt.resources, [], threads=Threads(1), still_running=None
    )
    assert cleaned == Cleaned([], 0, [])
    assert not cleaned


async def test_code_that_could_not_be_stopped_is_a_leftover() -> None:
    attempt = Attempt()
    cleaned = await clean(
        attempt.task, attempt.resources, [], threads=Threads(1), still_running="thread: echo"
    )
    assert cleaned
    assert cleaned.leftovers == ["thread: echo"]


async def test_a_process_that_ended_by_itself_is_gone_and_frees_no_memory_of_others() -> None:
    attempt = Attempt()
    process = attempt.task.start_process("true")
    await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    cleaned = await clean(
        attempt.task, attempt.resources, [], threads=Threads(1), still_running=None
    )
    assert (cleaned.resources, cleaned.leftovers) == (["process"], [])
    # It was waited for, or it would stay as a zombie.
    assert process.returncode == 0


async def test_a_hook_without_a_name_is_named_by_its_type() -> None:
    class Closer:
        def __call__(self, task: Task) -> None: ...

    attempt = Attempt()
    cleaned = await clean(
        attempt.task, attempt.resources, [Closer()], threads=Threads(1), still_running=None
    )
    assert cleaned.resources == ["Closer"]
