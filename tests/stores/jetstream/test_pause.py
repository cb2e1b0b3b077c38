"""The pause in real time: it ends, and it can be cancelled."""

from __future__ import annotations

import asyncio

import pytest

from gateway.stores.jetstream.pause import pause


@pytest.mark.parametrize("seconds", [0.0, 0.001])
async def test_a_pause_ends(seconds: float) -> None:
    await pause(seconds)


async def test_a_pause_that_is_cancelled_ends_at_once() -> None:
    waiting = asyncio.ensure_future(pause(3600.0))
    await pause(0.0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
