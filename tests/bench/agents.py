"""Agents to measure with: one that fails at once and says when, one that waits to be killed."""

from __future__ import annotations

import asyncio
import time

from gateway import Gateway, Task
from gateway.errors import InvalidInput

gateway = Gateway()


@gateway.agent("failing", max_attempts=1)
async def fail(task: Task) -> None:
    """Fail; an invalid input is no outcome to a breaker, so that none opens."""
    # CLOCK_MONOTONIC is one for all processes of a machine.
    task.append(str(time.monotonic_ns()))
    raise InvalidInput("for the benchmark")


@gateway.agent("waiting", timeout=60)
async def wait(task: Task) -> None:
    """Leave a piece, and do nothing until something ends it."""
    task.append("begun")
    await asyncio.Event().wait()
