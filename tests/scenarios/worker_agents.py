"""
Agents for workers, run by ``gateway work tests.scenarios.worker_agents:gateway``: what the
scenarios do to a process that can be lost.
"""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import Any

from gateway import Gateway, Task
from gateway.app.clock import SystemClock
from tests.unremovable import make_unremovable

PAGE_BYTES = resource.getpagesize()
BLOCK_BYTES = 4 * 1024**2
# What the process may take beside what it has; the larger part is left to the kernel's stacks.
ROOM_BYTES = 192 * 1024**2

gateway = Gateway()
clock = SystemClock()
kept: list[bytearray] = []


@gateway.agent("counter", timeout=30)
async def count(task: Task, question: str) -> str:
    """Stream as many numbers as asked for, a hundred a second, and say how far it is."""
    last = int(question)
    said = ""
    for number in range(1, last + 1):
        said += f"{number}\n"
        task.append(f"{number}\n")
        if number % 20 == 0:
            task.progress(number / last)
        await clock.sleep(0.01)
    return said


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * PAGE_BYTES + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _leave_a_file(task: Task) -> None:
    note = task.temp_dir() / "note.txt"
    note.write_text(f"process {os.getpid()}")
    task.preserve("files", {"pid": os.getpid(), "folder": str(note.parent)})


@gateway.agent("hungry", timeout=30, max_attempts=1)
async def hungry(task: Task, question: str) -> None:
    """Take memory until there is none; what was taken is let go with the error."""
    _leave_a_file(task)
    await clock.sleep(0.3)
    _limit_memory()
    taken = []
    while True:
        taken.append(bytearray(BLOCK_BYTES))


@gateway.agent("glutton", timeout=30, max_attempts=1)
async def glutton(task: Task, question: str) -> None:
    """Take memory until there is none, and keep it: nothing else works in this process."""
    _leave_a_file(task)
    await clock.sleep(0.3)
    _limit_memory()
    size = BLOCK_BYTES
    while size > 64 * 1024:
        try:
            while True:
                kept.append(bytearray(size))
        except MemoryError:
            size //= 2
    raise MemoryError


@gateway.agent("sticky", timeout=30, max_attempts=1)
async def sticky(task: Task, question: str) -> None:
    """Leave a file that cannot be removed and a process behind, and be killed."""
    folder = task.temp_dir()
    held = make_unremovable(folder)
    process = task.start_process("sleep", "1000")
    task.preserve("files", {"held": str(held), "process": process.pid})
    await clock.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)


@gateway.agent("large", timeout=30, max_attempts=1)
async def large(task: Task, question: str) -> dict[str, str]:
    """Give a step and a result that are larger than a frame."""
    task.preserve("step1", "s" * 100_000)
    return {"text": "r" * 200_000}


@gateway.agent("sudden", timeout=30, max_attempts=3)
async def sudden(task: Task, question: str) -> dict[str, Any]:
    """Be killed at the moment that five steps are in the log; then say what is left of them."""
    if task.attempt == 1:
        for number in range(5):
            task.preserve(f"step{number}", number)
        await task.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return dict(task.preserved.steps)


@gateway.agent("deadly", timeout=30, max_attempts=3)
async def deadly(task: Task, question: str) -> None:
    """Be killed, each time."""
    os.kill(os.getpid(), signal.SIGKILL)
