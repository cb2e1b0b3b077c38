"""
Waiting in real time, whatever a test's clock says: the store has a time of its own.

A test that sets the clock does not make a NATS server elect its leaders any sooner.
"""

from __future__ import annotations

import asyncio

__all__ = ["pause"]


async def pause(seconds: float) -> None:
    """Wait for ``seconds`` of real time; cancelling ends the wait."""
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    await asyncio.wait((never,), timeout=seconds)
