"""
The operations on breakers: list them with what each has counted up to now, open and close them.

The counts are read at the time of the call, since old outcomes leave the window without an entry.
"""

from __future__ import annotations

from typing import Any

from gateway.domain.access import Caller
from gateway.domain.breaker import Breaker
from gateway.execution.guards.breakers import Breakers
from gateway.execution.handlers.params import Handler, Params, page
from gateway.execution.record.overview import breaker_view
from gateway.execution.record.reach import Reach
from gateway.execution.record.state import State
from gateway.ports import Clock

__all__ = ["BreakerHandlers"]


class BreakerHandlers:
    """The operations ``breaker.*``."""

    def __init__(self, *, state: State, breakers: Breakers, clock: Clock, reach: Reach) -> None:
        self._state = state
        self._breakers = breakers
        self._reach = reach
        self._clock = clock
        self.by_name: dict[str, Handler] = {
            "breaker.list": self._list,
            "breaker.open": self._open,
            "breaker.close": self._close,
        }

    async def _list(self, params: Params, caller: Caller) -> Any:
        await self._reach.wait_for(params)
        return page(list(self._state.breakers.values()), params, self._view)

    async def _open(self, params: Params, caller: Caller) -> Any:
        return self._view(await self._breakers.set(params["name"], "open"))

    async def _close(self, params: Params, caller: Caller) -> Any:
        return self._view(await self._breakers.set(params["name"], "closed"))

    def _view(self, breaker: Breaker) -> dict[str, Any]:
        now = self._clock.wall()
        outcomes, failures = breaker.window.counts(now)
        return breaker_view(breaker) | {
            "failure_rate": round(breaker.failure_rate(now), 3),
            "consecutive_failures": breaker.consecutive,
            "outcomes": outcomes,
            "failures": failures,
            "permits_in_use": len(breaker.probes),
            "estimated_recovery_time": (
                round(breaker.retry_after_s(now), 3) if breaker.state == "open" else None
            ),
        }
