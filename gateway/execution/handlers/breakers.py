"""
The operations on breakers: list them with what each has counted up to now, open and close them.

Failure domains are listed after them, with the scope ``domain``, and slowed down and let go by the
same operations. A breaker and a domain may have one name: without a scope it is the breaker's.
Closing also lifts the hold of an upstream that has asked not to be called (Retry-After).

The counts are read at the time of the call, since old outcomes leave the window without an entry.
"""

from __future__ import annotations

from typing import Any, Literal

from gateway.domain.access import Caller
from gateway.domain.breaker import Breaker, BreakerRules
from gateway.execution.guards.audit import Audit
from gateway.execution.guards.breakers import Breakers
from gateway.execution.guards.domains import Domains
from gateway.execution.handlers.params import Handler, Params, page
from gateway.execution.record.overview import breaker_view
from gateway.execution.record.reach import Reach
from gateway.execution.record.state import State
from gateway.ports import Clock

__all__ = ["BreakerHandlers"]


class BreakerHandlers:
    """The operations ``breaker.*``."""

    def __init__(
        self,
        *,
        state: State,
        breakers: Breakers,
        domains: Domains,
        audit: Audit,
        clock: Clock,
        reach: Reach,
    ) -> None:
        self._state = state
        self._breakers = breakers
        self._domains = domains
        self._audit = audit
        self._reach = reach
        self._clock = clock
        self.by_name: dict[str, Handler] = {
            "breaker.list": self._list,
            "breaker.open": self._open,
            "breaker.close": self._close,
        }

    async def _list(self, params: Params, caller: Caller) -> Any:
        await self._reach.wait_for(params)
        listed = [*self._state.breakers.values(), *self._state.domains.values()]
        return page(listed, params, self._view)

    async def _open(self, params: Params, caller: Caller) -> Any:
        return self._view(await self._set(params, "open"))

    async def _close(self, params: Params, caller: Caller) -> Any:
        return self._view(await self._set(params, "closed"))

    async def _set(self, params: Params, wanted: Literal["open", "closed"]) -> Breaker:
        name, scope = params["name"], params.get("scope")
        if scope is None and not self._breakers.knows(name) and self._domains.knows(name):
            scope = "domain"
        if scope == "domain":
            return await self._domains.set(name, wanted)
        if wanted == "closed" and (holds := self._state.holds.of(name)):
            now = self._clock.wall()
            if any(hold.left_s(now) > 0 for hold in holds):
                await self._audit.hold_lifted(name)
            if not self._breakers.knows(name):
                return Breaker(name, "upstream", BreakerRules())
        return await self._breakers.set(name, wanted)

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
