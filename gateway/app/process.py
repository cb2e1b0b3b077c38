"""What every command's process needs: an event loop, an end by signal, a log without secrets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

from gateway.domain.diagnostics import is_redacted, logger_of, traceback_of
from gateway.domain.redaction import redact_text

__all__ = ["log_to_stderr", "run", "until_signal"]

logger = logger_of(__name__)


def run(work: Any) -> None:
    """Run a coroutine on uvloop where it is installed, otherwise on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


async def until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` until it ends, or until SIGTERM or SIGINT cancels it; return either way."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


class _Redacted(logging.Formatter):
    """Removes secrets from every record, from tracebacks too; also from those of libraries."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if is_redacted(record) else redact_text(text)

    def formatException(self, ei: Any) -> str:
        return traceback_of(ei[1], ei[2])


def log_to_stderr(level: str) -> None:
    """
    Log to stderr, one line a record, without secrets; also what ends the process or a thread.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Redacted("%(asctime)s %(levelname)-8s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # uvicorn's lines at INFO say what our own lines say better.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # noqa: TID251 - not ours
    sys.excepthook = _say_end
    threading.excepthook = _say_thread_end


def _say_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logger.critical("the process has ended", exc_info=(kind, error, trace))


def _say_thread_end(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and ended.exc_type is not SystemExit:
        name = "" if ended.thread is None else ended.thread.name
        error = (ended.exc_type, ended.exc_value, ended.exc_traceback)
        logger.error("thread %s has ended", name, exc_info=error)
