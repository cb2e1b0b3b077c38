"""Signals between nodes over NATS: the contract, and what a store adds."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from gateway.ports import Pulse
from tests.nats import NatsServer, nats_server
from tests.stores.contract_pulse import PulseContract
from tests.stores.jetstream.world import jetstream_log, new_stream, until


class TestNatsPulse(PulseContract):
    """Everything that the port promises."""

    @pytest.fixture(autouse=True)
    def _server(self, server: NatsServer) -> None:
        self.server = server

    @contextlib.asynccontextmanager
    async def open_pulse(self) -> AsyncIterator[Pulse]:
        async with jetstream_log(self.server.url, start=False) as log:
            yield log.pulse


async def test_a_pulse_reaches_every_node_and_is_not_in_the_log(server: NatsServer) -> None:
    stream = new_stream()
    async with (
        jetstream_log(server.url, stream=stream) as one,
        jetstream_log(server.url, stream=stream) as two,
        jetstream_log(server.url) as other,
    ):
        heard: dict[str, list[bytes]] = {"one": [], "two": [], "other": []}
        one.pulse.follow(lambda subject, body: heard["one"].append(body))
        two.pulse.follow(lambda subject, body: heard["two"].append(body))
        other.pulse.follow(lambda subject, body: heard["other"].append(body))
        for number in range(3):
            await one.pulse.publish("x", b"%d" % number)
        await until(lambda: heard["one"] == heard["two"] == [b"0", b"1", b"2"])
        assert heard["other"] == []
        assert one.head == 0


async def test_a_pulse_while_the_store_is_away_is_lost_and_the_next_one_heard() -> None:
    async with nats_server() as server, jetstream_log(server.url) as log:
        heard: list[bytes] = []
        log.pulse.follow(lambda subject, body: heard.append(body))
        server.kill()
        await until(lambda: not log.available)
        await log.pulse.publish("x", b"lost")
        await server.start()
        await until(lambda: log.available)
        await log.pulse.publish("x", b"heard")
        await until(lambda: heard)
        assert heard == [b"heard"]


async def test_a_hearer_that_raises_is_logged_and_hears_the_next_signal(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with jetstream_log(server.url, start=False) as log:
        heard: list[str] = []

        def hear(subject: str, body: bytes) -> None:
            heard.append(subject)
            if subject == "first":
                raise RuntimeError("a mistake")

        log.pulse.follow(hear)
        await log.pulse.publish("first", b"")
        await log.pulse.publish("second", b"")
        await until(lambda: heard == ["first", "second"])
        assert "a mistake" in caplog.text
