"""Pauses: divided by the pace, measured by the clock they are given."""

from __future__ import annotations

import pytest

from gateway.app.demo.pauses import Pauses


class NotingClock:
    """Notes how long it was asked to sleep, and does not."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def wall(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


async def test_every_pause_is_divided_by_the_pace() -> None:
    clock = NotingClock()
    await Pauses(clock).pause(3.0)
    await Pauses(clock, pace=4.0).pause(3.0)
    assert clock.slept == [3.0, 0.75]


@pytest.mark.parametrize("pace", [0.0, -1.0])
def test_a_pace_is_over_zero(pace: float) -> None:
    with pytest.raises(AssertionError):
        Pauses(NotingClock(), pace=pace)
