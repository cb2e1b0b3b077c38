"""What the process of every command needs: a loop, an end by signal, a log without secrets."""

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
    """Run a coroutine on uvloop where there is one, else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


async def until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` until it ends, or until SIGTERM or SIGINT ends it: both are a good end."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


class _Redacted(logging.Formatter):
    """Takes secrets out of every line, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return str(redact(super().format(record)))


def log_to_stderr(level: str) -> None:
    """Log to stderr, one line a record, without secrets."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Redacted("%(asctime)s %(levelname)-8s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # uvicorn tells at INFO what nobody asked for; its warnings are ours, too.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
