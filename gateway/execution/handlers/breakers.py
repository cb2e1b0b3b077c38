"""
The operation on breakers: list them, with what each has counted up to now.

The counts are read at the time of the call, since old outcomes leave the window without an entry.
"""

from __future__ import annotations

from typing import Any

from gateway.domain.access import Caller
from gateway.execution.handlers.params import Handler, Params, page
from gateway.execution.record.overview import breaker_view
from gateway.execution.record.reach import Reach
from gateway.execution.record.state import State
from gateway.ports import Clock

__all__ = ["BreakerHandlers"]


class BreakerHandlers:
    """The operation ``breaker.list``."""

    def __init__(self, *, state: State, clock: Clock, reach: Reach) -> None:
        self._state = state
        self._reach = reach
        self._clock = clock
        self.by_name: dict[str, Handler] = {"breaker.list": self._list}

    async def _list(self, params: Params, caller: Caller) -> Any:
        await self._reach.wait_for(params)
        now = self._clock.wall()
        items = []
        for breaker in self._state.breakers.values():
            outcomes, failures = breaker.window.counts(now)
            items.append(
                breaker_view(breaker)
                | {
                    "failure_rate": round(breaker.failure_rate(now), 3),
                    "consecutive_failures": breaker.consecutive,
                    "outcomes": outcomes,
                    "failures": failures,
                    "permits_in_use": len(breaker.probes),
                }
            )
        return page(items, params)
