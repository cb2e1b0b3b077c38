"""Waiting in a worker process, which has no clock but its loop's."""

from __future__ import annotations

import asyncio
import contextlib

__all__ = ["pause"]


async def pause(seconds: float) -> None:
    """Wait; cancelling ends the wait."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()
