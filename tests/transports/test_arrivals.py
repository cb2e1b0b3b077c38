"""Connections that wait for their clients: when their time is up, and when they are looked at."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.transports.raw_client import raw, request
from tests.transports.world import CLOCK, until, world

HEALTH = "GET /health"
# A request's time, in seconds.
BRIEF_S = 0.3


async def test_a_silent_connection_is_closed_without_a_word() -> None:
    async with world(head_timeout=BRIEF_S) as here, raw(here) as client:
        assert await client.ended() == b""
        await until(lambda: here.limits.places.taken == 0)


async def test_an_idle_connection_is_closed_when_its_own_time_is_up() -> None:
    async with world(head_timeout=BRIEF_S) as here:
        here.server.config.timeout_keep_alive = 1
        async with raw(here) as client:
            asked_at = CLOCK.monotonic()
            await client.send(request(here, HEALTH))
            assert (await client.answer()).status == 200
            assert await client.ended() == b""
            assert CLOCK.monotonic() - asked_at >= 1


async def test_a_request_that_is_answered_now_is_not_looked_after() -> None:
    """The time is ours then. The looks end with the last connection."""
    gate = asyncio.Event()

    async def slow(*args: Any) -> dict[str, Any]:
        await gate.wait()
        return {}

    async with world(head_timeout=BRIEF_S) as here:
        here.engine.script = slow
        async with raw(here) as client:
            await client.send(request(here, "GET /api/tasks"))
            await until(lambda: len(here.server.server_state.tasks) == 1)
            (protocol,) = here.server.server_state.connections
            arrivals = protocol._arrivals  # type: ignore[union-attr]
            assert len(arrivals) == 0
            gate.set()
            await client.answer()
            assert len(arrivals) == 1
        await until(lambda: arrivals._timer is None)
