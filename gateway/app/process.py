"""What every command's process needs: an event loop, an end by signal, a last word in the log."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

from gateway.attempts.forks import guard_forks
from gateway.domain.diagnostics import logger_of

__all__ = ["run", "say_ends", "say_ready", "until_signal"]

logger = logger_of(__name__)


def run(work: Any) -> None:
    """
    Run a coroutine on uvloop where it is installed, otherwise on asyncio's own loop.

    What it forks has none of the loop's signals, and what agents have started with
    ``multiprocessing`` and left ends with it: Python would wait for these at its end, for ever.
    """
    guard_forks()
    try:
        try:
            import uvloop
        except ImportError:
            asyncio.run(work)
        else:
            uvloop.run(work)
    finally:
        if (multiprocessing := sys.modules.get("multiprocessing")) is not None:
            for child in multiprocessing.active_children():
                child.kill()


def say_ready(about: str) -> None:
    """Print the one line that says that this process is ready, and as what."""
    sys.stdout.write(f"ready {about}\n")
    sys.stdout.flush()


async def until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` until it ends, or until SIGTERM or SIGINT cancels it; return either way."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def say_ends() -> None:
    """Log what ends the process or a thread."""
    sys.excepthook = _say_end
    threading.excepthook = _say_thread_end


def _say_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logger.critical("the process has ended", exc_info=(kind, error, trace))


def _say_thread_end(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and ended.exc_type is not SystemExit:
        name = "" if ended.thread is None else ended.thread.name
        error = (ended.exc_type, ended.exc_value, ended.exc_traceback)
        logger.error("thread %s has ended", name, exc_info=error)
