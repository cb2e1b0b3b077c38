"""What every command's process needs: an event loop, an end by signal, a log without secrets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine
from typing import Any

from gateway.domain.redaction import redact

__all__ = ["log_to_stderr", "run", "until_signal"]


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
    """Removes secrets from every record, from tracebacks too."""

    def format(self, record: logging.LogRecord) -> str:
        return str(redact(super().format(record)))


def log_to_stderr(level: str) -> None:
    """
    Log to stderr, one line a record, without secrets.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Redacted("%(asctime)s %(levelname)-8s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # uvicorn's lines at INFO say what our own lines say better.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
