"""An upstream of the demonstration in this process, as fast as it can be."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

from gateway.app.clock import SystemClock
from gateway.app.demo.faults import Plan
from gateway.app.demo.pauses import Pauses
from gateway.app.demo.upstream import Upstream
from tests.transports.world import hurried

CLOCK = SystemClock()
PACE = 500.0


@contextlib.asynccontextmanager
async def upstream(schedules: Mapping[str, Sequence[str]]) -> AsyncIterator[Upstream]:
    """Serve with these schedules; the plan is ``upstream.plan``."""
    server = Upstream(Plan(schedules), CLOCK, Pauses(CLOCK, pace=PACE))
    with hurried():
        async with server.running():
            yield server
