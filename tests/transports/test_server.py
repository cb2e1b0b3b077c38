"""The server's life: readiness, its port, and an end in order."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import textwrap
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway import Gateway
from gateway.domain.errors import AddressUnavailable
from gateway.domain.settings import Settings
from gateway.domain.timestamps import seconds_of
from gateway.transports.server import FramesProtocol, Server, bind
from tests.transports.world import CLOCK, connected, wire, world


async def test_every_client_is_told_to_come_back_before_the_connections_end() -> None:
    """The order on the wire: drain, what the end of the work caused, then 1012."""
    at_stop: list[Any] = []

    async def before_stop() -> None:
        at_stop.append(await here.publish(type="task_finished"))

    async with world(before_stop=before_stop) as here, connected(here) as client:
        await client.result("subscribe", topics=["user:ann"])
        here.server.should_exit = True
        drain = await client.notice("drain")
        assert drain["reason"] == "shutdown"
        assert 0 < seconds_of(drain["reconnect_at"]) - CLOCK.wall() < 10
        (event,) = await client.events(1)
        assert event["offset"] == at_stop[0]
        assert (await client.closed())[0] == 1012
        await here.serving


async def test_an_end_that_hangs_is_bounded() -> None:
    async def before_stop() -> None:
        await asyncio.Event().wait()

    async with world(before_stop=before_stop, drain_grace=0.1) as here, connected(here) as client:
        here.server._stop_limit_s = 0.2  # type: ignore[attr-defined]  # our own subclass
        here.server.should_exit = True
        assert (await client.closed())[0] == 1012


async def test_an_end_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def before_stop() -> None:
        raise ZeroDivisionError

    async with world(before_stop=before_stop) as here, connected(here) as client:
        here.server.should_exit = True
        assert (await client.closed())[0] == 1012
        await here.serving
    assert "did not end cleanly" in caplog.text


async def test_a_client_that_connects_during_the_end_is_closed_with_1012() -> None:
    gate = asyncio.Event()
    async with world(before_stop=gate.wait) as here, connected(here) as client:
        here.server.should_exit = True
        await client.notice("drain")
        async with wire(here) as late:
            assert (await late.closed())[0] == 1012
        gate.set()


async def test_a_taken_port_is_told_with_a_remedy() -> None:
    listener = bind("127.0.0.1", 0)
    listener.listen()
    try:
        with pytest.raises(AddressUnavailable, match="--port"):
            bind("127.0.0.1", listener.getsockname()[1])
    finally:
        listener.close()


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:"), ("localhost", "http://localhost:")]
)
def test_the_address_is_known_before_serving(host: str, url: str) -> None:
    server = Server(Gateway(Settings()).app, Settings(), host=host, port=0)
    try:
        assert server.url == f"{url}{server.port}"
        assert server.port > 0
        # RFC 3986, 3.2.2: an IPv6 address stands in brackets.
        server.config.host = "::1"
        assert server.url == f"http://[::1]:{server.port}"
    finally:
        server._listener.close()


async def test_small_writes_go_out_at_once() -> None:
    """Nagle's algorithm would hold back every second one for 40 ms."""
    async with world() as here, connected(here):
        (follower,) = here.hub.followers
        assert isinstance(follower.sink, FramesProtocol)
        accepted = follower.sink.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_an_unknown_host_name_is_told() -> None:
    with pytest.raises(AddressUnavailable, match="cannot listen"):
        bind("no.such.name.invalid", 0)


PROGRAM = textwrap.dedent(
    """
    import asyncio, sys
    from gateway.app.clock import RandomIds, SystemClock
    from gateway.domain.settings import Settings
    from gateway.attempts.agents import Agents
    from gateway.execution.engine import Engine
    from gateway.execution.parts import Parts
    from gateway.stores.memory import MemoryLog
    from gateway.transports.application import create_app
    from gateway.transports.server import Server

    settings, clock, ids = Settings(), SystemClock(), RandomIds()
    log = MemoryLog(epoch="e", clock=clock, events_max=9, bytes_max=9999, age_max_s=99)
    engine = Engine(Parts(log=log, clock=clock, ids=ids, settings=settings, agents=Agents()))
    app = create_app(engine, settings, None, open_gateway=True)
    server = Server(app, settings, port=0)

    async def tell():
        await server.wait_ready()
        print("ready", server.url, flush=True)

    async def main():
        await asyncio.gather(server.serve(), tell())

    asyncio.run(main())
    """
)


@pytest.fixture
async def process() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly(
    process: asyncio.subprocess.Process, number: signal.Signals
) -> None:
    """uvicorn alone would end by the signal it was sent, and not with 0."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line.startswith(b"ready http://127.0.0.1:")
    process.send_signal(number)
    out, err = await process.communicate()
    assert process.returncode == 0, err
    # It says nothing by itself.
    assert (out, err) == (b"", b"")
