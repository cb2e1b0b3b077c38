"""Agents to measure with: one fails at once, one is done at once or after a while, one waits."""

from __future__ import annotations

import asyncio
import random
import time

from gateway import Gateway, Task
from gateway.app.clock import SystemClock
from gateway.errors import InvalidInput

gateway = Gateway()


@gateway.agent("failing", max_attempts=1)
async def fail(task: Task) -> None:
    """Fail; an invalid input is no outcome to a breaker, so that none opens."""
    # CLOCK_MONOTONIC is one for all processes of a machine.
    task.append(str(time.monotonic_ns()))
    raise InvalidInput("for the benchmark")


@gateway.agent("done")
async def done(task: Task, question: str) -> str:
    """Answer at once."""
    return question


@gateway.agent("waiting", timeout=60)
async def wait(task: Task) -> None:
    """Leave a piece, and do nothing until something ends it."""
    task.append("begun")
    await asyncio.Event().wait()


@gateway.agent("brief", timeout=60, max_attempts=100)
async def brief(task: Task) -> None:
    """Take one to five seconds: of many that begin together few end together."""
    await SystemClock().sleep(random.uniform(1.0, 5.0))
