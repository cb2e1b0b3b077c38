"""What a gateway is told of a process that died, and what is left of it afterwards."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.attempts.processes import EXIT_MEMORY, ending_of, state_of
from gateway.client.http_calls import HttpCalls
from gateway.ports import Entry
from gateway.worker.losses import Key, Losses, Process, clear
from tests.transports.world import World, world
from tests.unremovable import Unremovable, unremovable
from tests.worker.crew import call, submit

__all__ = ["unremovable"]

RESIDENT_BYTES = 30_000_000


class Scene:
    """A gateway, and a worker whose process has died with tasks in its hands."""

    def __init__(self, here: World, folder: Path) -> None:
        self.here = here
        self.calls = HttpCalls(here.ws, token=None)
        self.identity: dict[str, str] = {}
        self.losses = Losses(self.calls, lambda: self.identity)
        self.entries: list[Entry] = []
        here.engine.log.follow(self.entries.append)
        popen = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        popen.kill()
        popen.wait()
        folder.mkdir()
        self.dead = Process(popen, folder, resident_bytes=RESIDENT_BYTES, code=-signal.SIGKILL)

    async def register(self) -> None:
        about = {"handle": "w", "agents": [{"name": "echo", "max_attempts": 1}]}
        answer = await self.calls.call("agent.register", about)
        self.identity = {name: answer[name] for name in ("agent_id", "agent_secret")}

    async def hold(self, *, starved: bool = False, **cleaned: Any) -> str:
        """Let the process have claimed a task; returns the task's id."""
        await submit(self.here)
        claim = await self.calls.call("task.claim", {**self.identity, "wait": 5})
        key = (claim["task_id"], claim["term"])
        about = ("task_id", "term", "agent_name", "user_id", "attempt")
        self.dead.held[key] = {name: claim[name] for name in about}
        if starved:
            cleaned = {"resources": [], "leftovers": [], **cleaned}
            self.dead.starved[key] = {**self.dead.held[key], **cleaned}
        return str(claim["task_id"])

    def said(self, type: str) -> list[dict[str, Any]]:
        events = [orjson.loads(entry.operator) for entry in self.entries]
        return [event for event in events if event["type"] == type]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with world() as here:
        made = Scene(here, tmp_path / "1")
        await made.register()
        yield made


async def test_each_task_that_a_dead_process_held_is_told_as_lost(scene: Scene) -> None:
    tasks = [await scene.hold(), await scene.hold()]
    await scene.losses.tell(scene.dead)
    errors = scene.said("agent_error")
    assert [error["task_id"] for error in errors] == tasks
    assert {error["error_code"] for error in errors} == {"process_lost"}
    assert errors[0]["detail"]["process"] == "SIGKILL"
    assert scene.losses.telling == set()


async def test_the_cleanup_names_what_every_process_uses_and_shares_its_memory(
    scene: Scene,
) -> None:
    for _ in range(2):
        await scene.hold()
    await scene.losses.tell(scene.dead)
    cleanups = scene.said("resource_cleanup")
    assert [cleanup["cleanup_status"] for cleanup in cleanups] == ["success"] * 2
    assert cleanups[0]["resources_cleaned"] == ["agent_memory", "process", "temp_files"]
    assert {cleanup["memory_freed"] for cleanup in cleanups} == {RESIDENT_BYTES // 2}
    assert not scene.dead.folder.exists()


async def test_a_folder_that_cannot_be_removed_makes_the_cleanup_a_failed_one(
    scene: Scene, unremovable: Unremovable
) -> None:
    """Its kind is not among what is gone, though the process and its memory are."""
    await scene.hold()
    unremovable(scene.dead.folder)
    await scene.losses.tell(scene.dead)
    (cleanup,) = scene.said("resource_cleanup")
    assert cleanup["resources_cleaned"] == ["agent_memory", "process"]
    assert cleanup["leftovers"][0].startswith("temp_files: ")
    assert cleanup["cleanup_status"] == "failed"


async def test_what_only_the_attempt_left_behind_makes_the_cleanup_a_partial_one(
    scene: Scene,
) -> None:
    await scene.hold(starved=True, resources=["close"], leftovers=["thread: echo"])
    scene.dead.held.clear()  # the attempt has ended, the process shortly after
    scene.dead.code = EXIT_MEMORY
    await scene.losses.tell(scene.dead)
    (cleanup,) = scene.said("resource_cleanup")
    assert cleanup["resources_cleaned"] == ["agent_memory", "process", "temp_files", "close"]
    assert cleanup["leftovers"] == ["thread: echo"]
    assert cleanup["cleanup_status"] == "partial"


@pytest.mark.parametrize(("tasks", "code"), [(1, "memory_limit_exceeded"), (2, "process_lost")])
async def test_of_several_tasks_none_is_blamed_for_the_memory(
    scene: Scene, tasks: int, code: str
) -> None:
    for _ in range(tasks):
        await scene.hold(starved=True)
    scene.dead.code = EXIT_MEMORY
    await scene.losses.tell(scene.dead)
    assert [error["error_code"] for error in scene.said("agent_error")] == [code] * tasks


async def test_a_task_that_was_out_of_memory_and_ended_is_only_cleaned_up_after(
    scene: Scene,
) -> None:
    """The attempt could still tell its own failure; the process took the memory with it."""
    task_id = await scene.hold(starved=True)
    scene.dead.held.clear()
    scene.dead.code = EXIT_MEMORY
    await scene.losses.tell(scene.dead)
    assert scene.said("agent_error") == []
    assert [cleanup["task_id"] for cleanup in scene.said("resource_cleanup")] == [task_id]


async def test_a_loss_that_the_gateway_noticed_first_is_told_once(scene: Scene) -> None:
    task_id = await scene.hold()
    await call(scene.here, "task.cancel", task_id=task_id)
    await scene.losses.tell(scene.dead)
    assert [error["error_type"] for error in scene.said("agent_error")] == ["cancelled"]
    assert len(scene.said("task_finished")) == 1


async def test_while_a_loss_is_told_the_next_process_leaves_its_task_alone(scene: Scene) -> None:
    await scene.hold()
    telling: list[set[Key]] = []
    scene.here.engine.log.follow(lambda entry: telling.append(set(scene.losses.telling)))
    await scene.losses.tell(scene.dead)
    assert telling[0] == scene.dead.held.keys()
    assert telling[-1] == set()


async def test_a_process_that_held_nothing_is_cleaned_up_after_and_not_told(scene: Scene) -> None:
    await scene.losses.tell(scene.dead)
    assert scene.said("resource_cleanup") == []
    assert not scene.dead.folder.exists()


def dead_parent() -> tuple[subprocess.Popen[bytes], int]:
    """A process that was killed, and its child, which lives on in its session."""
    popen = subprocess.Popen(
        ["sh", "-c", "sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert popen.stdout is not None
    child = int(popen.stdout.readline())
    popen.stdout.close()
    popen.kill()
    popen.wait()
    return popen, child


async def test_clearing_ends_what_a_dead_process_has_started(tmp_path: Path) -> None:
    popen, child = dead_parent()
    (tmp_path / "1").mkdir()
    assert await clear(Process(popen, tmp_path / "1")) == []
    assert state_of(child) in (None, "Z")
    assert not (tmp_path / "1").exists()


@pytest.mark.parametrize(
    ("code", "ending"),
    [(0, "exit code 0"), (3, "exit code 3"), (-9, "SIGKILL"), (-15, "SIGTERM"), (-63, "signal 63")],
)
def test_an_ending_is_named(code: int, ending: str) -> None:
    assert ending_of(code) == ending
