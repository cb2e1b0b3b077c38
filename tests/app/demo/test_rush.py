"""The rush: real orders to a real gateway, which degrades itself and is well again."""

from __future__ import annotations

import asyncio

import pytest

from gateway import Gateway
from gateway.app.demo.pauses import Pauses
from gateway.app.demo.rush import AGENT, ORDERS, Rush
from gateway.domain.errors import Conflict
from gateway.domain.settings import Settings
from tests.app.demo.upstreams import CLOCK
from tests.transports.world import until

PACE = 10.0
# A crowd of 1,500 orders takes seconds, and several times as long beside other tests.
BUSY_S = 40.0
# The queue alone decides: how busy this machine is does not.
SMALL = Settings(
    queue_limit=200,
    degraded_lag=0.0,
    degraded_cpu=0.0,
    degraded_memory=0.0,
    mode_period=0.1,
    drain_grace=0.1,
)


async def test_a_crowd_degrades_the_gateway_and_what_it_has_taken_is_done() -> None:
    """The mode follows from the measured queue, and so does its end."""
    gateway = Gateway(SMALL)
    rush = Rush(gateway, Pauses(CLOCK, pace=PACE))
    async with gateway.lifespan():
        state = gateway.engine.parts.state
        running = asyncio.create_task(rush.run())
        await until(lambda: state.mode.name == "degraded", within_s=BUSY_S)
        assert state.mode.reason == "overload"
        with pytest.raises(Conflict):
            await rush.run()
        told = await running
        assert set(told["refused"]) >= {"degraded_mode"}
        assert told["accepted"] + sum(told["refused"].values()) == told["asked"] == ORDERS
        await until(lambda: state.mode.name == "normal", within_s=BUSY_S)
        await until(lambda: not state.live, within_s=BUSY_S)
        assert state.tally.by_status["succeeded"] == told["accepted"]
        assert set(state.tally.by_agent()) == {AGENT}
