"""The proxy that fails on purpose does not fail by accident."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway.app.clock import SystemClock
from tests.scenarios.proxy import Proxy
from tests.transports.world import until

pytestmark = pytest.mark.own_store


async def test_a_connection_that_was_cut_may_be_cut_again() -> None:
    """Between two rounds of the loop a socket is closed and its connection not yet forgotten."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()[1]) as proxy:
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        await until(lambda: len(proxy._writers) == 2)
        proxy.cut()
        while proxy._writers:
            await SystemClock().sleep(0)
            proxy.cut()
        writer.close()
