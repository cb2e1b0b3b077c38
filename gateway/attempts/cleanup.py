"""
After an attempt: clean up, and look whether it is really clean.

What is told is what the operating system says afterwards, never what was meant to happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import logging
import os
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from gateway.attempts.folders import remove_folder
from gateway.attempts.processes import end_all, resident_bytes
from gateway.attempts.task import Task
from gateway.attempts.threads import Threads

__all__ = ["Cleaned", "clean", "status_of"]

logger = logging.getLogger(__name__)

# A hook that takes longer is named as a leftover; the task's news does not wait for it.
HOOK_LIMIT_S = 5.0
# How long a process that was seen to end may take to say so.
END_LIMIT_S = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class Cleaned:
    """
    What was cleaned up.

    Attributes:
        resources: Kinds of resources that are gone: process, temp_files, names of hooks.
        memory_freed: Bytes of resident memory: by which this process's shrank, and of those that
            were ended.
        leftovers: What is still there.
    """

    resources: list[str]
    memory_freed: int
    leftovers: list[str]

    def __bool__(self) -> bool:
        return bool(self.resources or self.leftovers)


def status_of(resources: Sequence[str], leftovers: Sequence[str]) -> str:
    """Give the ``cleanup_status`` of what is gone and what is left."""
    return "success" if not leftovers else "partial" if resources else "failed"


async def clean(
    task: Task,
    hooks: Sequence[Callable[..., Any]],
    *,
    threads: Threads,
    still_running: str | None,
) -> Cleaned:
    """
    Clean up after an attempt.

    Args:
        task: As the agent saw it; hooks are called with it.
        hooks: The agent's own, sync or async; each has 5 s.
        threads: Where sync hooks run.
        still_running: What of the attempt could not be stopped; None: nothing.
    """
    before = resident_bytes() or 0
    resources: list[str] = []
    leftovers = [] if still_running is None else [still_running]
    for hook in hooks:
        name = getattr(hook, "__name__", type(hook).__name__)
        (resources if await _ran(hook, task, name, threads) else leftovers).append(name)
    freed = 0
    if task._processes:
        freed += sum(resident_bytes(process.pid) or 0 for process in task._processes)
        left = await threads.run(lambda: _end(task._processes), name="cleanup")
        leftovers += [f"process: {pid}" for pid in left]
        if not set(left) >= {process.pid for process in task._processes}:
            resources.append("process")
    folder = task._temp_dir
    if folder is not None:
        still_there = await threads.run(lambda: remove_folder(folder), name="cleanup")
        if still_there:
            leftovers.append(f"temp_files: {still_there} in {folder.name}")
        else:
            resources.append("temp_files")
    freed += max(0, before - (resident_bytes() or 0)) if resources else 0
    return Cleaned(resources, freed, leftovers)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """End processes and what they have started; returns the ids of those that do not end."""
    left = end_all([process.pid for process in processes], of=os.getpgid)
    for process in processes:
        # Or it would stay as a zombie.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0 if left else END_LIMIT_S)
    return left


async def _ran(hook: Callable[..., Any], task: Task, name: str, threads: Threads) -> bool:
    running = asyncio.ensure_future(_called(hook, task, name, threads))
    try:
        await asyncio.wait({running}, timeout=HOOK_LIMIT_S)
    finally:
        running.cancel()  # nothing happens to one that is done
    if not running.done():
        # It may swallow the cancellation; nobody waits to see.
        logger.warning("cleanup hook %s of task %s does not end", name, task.task_id)
        running.add_done_callback(lambda job: job.cancelled() or job.exception())
        return False
    error = asyncio.CancelledError() if running.cancelled() else running.exception()
    if error is not None:
        logger.error("cleanup hook %s of task %s failed", name, task.task_id, exc_info=error)
    return error is None


async def _called(hook: Callable[..., Any], task: Task, name: str, threads: Threads) -> None:
    try:
        if inspect.iscoroutinefunction(hook):
            await hook(task)
        else:
            result = await threads.run(lambda: hook(task), name=f"cleanup {name}")
            if inspect.isawaitable(result):
                await result
    except (SystemExit, KeyboardInterrupt) as error:
        # A hook that exits has failed; it does not take the gateway with it.
        raise RuntimeError(f"the hook raised {type(error).__name__}") from error
