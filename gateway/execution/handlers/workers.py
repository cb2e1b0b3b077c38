"""
The operations of workers: registration, claims, reports.

The rule: each call about a task proves first which worker makes it (``Registry.proved``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.domain import task as tasks
from gateway.domain.access import Caller
from gateway.domain.task import Task
from gateway.domain.timestamps import rfc3339
from gateway.domain.worker import Worker
from gateway.execution.handlers.params import Handler, Params, page
from gateway.execution.holders.alone import Alone
from gateway.execution.holders.claims import Claims
from gateway.execution.holders.registry import Registry
from gateway.execution.holders.reports import Reports
from gateway.execution.record.reach import Reach
from gateway.execution.record.state import State
from gateway.ports import Clock

__all__ = ["WorkerHandlers"]

# How long a worker that is asked to leave has to finish, unless ``grace`` says otherwise.
DEFAULT_GRACE_S = 30.0


class WorkerHandlers:
    """The operations ``agent.*``, and those of ``task.*`` that workers call."""

    def __init__(
        self,
        *,
        state: State,
        registry: Registry,
        claims: Claims,
        reports: Reports,
        reach: Reach,
        alone: Alone | None,
        clock: Clock,
    ) -> None:
        self._state = state
        self._registry = registry
        self._claims = claims
        self._reports = reports
        self._reach = reach
        self._alone = alone
        self._clock = clock
        self.by_name: dict[str, Handler] = {
            "agent.register": registry.register,
            "agent.heartbeat": registry.heartbeat,
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
        status, handle = params.get("status"), params.get("handle")
        workers = [
            worker
            for worker in [*self._own(), *self._state.workers.values()]
            if status in (None, worker.status) and handle in (None, worker.handle)
        ]
        # Only those that are shown are described, and the tasks are gone through once.
        held = self._registry.held()
        return page(workers, params, lambda one: self._view(one, caller, held))

    async def _get(self, params: Params, caller: Caller) -> Any:
        await self._reach.wait_for(params)
        for worker in self._own():
            if worker.agent_id == params["agent_id"]:
                return self._view(worker, caller)
        return self._registry.view(self._registry.known(params["agent_id"]), caller)

    def _own(self) -> list[Worker]:
        """This process, if it is alone on its log and has agents."""
        own = None if self._alone is None else self._alone.worker
        return [] if own is None else [own]

    def _view(
        self,
        worker: Worker,
        caller: Caller,
        held: Mapping[str, Sequence[Task]] | None = None,
    ) -> dict[str, Any]:
        view = self._registry.view(worker, caller, held)
        if self._alone is not None and worker.agent_id == self._alone.holder:
            view["last_heartbeat"] = rfc3339(self._clock.wall())  # it answers
        return view

    async def _remove(self, params: Params, caller: Caller) -> Any:
        worker = await self._registry.proved(params, caller)
        return self._registry.view(await self._registry.remove(worker.agent_id), caller)

    async def _shutdown(self, params: Params, caller: Caller) -> Any:
        grace_s = params.get("grace", DEFAULT_GRACE_S)
        return self._registry.view(self._registry.ask_to_leave(params["agent_id"], grace_s), caller)

    async def _claim(self, params: Params, caller: Caller) -> Any:
        worker = await self._registry.proved(params, caller)
        return await self._claims.claim(worker, params, session_id=caller.session_id)

    async def _beat(self, params: Params, caller: Caller) -> Any:
        return await self._reports.heartbeat(await self._registry.proved(params, caller), params)

    async def _update(self, params: Params, caller: Caller) -> Any:
        return await self._reports.update(await self._registry.proved(params, caller), params)

    async def _complete(self, params: Params, caller: Caller) -> Any:
        worker = await self._registry.proved(params, caller)
        return tasks.view(await self._reports.complete(worker, params))

    async def _fail(self, params: Params, caller: Caller) -> Any:
        worker = await self._registry.proved(params, caller)
        return tasks.view(await self._reports.fail(worker, params))

    async def _release(self, params: Params, caller: Caller) -> Any:
        worker = await self._registry.proved(params, caller)
        return tasks.view(await self._reports.release(worker, params))
