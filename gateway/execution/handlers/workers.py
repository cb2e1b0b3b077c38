"""The operations of workers: registration, claims, and what they report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.domain import task as tasks
from gateway.domain.access import Caller
from gateway.execution.holders.claims import Claims
from gateway.execution.holders.registry import Workers
from gateway.execution.record.reach import Reach
from gateway.execution.record.state import State
from gateway.values import offset_of

__all__ = ["WorkerHandlers"]

Params = Mapping[str, Any]

LIST_LIMIT = 100
DEFAULT_GRACE_S = 30.0


class WorkerHandlers:
    """What each operation of a worker does; every call proves who it is from."""

    def __init__(self, state: State, workers: Workers, claims: Claims, reach: Reach) -> None:
        self._state = state
        self._workers = workers
        self._claims = claims
        self._reach = reach
        self.by_name = {
            "agent.register": workers.register,
            "agent.heartbeat": workers.heartbeat,
            "agent.list": self._list,
            "agent.get": self._get,
            "agent.remove": self._remove,
            "agent.shutdown": self._shutdown,
            "task.claim": self._claim,
            "task.heartbeat": self._beat,
            "task.update": self._update,
            "task.complete": self._complete,
            "task.fail": self._fail,
            "task.release": self._release,
        }

    async def _list(self, params: Params, caller: Caller) -> Any:
        await self._reach.wait_for(params)
        items = [
            self._workers.view(worker, caller)
            for worker in self._state.workers.values()
            if params.get("status", worker.status) == worker.status
            and params.get("handle", worker.handle) == worker.handle
        ]
        start = offset_of(params.get("cursor"), field="cursor") or 0
        end = start + params.get("limit", LIST_LIMIT)
        return {"items": items[start:end], "next": str(end) if end < len(items) else None}

    async def _get(self, params: Params, caller: Caller) -> Any:
        await self._reach.wait_for(params)
        return self._workers.view(self._workers.known(params["agent_id"]), caller)

    async def _remove(self, params: Params, caller: Caller) -> Any:
        worker = await self._workers.proved(params, caller)
        return self._workers.view(await self._workers.remove(worker.agent_id), caller)

    async def _shutdown(self, params: Params, caller: Caller) -> Any:
        grace_s = params.get("grace", DEFAULT_GRACE_S)
        return self._workers.view(self._workers.ask_to_leave(params["agent_id"], grace_s), caller)

    async def _claim(self, params: Params, caller: Caller) -> Any:
        worker = await self._workers.proved(params, caller)
        return await self._claims.claim(worker, params, session_id=caller.session_id)

    async def _beat(self, params: Params, caller: Caller) -> Any:
        return await self._claims.heartbeat(await self._workers.proved(params, caller), params)

    async def _update(self, params: Params, caller: Caller) -> Any:
        return await self._claims.update(await self._workers.proved(params, caller), params)

    async def _complete(self, params: Params, caller: Caller) -> Any:
        worker = await self._workers.proved(params, caller)
        return tasks.view(await self._claims.complete(worker, params))

    async def _fail(self, params: Params, caller: Caller) -> Any:
        worker = await self._workers.proved(params, caller)
        return tasks.view(await self._claims.fail(worker, params))

    async def _release(self, params: Params, caller: Caller) -> Any:
        worker = await self._workers.proved(params, caller)
        return tasks.view(await self._claims.release(worker, params))
