"""Signals between the parts of one node: the contract."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from gateway.ports import Pulse
from gateway.stores.pulse import LocalPulse
from tests.stores.contract_pulse import PulseContract


class TestLocalPulse(PulseContract):
    """Everything that the port promises."""

    @contextlib.asynccontextmanager
    async def open_pulse(self) -> AsyncIterator[Pulse]:
        yield LocalPulse()

    async def test_a_signal_is_heard_before_publishing_returns(self) -> None:
        pulse = LocalPulse()
        heard: list[tuple[str, bytes]] = []
        pulse.follow(lambda subject, body: heard.append((subject, body)))
        await pulse.publish("worker/1", b"beat")
        assert heard == [("worker/1", b"beat")]
