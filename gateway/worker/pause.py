"""A pause in a worker process, which knows no clock but that of its loop."""

from __future__ import annotations

import asyncio
import contextlib

__all__ = ["pause"]


async def pause(seconds: float) -> None:
    """Wait for so many seconds, or return at once for 0 or less; cancelling ends the wait."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()
