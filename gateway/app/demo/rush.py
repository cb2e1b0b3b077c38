"""
The rush: far more work than the gateway can do at once, so that a person sees what it does then.

Nothing is set and nothing is acted. A crowd of users asks a slow agent, a few seconds long and in
all priorities; the gateway measures its queue, degrades itself, and is well again when the queue
has been worked off.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from gateway import Gateway, Task
from gateway.app.demo.pauses import Pauses
from gateway.domain.errors import Conflict, RequestError

__all__ = ["AGENT", "ORDERS", "Rush"]

# How many tasks the crowd asks for, and how many of them at once.
ORDERS = 1500
AT_ONCE = 50
# Between two such bursts, in seconds.
BURST_S = 0.1
# No user may fill the queue alone (queue_share).
CROWD = tuple(f"crowd-{number}" for number in range(1, 11))
# The less urgent half of these is what a degraded gateway refuses.
PRIORITIES = range(1, 11)

AGENT = "clerk"
# How long the agent takes for a letter, in seconds: with 16 at once the queue lasts for a while.
LETTER_S = 1.0
LETTER = "Please put this letter where it belongs."


class Rush:
    """
    Overloads a gateway, one rush at a time.

    Args:
        gateway: The gateway; the crowd's agent is declared there.
        pauses: How long the agent takes, and how fast the crowd asks.
    """

    def __init__(self, gateway: Gateway, pauses: Pauses) -> None:
        self._gateway = gateway
        self._pause = pauses.pause
        self._is_on = False

        @gateway.agent(AGENT, timeout=30.0, features=["letters"])
        async def clerk(task: Task, question: str) -> str:
            """Put a letter into its pigeonhole, with care."""
            await pauses.pause(LETTER_S)
            return "The letter is in its place."

    async def run(self) -> dict[str, Any]:
        """
        Let the crowd ask; tell how many tasks it asked for, how many were taken, and why not more.

        Raises:
            Conflict: If a rush is on already.
        """
        if self._is_on:
            raise Conflict("the crowd is asking already")
        self._is_on = True
        try:
            answers: Counter[str] = Counter()
            for first in range(0, ORDERS, AT_ONCE):
                burst = range(first, min(first + AT_ONCE, ORDERS))
                answers.update(await asyncio.gather(*map(self._ask, burst)))
                await self._pause(BURST_S)
        finally:
            self._is_on = False
        accepted = answers.pop("accepted", 0)
        return {"asked": ORDERS, "accepted": accepted, "refused": dict(answers)}

    async def _ask(self, number: int) -> str:
        """Ask once, and never again: the code of a refusal, or ``accepted``."""
        try:
            await self._gateway.submit(
                AGENT,
                {"question": LETTER},
                user_id=CROWD[number // len(PRIORITIES) % len(CROWD)],
                priority=PRIORITIES[number % len(PRIORITIES)],
            )
        except RequestError as refused:
            return refused.code
        return "accepted"
