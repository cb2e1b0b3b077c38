"""The agents of the scenarios, and one that needs what another task gives."""

from __future__ import annotations

import httpx2

from gateway import Task
from gateway.app.clock import SystemClock
from gateway.errors import NotRetryable
from tests.scenarios.agents import gateway

__all__ = ["gateway"]

CLOCK = SystemClock()


@gateway.agent("follower", timeout=20, max_attempts=1)
async def follow(task: Task, url: str) -> str:
    """Wait for the task at an address, and give its result."""
    async with httpx2.AsyncClient() as http:
        while True:
            above = (await http.get(url)).json()
            if above["status"] == "succeeded":
                return f"after {above['result']}"
            if above["finished_at"] is not None:
                raise NotRetryable("what it needs has failed")
            await CLOCK.sleep(0.02)
