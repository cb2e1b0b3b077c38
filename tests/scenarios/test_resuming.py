"""Cut off in the middle of failures: a browser resumes, and has every event exactly once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.app.clock import SystemClock
from gateway.client.connection import Connection
from tests.scenarios.harness import browser, gateway_process
from tests.scenarios.proxy import Proxy
from tests.soak import times
from tests.upstream import Upstream

CUTS = 20


@pytest.mark.requirement("WS-18")
async def test_a_browser_cut_off_twenty_times_has_every_event_exactly_once() -> None:
    """Compared with the log, as an operator that was never cut off reads it."""
    async with (
        Upstream() as upstream,
        gateway_process(
            upstream=upstream.url,
            retry_base=0.02,
            retry_max=0.05,
            # Open only when twenty in a row fail, which is rare enough with a third of them fine:
            # what is resumed here is a long stream of failures.
            breaker_threshold=1000,
            breaker_rate=1,
        ) as gateway,
        Proxy(gateway.port) as proxy,
        browser(gateway.url) as operator,
    ):
        upstream.schedule(
            *["500", "fine", "429_ra0", "s_drop", "fine", "reset_before"] * 400, "fine"
        )
        received: list[dict[str, Any]] = []
        news = asyncio.Event()
        connection = Connection(
            f"ws://127.0.0.1:{proxy.port}/ws",
            user_id="42",
            topics=["user:42"],
            chance=lambda: 0.05,
        )
        rounds = times(1, 5)

        async def receive() -> None:
            async for event in connection:
                received.append(event)
                news.set()

        async with connection:
            receiving = asyncio.create_task(receive())
            tasks: list[str] = []
            for cuts in range(rounds * CUTS):
                tasks += [
                    (await gateway.task(agent, user_id="42"))["task_id"]
                    for agent in ("asker", "streamer", "careful")
                ]
                seen = len(received)
                async with asyncio.timeout(10):
                    # Not while it is still on its way back: then nothing would be cut.
                    while len(received) <= seen or proxy.connections <= cuts:
                        news.clear()
                        await news.wait()
                proxy.cut()
            for task_id in tasks:
                await operator.finished(task_id, within_s=30)
            expected = [event["offset"] for event in operator.events if event["user_id"] == "42"]
            async with asyncio.timeout(20):
                while not received or received[-1]["offset"] < expected[-1]:
                    news.clear()
                    await news.wait()
                while proxy.connections <= rounds * CUTS:
                    await SystemClock().sleep(0.01)
            receiving.cancel()
        assert proxy.connections > rounds * CUTS
        assert [event["offset"] for event in received] == expected
        assert len([event for event in received if event["type"] == "agent_error"]) > CUTS
