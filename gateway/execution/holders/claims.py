"""
Claims: how workers take tasks, the longest waiting claim first.

The rule: nothing is taken for a worker that cannot be told of it. A claim whose worker has gone,
or has reconnected, takes nothing; an attempt that began for one that is gone is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from gateway.domain.errors import (
    Conflict,
    ExpectationFailed,
    NotFound,
    RequestError,
    StaleTerm,
)
from gateway.domain.queue import routes_of
from gateway.domain.task import Task
from gateway.domain.timestamps import rfc3339
from gateway.domain.worker import Worker
from gateway.execution.guards.breakers import Breakers, Refusal
from gateway.execution.holders.bell import Bell
from gateway.execution.holders.leases import Leases
from gateway.execution.holders.presence import Presence
from gateway.execution.record.policies import Policies
from gateway.execution.record.state import State
from gateway.execution.tasks.lifecycle import Lifecycle
from gateway.ports import Clock

__all__ = ["Claims"]

Params = Mapping[str, Any]
# Tells, at the moment of the call, whether a worker can be told what it is given.
There = Callable[[], bool]

# Tasks that one claim looks at; other holders may take the first ones meanwhile.
LOOK_AT_MAX = 16


class Claims:
    """
    Gives tasks to workers.

    Args:
        lifecycle: Begins the attempts.
        leases: Renews the lease of a claim that is repeated, and takes back what is not heard.
        breakers: Choose how an attempt is made.
        presence: Tells whether a worker can be told what it is given.
        bell: Wakes the claims that wait.
    """

    def __init__(
        self,
        *,
        state: State,
        lifecycle: Lifecycle,
        leases: Leases,
        breakers: Breakers,
        policies: Policies,
        presence: Presence,
        clock: Clock,
        bell: Bell,
    ) -> None:
        self._state = state
        self._lifecycle = lifecycle
        self._leases = leases
        self._breakers = breakers
        self._policies = policies
        self._presence = presence
        self._clock = clock
        bell.hear(self.wake)
        # The claims that wait, in the order in which they came; the values mean nothing.
        self._news: dict[asyncio.Event, None] = {}
        # One claim takes at a time, so that a worker that asks twice finds what its first took.
        self._turn = asyncio.Lock()
        self._paused = False

    def wake(self) -> None:
        """Let the claims that wait look again."""
        for woken in self._news:
            woken.set()

    def pause(self) -> None:
        """Give nothing more; attempts that run go on."""
        self._paused = True

    def resume(self) -> None:
        """Give again, on the loop that runs now."""
        self._turn = asyncio.Lock()  # a lock belongs to the loop on which it was waited for
        self._paused = False
        self.wake()

    # --- taking -----------------------------------------------------------------------------

    async def claim(
        self, worker: Worker, params: Params, *, session_id: str | None
    ) -> dict[str, Any] | None:
        """
        Take the most urgent task that the worker can do, or the one that it names.

        Cancelling takes nothing: an attempt that has begun by then is given back.

        Args:
            worker: Has proved itself.
            params: Of ``task.claim``: ``task_id``, ``wait`` and ``lease_ttl`` in seconds.
            session_id: The connection over which it asks; None: it asks over HTTP.

        Returns:
            The claim; None: there was no task within ``wait``.

        Raises:
            NotFound: If there is no such task.
            Conflict: If it cannot be taken: another worker holds it, it has ended, it waits for
                its next attempt, or it is not for this worker's agents.
        """
        ttl_s = float(params.get("lease_ttl", self._leases.ttl_s))
        there = self._presence.there(worker.agent_id, session_id)
        if "task_id" in params:
            async with self._turn:
                return await self._take_one(worker, params["task_id"], ttl_s, there)
        woken = asyncio.Event()
        self._news[woken] = None
        until = self._clock.monotonic() + params.get("wait", 0)
        try:
            while True:
                woken.clear()
                async with self._turn:
                    claim = await self._take_next(worker.agent_id, ttl_s, there)
                    if claim is not None:
                        return claim
                left_s = until - self._clock.monotonic()
                if left_s <= 0:
                    return None
                # Only the waiting has a limit: the worker is told of each attempt that begins.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await woken.wait()
        finally:
            del self._news[woken]

    async def _take_next(self, agent_id: str, ttl_s: float, there: There) -> dict[str, Any] | None:
        # Read again: a worker that has registered again meanwhile has another record.
        worker = self._state.workers.get(agent_id)
        if self._paused or worker is None or not worker.takes_work or not there():
            return None
        ready = self._state.queue.ready(
            routes_of(list(worker.agents), worker.capabilities),
            self._clock.wall(),
            fits=lambda task: not self._refused(worker, task),
            limit=LOOK_AT_MAX,
        )
        for task in ready:
            try:
                if (term := await self._start(worker, task, ttl_s, there)) is not None:
                    return self._claim_of(task, term)
            except (ExpectationFailed, Conflict):
                continue
            if not there():
                break
        return None

    def _refused(self, worker: Worker, task: Task) -> bool:
        name = task.agent_name or next(iter(worker.agents))
        stand_in = worker.agents[name].fallback if name in worker.agents else None
        return self._breakers.refuses(task, self._policies.of(name), stand_in=stand_in)

    async def _take_one(
        self, worker: Worker, task_id: str, ttl_s: float, there: There
    ) -> dict[str, Any]:
        task = self._state.tasks.get(task_id)
        if task is None:
            raise NotFound(f"there is no task {task_id}", field="task_id")
        if task.holder == worker.agent_id:
            # The worker asks twice: it gets the same claim, with a fresh lease.
            term = task.term
            return self._claim_of(await self._leases.renew(task_id, term, ttl_s=ttl_s), term)
        if self._paused:
            raise Conflict(f"task {task_id} cannot begin: this gateway stops", retry_after=1.0)
        if not worker.can_do(task.agent_name, task.capability):
            raise Conflict(f"task {task_id} is not for this worker's agents", field="task_id")
        if task.status == "running" or (task.live and task.reserved_for is not None):
            raise Conflict(f"task {task_id} is held by another worker", code="task_claimed")
        if not task.live:
            raise Conflict(f"task {task_id} has ended: {task.status}")
        wait_s = (task.next_attempt_at or 0.0) - self._clock.wall()
        if wait_s > 0:
            raise Conflict(f"task {task_id} waits for its next attempt", retry_after=wait_s)
        try:
            begun = await self._start(worker, task, ttl_s, there)
        except ExpectationFailed as error:
            raise Conflict(
                f"task {task_id} was taken by another worker", code="task_claimed"
            ) from error
        if begun is None:
            raise Conflict(f"task {task_id} is held back by its breaker", retry_after=1.0)
        return self._claim_of(task, begun)

    async def _start(self, worker: Worker, task: Task, ttl_s: float, there: There) -> int | None:
        """
        Begin an attempt, and give its term; None: the breaker refuses, or the worker has gone.
        """
        name = task.agent_name or next(iter(worker.agents))
        policy = self._policies.of(name)
        stand_in = worker.agents[name].fallback if name in worker.agents else None
        way = self._breakers.way(task, policy, stand_in=stand_in)
        if isinstance(way, Refusal):
            return None

        async def begin() -> int:
            return await self._lifecycle.start(
                task.task_id,
                holder=worker.agent_id,
                limit_s=policy.timeout_s,
                way=way,
                agent_name=name,
                lease_ttl_s=ttl_s,
            )

        starting = asyncio.ensure_future(begin())
        try:
            term = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The start may be in the log by now: wait for its answer, and give it back.
            with contextlib.suppress(RequestError, ExpectationFailed):
                await self._leases.release(task.task_id, await starting)
            raise
        if not there():
            # The worker would never hear of it, and only the lease's end would free the task.
            with contextlib.suppress(StaleTerm):
                await self._leases.release(task.task_id, term)
            return None
        return term

    def _claim_of(self, task: Task, term: int) -> dict[str, Any]:
        """
        Describe to a worker what it is given under ``term``.

        Raises:
            Conflict: If the worker has lost the task already: it was cancelled, its lease ran
                out, or another worker holds it.
        """
        if task.term != term or task.lease_expires_at is None:
            raise Conflict(f"task {task.task_id} was taken away again", code="task_claimed")
        kept = task.preserved.kept()
        return {
            "task_id": task.task_id,
            "agent_id": task.holder,
            "agent_name": task.agent_name,
            "user_id": task.user_id,
            "term": task.term,
            "attempt": task.attempt,
            "max_attempts": task.max_attempts,
            "mode": task.mode,
            "state": "active",
            "limit": self._policies.of_task(task).timeout_s,
            "lease_expires_at": rfc3339(task.lease_expires_at),
            "input": task.input,
            "preserved": {"steps": dict(kept.steps), "text": kept.text},
            "piece": task.piece,
        }
