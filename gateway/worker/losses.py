"""
What is lost when a worker's process dies: told to the gateway, then cleaned up, then told, too.

The rule: the losses come first, since tasks wait for them. What became of the processes, files
and memory follows once it has been looked at. The gateway may be faster, by the missing
heartbeats; then it refuses the report, and that is that.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import os
import pathlib
import subprocess
from collections.abc import Callable, Collection, Mapping
from typing import Any

from gateway.attempts.cleanup import status_of
from gateway.attempts.descent import children_of, kill_adopted
from gateway.attempts.folders import remove_folder
from gateway.attempts.processes import EXIT_MEMORY, LOOK_S, LOOKS, end_all, ending_of
from gateway.client.errors import CallFailed, Disconnected
from gateway.client.http_calls import HttpCalls
from gateway.domain.diagnostics import logger_of
from gateway.worker.pause import pause

__all__ = ["Keep", "Key", "Losses", "Process", "clear"]

logger = logger_of(__name__)

# How long a loss is told to a gateway that does not answer, and how long between two tries.
REPORT_WITHIN_S = 30.0
REPORT_EVERY_S = 0.5

# The kinds of resources that every process of a worker uses.
RESOURCES = ("agent_memory", "process", "temp_files")

# What a task is told whose limit was over while the loop was blocked.
TIMED_OUT = {"error_type": "timeout", "error_code": "task_timeout", "others": 0}

# A task and the term under which it is held.
Key = tuple[str, int]
# Gives the ids of children that were not left behind by a dead process.
Keep = Callable[[], Collection[int]]


@dataclasses.dataclass(slots=True)
class Process:
    """
    One process of a worker, and what it has said.

    Attributes:
        popen: The process itself.
        folder: Its temporary files are below.
        held: The tasks that it works on, as it announced them, with ``due``: when the limit of
            each is over, in the keeper's loop time.
        overdue: Those for whose limit the process was killed, since its loop was blocked.
        heard_at: When it last said something, in the keeper's loop time.
        beat_every_s: How often the gateway expects its beats, in seconds.
        blocked_at: File, line and function that block its loop, as it has said; None: unknown.
        starved: The tasks that were out of memory, with what was cleaned up after them so far.
        left_with: The exit code with which it meant to leave; None: it did not mean to.
        registered: Whether the gateway has accepted it.
        resident_bytes: Its memory when last looked at.
        peak_bytes: The most memory that it had.
        code: How it ended; negative: by that signal.
    """

    popen: subprocess.Popen[bytes]
    folder: pathlib.Path
    held: dict[Key, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    overdue: set[Key] = dataclasses.field(default_factory=set)
    heard_at: float = 0.0
    beat_every_s: float = math.inf
    blocked_at: str | None = None
    starved: dict[Key, dict[str, Any]] = dataclasses.field(default_factory=dict)
    left_with: int | None = None
    registered: bool = False
    resident_bytes: int = 0
    peak_bytes: int = 0
    code: int = 0


class Losses:
    """
    Tells a gateway what a worker's processes held when they died.

    Args:
        calls: To the gateway.
        identity: Gives ``agent_id`` and ``agent_secret`` as which the gateway last accepted the
            worker.
        keep: As for ``clear``.

    Attributes:
        telling: The tasks whose loss the gateway does not know yet. The next process, which
            comes back as the same worker, leaves them alone.
    """

    def __init__(
        self,
        calls: HttpCalls,
        identity: Callable[[], Mapping[str, str]],
        *,
        keep: Keep | None = None,
    ) -> None:
        self.telling: set[Key] = set()
        self._calls = calls
        self._identity = identity
        self._keep = keep

    async def tell(self, dead: Process) -> None:
        """Tell what was lost with a process, clean up after it, and tell what became of that."""
        detail = {"process": ending_of(dead.code), "peak_bytes": dead.peak_bytes}
        message = f"the worker's process has ended: {ending_of(dead.code)}"
        loss = {**_kind_of(dead), "message": message, "detail": detail}
        late = {**loss, **TIMED_OUT, "detail": {**detail, "blocked_at": dead.blocked_at}}
        tasks = list(dead.held.values()) + [
            task for key, task in dead.starved.items() if key not in dead.held
        ]
        until = asyncio.get_running_loop().time() + REPORT_WITHIN_S
        self.telling |= dead.held.keys()
        clearing = asyncio.create_task(clear(dead, keep=self._keep))
        try:
            for key, task in dead.held.items():
                if key in dead.overdue:
                    await self._call("task.fail", task, late, until=until)
                elif dead.overdue:
                    # It only stood by: nothing has failed in it.
                    await self._call("task.release", task, {}, until=until)
                else:
                    await self._call("task.fail", task, loss, until=until)
                self.telling.discard(key)
        finally:
            leftovers = await clearing
        for task in tasks:
            cleanup = _cleanup_of(task, leftovers)
            # The memory was shared by all tasks of the process.
            cleanup["memory_freed"] = dead.resident_bytes // len(tasks)
            await self._call("event.publish", task, cleanup, until=until)

    async def _call(
        self, method: str, task: Mapping[str, Any], params: Mapping[str, Any], *, until: float
    ) -> None:
        proof = {name: self._identity()[name] for name in ("agent_id", "agent_secret")}
        whole = {"task_id": task["task_id"], "term": task["term"], **proof, **params}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while True:
                    try:
                        await self._calls.call(method, whole)
                    except CallFailed as error:
                        if error.retry_after is None:
                            # The gateway was faster: the heartbeats were missing.
                            logger.info("%s of task %s: %s", method, task["task_id"], error)
                            return
                        await pause(error.retry_after)
                    except Disconnected:
                        await pause(REPORT_EVERY_S)
                    else:
                        return
        # By now the gateway misses the worker's heartbeats, or is gone itself.
        logger.warning("%s of task %s: nobody was there to be told", method, task["task_id"])


async def clear(dead: Process, *, keep: Keep | None = None) -> list[str]:
    """
    End what a process has started and remove its files.

    What has left its session comes to this process, which adopts orphans, when its parent ends.

    Args:
        keep: Gives the ids of this process's children that are none of that; None: it does not
            adopt orphans.

    Returns:
        What is still there afterwards.
    """
    living = await asyncio.to_thread(end_all, [dead.popen.pid], of=os.getsid)
    adopted: list[int] | None = None
    for _ in range(0 if keep is None else LOOKS):
        # In the loop, where children are started, too: none that is new is taken for an orphan.
        if keep is None or not (adopted := kill_adopted(keep())):
            break
        await pause(LOOK_S)
    living += [pid for pid in adopted or () if pid not in living]
    left = await asyncio.to_thread(remove_folder, dead.folder)
    leftovers = [f"process: {pid}" for pid in living]
    return leftovers + ([f"temp_files: {left} in {dead.folder.name}"] if left else [])


def _kind_of(dead: Process) -> dict[str, Any]:
    # Of several tasks it is unknown which one has used up the memory, or has ended the process.
    others = len(dead.held) - 1
    if dead.code == EXIT_MEMORY and not others:
        return {"error_type": "resource_limit", "error_code": "memory_limit_exceeded"}
    return {"error_type": "agent_lost", "error_code": "process_lost", "others": others}


def _cleanup_of(task: Mapping[str, Any], leftovers: list[str]) -> dict[str, Any]:
    """Say what became of what a task used, those things included that it cleaned up itself."""
    kinds = {leftover.partition(":")[0] for leftover in leftovers}
    if children_of(os.getpid()) is None:
        kinds.add("process")  # it has ended; what it has left could not be looked at
    gone = [kind for kind in RESOURCES if kind not in kinds]
    gone += [name for name in task.get("resources", ()) if name not in gone]
    left = [*leftovers, *task.get("leftovers", ())]
    return {
        **{name: task[name] for name in ("agent_name", "user_id", "attempt")},
        "type": "resource_cleanup",
        "resources_cleaned": gone,
        # Memory and process are gone with every process, and say nothing of what it left.
        "cleanup_status": "failed" if leftovers else status_of(gone, left),
        "leftovers": left,
    }
