"""Timers: what is due is done, whatever goes wrong with it or with others."""

from __future__ import annotations

import pytest

from gateway.domain.errors import Unavailable
from tests.execution.world import World


@pytest.mark.parametrize(
    ("error", "again_s"),
    [(Unavailable("the store is away", retry_after=2.0), 2.0), (RuntimeError("a mistake"), 30.0)],
)
async def test_an_action_that_fails_is_called_again_and_stops_no_other(
    here: World, error: Exception, again_s: float
) -> None:
    """A task must not be without its deadline because of one bad moment."""
    clock = here.engine.clock
    began = clock.wall()
    called: list[tuple[str, float]] = []

    async def fails_once() -> None:
        called.append(("fails once", round(clock.wall() - began, 3)))
        if len(called) == 1:
            raise error

    async def other() -> None:
        called.append(("other", round(clock.wall() - began, 3)))

    here.engine.parts.monitor.at(began + 1, fails_once)
    here.engine.parts.monitor.at(began + 1, other)
    await here.passing(60)
    assert called == [("fails once", 1.0), ("other", 1.0), ("fails once", 1.0 + again_s)]
