"""Agents that use up what the gateway's own process has: its loop, and a processor."""

from __future__ import annotations

import time

from gateway import Gateway, Task

gateway = Gateway()


@gateway.agent("blocker", timeout=60, features=["blocking"])
async def blocker(task: Task, seconds: float) -> str:
    """Hold the event loop."""
    time.sleep(seconds)  # noqa: ASYNC251 - that is the fault
    return "held"


@gateway.agent("burner", timeout=60)
def burner(task: Task, seconds: float) -> str:
    """Burn a processor in a thread."""
    until = time.monotonic() + seconds  # noqa: TID251 - an agent's own affair
    while time.monotonic() < until:  # noqa: TID251
        sum(range(1000))
    return "burnt"
