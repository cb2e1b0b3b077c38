"""The operations on locks."""

from __future__ import annotations

from typing import Any

from gateway.domain import lock as locks
from gateway.domain.access import Caller
from gateway.execution.handlers.params import Handler, Params
from gateway.execution.holders.locks import Locks

__all__ = ["LockHandlers"]

TTL_S = 60.0


class LockHandlers:
    """What each operation on a lock does."""

    def __init__(self, locks: Locks) -> None:
        self._locks = locks
        self.by_name: dict[str, Handler] = {
            "lock.acquire": self._acquire,
            "lock.renew": self._renew,
            "lock.release": self._release,
        }

    async def _acquire(self, params: Params, caller: Caller) -> Any:
        lock, renewed = await self._locks.acquire(
            params["resource_key"], params["holder"], params.get("ttl", TTL_S), caller
        )
        return locks.view(lock, renewed=renewed)

    async def _renew(self, params: Params, caller: Caller) -> Any:
        lock = await self._locks.renew(
            params["lock_id"], params["holder"], params["term"], params.get("ttl", TTL_S), caller
        )
        return locks.view(lock, renewed=True)

    async def _release(self, params: Params, caller: Caller) -> Any:
        lock = await self._locks.release(
            params["lock_id"], params["holder"], params["term"], caller
        )
        return locks.view(lock)
