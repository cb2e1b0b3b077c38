"""A pause lasts as long as it says, on the loop's own clock."""

from __future__ import annotations

import asyncio

import pytest

from gateway.worker.pause import pause
from tests.execution.world import VirtualLoop


@pytest.mark.parametrize(("seconds", "passed"), [(-1.0, 0.0), (0.0, 0.0), (0.25, 0.25), (90, 90)])
def test_a_pause_lasts_so_many_seconds(seconds: float, passed: float) -> None:
    async def wait() -> float:
        before = asyncio.get_running_loop().time()
        await pause(seconds)
        return asyncio.get_running_loop().time() - before

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(wait()) == pytest.approx(passed)


async def test_cancelling_ends_a_pause() -> None:
    pausing = asyncio.ensure_future(pause(1000))
    pausing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pausing
