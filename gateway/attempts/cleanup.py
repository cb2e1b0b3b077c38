"""
The cleanup after an attempt: hooks, processes, files, and a look at what is left.

The rule: it reports what the operating system says afterwards, never what was meant to happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import os
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from gateway.attempts.descent import kill_trees
from gateway.attempts.folders import remove_folder
from gateway.attempts.processes import end_all, resident_bytes
from gateway.attempts.task import Resources, Task
from gateway.attempts.threads import Threads
from gateway.domain.diagnostics import logger_of

__all__ = ["Cleaned", "clean", "status_of"]

logger = logger_of(__name__)

# How long a hook may take, in seconds. One that takes longer is named as a leftover.
HOOK_LIMIT_S = 5.0
# How long the exit status of a process that is gone may take to arrive, in seconds.
END_LIMIT_S = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class Cleaned:
    """
    What was cleaned up. It is true if there was anything to clean up.

    Attributes:
        resources: What is gone: ``process``, ``temp_files``, and the names of the hooks that ran.
        memory_freed: Bytes by which the resident memory of this process shrank, and the resident
            memory of the processes that were ended.
        leftovers: What is still there, and the names of the hooks that failed.
    """

    resources: list[str]
    memory_freed: int
    leftovers: list[str]

    def __bool__(self) -> bool:
        return bool(self.resources or self.leftovers)


def status_of(resources: Sequence[str], leftovers: Sequence[str]) -> str:
    """Give the ``cleanup_status``: nothing is left, something is gone, or nothing is."""
    return "success" if not leftovers else "partial" if resources else "failed"


async def clean(
    task: Task,
    used: Resources,
    hooks: Sequence[Callable[..., Any]],
    *,
    threads: Threads,
    still_running: str | None,
) -> Cleaned:
    """
    Clean up after an attempt.

    Args:
        task: As the agent saw it; hooks are called with it.
        used: The processes and the folder of the attempt.
        hooks: The agent's own, sync or async; each has 5 s.
        threads: Where sync hooks run.
        still_running: The name of the code that could not be stopped; None: all has ended.
    """
    before = resident_bytes() or 0
    resources: list[str] = []
    leftovers = [] if still_running is None else [still_running]
    for hook in hooks:
        name = getattr(hook, "__name__", type(hook).__name__)
        (resources if await _ran(hook, task, name, threads) else leftovers).append(name)
    freed = 0
    if (ended := used.ended) is not None:
        freed += ended.freed_bytes
        leftovers += [f"process: {pid}" for pid in ended.left]
        if ended.looked and not ended.left:
            resources.append("process")
    if used.processes:
        freed += sum(resident_bytes(process.pid) or 0 for process in used.processes)
        left = await threads.run(lambda: _end(used.processes), name="cleanup")
        leftovers += [f"process: {pid}" for pid in left]
        ended_any = not set(left) >= {process.pid for process in used.processes}
        if ended_any and "process" not in resources:
            resources.append("process")
    if (folder := used.folder) is not None:
        still_there = await threads.run(lambda: remove_folder(folder), name="cleanup")
        if still_there:
            leftovers.append(f"temp_files: {still_there} in {folder.name}")
        else:
            resources.append("temp_files")
    freed += max(0, before - (resident_bytes() or 0)) if resources else 0
    return Cleaned(resources, freed, leftovers)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """Kill processes and what they have started; returns the ids of those that do not end."""
    pids = [process.pid for process in processes]
    # What is below one may have left its group; what was below one that has ended may be in it.
    left = kill_trees(process.pid for process in processes if process.poll() is None)
    left += [pid for pid in end_all(pids, of=os.getpgid) if pid not in left]
    for process in processes:
        # Without a wait it would stay as a zombie.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0 if left else END_LIMIT_S)
    return left


async def _ran(hook: Callable[..., Any], task: Task, name: str, threads: Threads) -> bool:
    running = asyncio.ensure_future(_called(hook, task, name, threads))
    try:
        await asyncio.wait({running}, timeout=HOOK_LIMIT_S)
    finally:
        running.cancel()  # does nothing if it is done
    if not running.done():
        # It may swallow the cancellation, so it is not waited for again.
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
        # asyncio lets these two out of the loop; the process would end with the hook.
        raise RuntimeError(f"the hook raised {type(error).__name__}") from error
