"""Agents that block their event loop, or end their process, as real code does it by mistake."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from gateway import Gateway, Task
from gateway.app.clock import SystemClock

gateway = Gateway()


def _note(name: str) -> None:
    """Add a line to a file that several processes write."""
    with Path(os.environ["NOTES"]).open("a") as notes:
        notes.write(f"{name} {os.getpid()}\n")


async def _until_there(path: str) -> None:
    while not os.access(path, os.F_OK):
        await SystemClock().sleep(0.02)


@gateway.agent("blocks", timeout=60, max_attempts=3)
async def block(task: Task, question: str) -> str:
    """Wait as many seconds as asked for, without ever letting the loop go round."""
    _note(f"began {task.task_id}")
    threading.Event().wait(float(question))
    _note(f"ended {task.task_id}")
    return "done"


@gateway.agent("overruns", timeout=2, max_attempts=1)
async def overrun(task: Task, question: str) -> str:
    """Block for longer than it may take."""
    _note(f"began {task.task_id}")
    threading.Event().wait(60)
    return "never"


@gateway.agent("patient", timeout=60)
async def patient(task: Task, question: str) -> str:
    """Wait for a file."""
    _note(f"began {task.task_id}")
    await _until_there(question)
    return "done"


@gateway.agent("poison", timeout=30, max_attempts=3)
async def poison(task: Task, question: str) -> str:
    """End the process, as a wild pointer or the kernel would, once enough others run."""
    _note(f"began {task.task_id}")
    await _until_there(question)
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"
