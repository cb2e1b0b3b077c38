"""How late a loop is, in time that the test owns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.worker.loop_lag import LOOK_EVERY_S, LoopLag
from gateway.worker.pause import pause
from tests.execution.world import VirtualLoop


def in_virtual_time(case: Callable[[VirtualLoop], Awaitable[None]]) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        await case(loop)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())


def test_a_loop_that_only_waits_is_not_late() -> None:
    async def case(loop: VirtualLoop) -> None:
        lag = LoopLag()
        lag.start()
        await pause(10)
        assert lag.take() == 0.0
        lag.stop()

    in_virtual_time(case)


def test_the_longest_blockage_since_the_last_question_counts() -> None:
    async def case(loop: VirtualLoop) -> None:
        lag = LoopLag()
        lag.start()
        for blocked_s in (1.0, 3.0, 2.0):
            # Between two looks, and right at the next one.
            loop.selector.now += blocked_s
            await pause(LOOK_EVERY_S * 2)
        assert lag.take() == pytest.approx(3.0 - LOOK_EVERY_S, abs=LOOK_EVERY_S)
        assert lag.take() == 0.0
        lag.stop()

    in_virtual_time(case)


def test_a_blockage_shorter_than_a_look_may_go_unseen() -> None:
    async def case(loop: VirtualLoop) -> None:
        lag = LoopLag()
        lag.start()
        loop.selector.now += LOOK_EVERY_S
        await pause(1)
        assert lag.take() == 0.0
        lag.stop()

    in_virtual_time(case)


def test_after_its_stop_nothing_is_measured() -> None:
    async def case(loop: VirtualLoop) -> None:
        lag = LoopLag()
        lag.stop()  # before its start, too
        lag.start()
        lag.stop()
        lag.stop()
        loop.selector.now += 5
        await pause(1)
        assert lag.take() == 0.0

    in_virtual_time(case)
