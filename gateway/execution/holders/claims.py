"""
Claims: how workers take tasks, the longest waiting claim first.

Two rules. Nothing is taken for a worker that cannot be told of it: a claim whose worker has gone,
or has reconnected, takes nothing; an attempt that began for one that is gone is given back. And a
claim that asks for a lock takes it with the task, in one append: a refused claim leaves neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Coroutine, Hashable, Mapping
from typing import Any

from gateway.domain.attempt import to_be_alone
from gateway.domain.errors import (
    Conflict,
    ExpectationFailed,
    NotFound,
    RequestError,
    StaleTerm,
    Unavailable,
)
from gateway.domain.lock import Lock
from gateway.domain.queue import routes_of
from gateway.domain.task import Task
from gateway.domain.timestamps import rfc3339
from gateway.domain.worker import Worker
from gateway.execution.guards.breakers import Breakers, Refusal
from gateway.execution.guards.domains import Domains
from gateway.execution.guards.health import Health
from gateway.execution.holders.bell import Bell
from gateway.execution.holders.leases import Leases
from gateway.execution.holders.left_threads import LeftThreads
from gateway.execution.holders.line import Line
from gateway.execution.holders.locks import Locks
from gateway.execution.holders.presence import Presence
from gateway.execution.holders.suspects import Suspects
from gateway.execution.record.intake import RACES_MAX, Decision
from gateway.execution.record.policies import Policies
from gateway.execution.record.state import State
from gateway.execution.tasks.lifecycle import Lifecycle
from gateway.ports import Clock

__all__ = ["Claims"]

Params = Mapping[str, Any]
# Tells, at the moment of the call, whether a worker can be told what it is given.
There = Callable[[], bool]

# Tasks that one claim tries; other holders may take the first ones meanwhile.
TRIES_MAX = 16
# When a named task that is held back may be asked for again, where nothing says when, in seconds.
RETRY_S = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class _Ask:
    """
    What a claim asks for.

    Attributes:
        there: Tells whether its worker can be told what it is given.
        ttl_s: Length of the lease in seconds.
        resource_key: What is to be locked with the task; None: nothing.
    """

    agent_id: str
    there: There
    ttl_s: float
    resource_key: str | None


class Claims:
    """
    Gives tasks to workers.

    More than eight arguments, since tasks, workers, breakers and locks meet in a claim.

    Args:
        lifecycle: Begins the attempts.
        leases: Renews the lease of a claim that is repeated, and takes back what is not heard.
        breakers: Choose how an attempt is made.
        health: Says whether a worker may take one more task.
        domains: Say whether it may take it now.
        presence: Tells whether a worker can be told what it is given.
        locks: Give the lock that a claim asks for.
        left_threads: Tell which task's last attempt still runs.
        bell: Wakes the claims that wait.
        at_once: Whether the log takes entries at once; see ``EventLog.takes_at_once``.
    """

    def __init__(
        self,
        *,
        state: State,
        lifecycle: Lifecycle,
        leases: Leases,
        breakers: Breakers,
        health: Health,
        domains: Domains,
        policies: Policies,
        presence: Presence,
        locks: Locks,
        left_threads: LeftThreads,
        clock: Clock,
        bell: Bell,
        at_once: bool,
    ) -> None:
        self._state = state
        self._lifecycle = lifecycle
        self._leases = leases
        self._breakers = breakers
        self._health = health
        self._domains = domains
        self._policies = policies
        self._presence = presence
        self._locks = locks
        self._left_threads = left_threads
        self._clock = clock
        self._at_once = at_once
        bell.hear(self.wake)
        self._line = Line()
        # One claim takes at a time, so that a worker that asks twice finds what its first took.
        self._turn = asyncio.Lock()
        self._paused = False

    @property
    def waiting(self) -> int:
        """How many claims wait, those that look now included."""
        return len(self._line)

    @property
    def looks(self) -> int:
        """How often a claim has looked for a task."""
        return self._line.looks

    def wake(self) -> None:
        """Let the claims that wait look again, the longest waiting first."""
        self._line.news()

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
            params: Of ``task.claim``: ``task_id``, ``resource_key``, ``wait`` and ``lease_ttl`` in
                seconds.
            session_id: The connection over which it asks; None: it asks over HTTP.

        Returns:
            The claim; None: there was no task within ``wait``.

        Raises:
            NotFound: If there is no such task.
            Conflict: If it cannot be taken: another worker holds it, it has ended, it waits for
                its next attempt, it is not for this worker's agents, or the worker's domain is
                slowed down.
            LockHeld: If another holder has the lock that it asks for, still at the end of ``wait``.
            Rejected: If it names a task, and is quarantined or has one while it is on trial.
        """
        ask = _Ask(
            agent_id=worker.agent_id,
            there=self._presence.there(worker.agent_id, session_id),
            ttl_s=float(params.get("lease_ttl", self._leases.ttl_s)),
            resource_key=params.get("resource_key"),
        )
        if "task_id" in params:
            async with self._turn:
                return await self._take_one(worker, params["task_id"], ask)
        until = self._clock.monotonic() + params.get("wait", 0)
        with self._line.place(_kind(worker, ask)) as place:
            await place.called.wait()
            while True:
                news = self._line.look(place)
                async with self._turn:
                    claim, for_all = await self._take_next(ask, place.kind)
                    if claim is not None:
                        return claim
                self._line.found_nothing(place, news, for_all=for_all)
                # Only the waiting has a limit: the worker is told of each attempt that begins.
                left_s = until - self._clock.monotonic()
                if left_s <= 0:
                    break
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await place.called.wait()
                if not place.called.is_set():
                    break
        if ask.resource_key is not None:
            self._locks.for_task(ask.resource_key, worker, None)
        return None

    async def _take_next(self, ask: _Ask, kind: Hashable) -> tuple[dict[str, Any] | None, bool]:
        """Give a claim, or None and whether no claim of that kind would find anything."""
        # Read again: a worker that has registered again meanwhile has another record.
        worker = self._state.workers.get(ask.agent_id)
        if self._paused or worker is None or not ask.there() or not self._health.may_take(worker):
            return None, False
        routes = routes_of(list(worker.agents), worker.capabilities)
        tried: set[str] = set()
        suspects = Suspects(self._state, worker)
        for _ in range(TRIES_MAX):
            if self._domains.wait_s(worker) > 0:
                return None, _kind(worker, ask) == kind
            task = self._state.queue.next(
                routes,
                self._clock.wall(),
                fits=lambda task: (
                    task.task_id not in tried
                    and not self._refused(worker, task)
                    and not suspects.too_many_with(task)
                ),
            )
            if task is None:
                for_all = not tried and not suspects.passed_over
                return None, for_all and _kind(worker, ask) == kind
            tried.add(task.task_id)
            try:
                if (term := await self._start(worker, task, ask)) is not None:
                    return self._claim_of(task, term, ask), False
            except ExpectationFailed:
                tried.discard(task.task_id)  # it or its lock has changed: look again
                continue
            except Conflict:
                continue
            if not ask.there():
                break
        return None, False

    def _held_back_s(self, worker: Worker, task: Task) -> float:
        """Tell in how many seconds a task that is held back may begin; a little, if not known."""
        name, stand_in = _served_by(worker, task)
        way = self._breakers.way(task, self._policies.of(name), stand_in=stand_in)
        return max(way.retry_after_s, RETRY_S) if isinstance(way, Refusal) else RETRY_S

    def _refused(self, worker: Worker, task: Task) -> bool:
        if self._left_threads.running(task, by=worker.agent_id):
            return True
        name, stand_in = _served_by(worker, task)
        return self._breakers.refuses(task, self._policies.of(name), stand_in=stand_in)

    async def _take_one(self, worker: Worker, task_id: str, ask: _Ask) -> dict[str, Any]:
        for _ in range(RACES_MAX):
            task = self._state.tasks.get(task_id)
            if task is None:
                raise NotFound(f"there is no task {task_id}", field="task_id")
            try:
                if task.holder == worker.agent_id:
                    return await self._again(worker, task, ask)
                self._require_free(worker, task)
                begun = await self._start(worker, task, ask)
            except (ExpectationFailed, StaleTerm):
                continue  # the task or its lock has changed: look again
            if begun is None:
                raise Conflict(
                    f"task {task_id} is held back by its breaker or its upstream",
                    field="task_id",
                    retry_after=self._held_back_s(worker, task),
                )
            return self._claim_of(task, begun, ask)
        raise Unavailable(f"task {task_id} changes too fast; ask again", retry_after=1.0)

    async def _again(self, worker: Worker, task: Task, ask: _Ask) -> dict[str, Any]:
        """Give a worker that asks twice the same claim, with a fresh lease."""
        task_id, term = task.task_id, task.term
        await self._leases.renew(
            task_id, term, ttl_s=ask.ttl_s, beside=lambda: self._lock(worker, task_id, ask)
        )
        return self._claim_of(task, term, ask)

    def _require_free(self, worker: Worker, task: Task) -> None:
        """
        Return only if a worker may take a certain task now.

        Raises:
            Conflict: If it may not.
        """
        about = f"task {task.task_id}"
        if self._paused:
            raise Conflict(f"{about} cannot begin: this gateway stops", retry_after=1.0)
        if not worker.can_do(task.agent_name, task.capability):
            raise Conflict(f"{about} is not for this worker's agents", field="task_id")
        if task.status == "running" or (task.live and task.reserved_for is not None):
            what = f"{about} is held by another worker"
            raise Conflict(what, code="task_claimed", field="task_id")
        if not task.live:
            raise Conflict(f"{about} has ended: {task.status}", field="task_id")
        if self._left_threads.running(task, by=worker.agent_id):
            what = f"{about} waits for the thread of its last attempt"
            raise Conflict(what, field="task_id", retry_after=1.0)
        self._health.require_may_take(worker)
        self._domains.require_may_take(worker, task)
        wait_s = (task.next_attempt_at or 0.0) - self._clock.wall()
        if wait_s > 0:
            what = f"{about} waits for its next attempt"
            raise Conflict(what, field="task_id", retry_after=wait_s)

    def _lock(self, worker: Worker, task_id: str, ask: _Ask) -> Decision:
        """Decide on the lock that a claim asks for, if it asks for one."""
        if ask.resource_key is None:
            return (), {}
        return self._locks.for_task(ask.resource_key, worker, task_id)

    async def _start(self, worker: Worker, task: Task, ask: _Ask) -> int | None:
        """
        Begin an attempt, and give its term; None: the breaker refuses, or the worker has gone.

        Raises:
            LockHeld: If another holder has the lock that the claim asks for.
        """
        name, stand_in = _served_by(worker, task)
        policy = self._policies.of(name)
        way = self._breakers.way(task, policy, stand_in=stand_in)
        if isinstance(way, Refusal):
            return None
        locked, of_lock = self._lock(worker, task.task_id, ask)
        probing, of_domain = self._domains.beside(worker, task, name)
        beside = (*locked, *probing), {**of_lock, **of_domain}

        async def begin() -> int:
            return await self._lifecycle.start(
                task.task_id,
                holder=worker.agent_id,
                limit_s=policy.timeout_s,
                way=way,
                agent_name=name,
                lease_ttl_s=ask.ttl_s,
                beside=beside,
            )

        # A start that waits for nothing cannot be cancelled, and a task for it would be dear.
        term = await (begin() if self._at_once else self._begun(task, begin()))
        if not ask.there():
            # The worker would never hear of it, and only the lease's end would free the task.
            with contextlib.suppress(StaleTerm):
                await self._leases.release(task.task_id, term)
            return None
        return term

    async def _begun(self, task: Task, start: Coroutine[Any, Any, int]) -> int:
        """Let a start come to its end; if the claim is cancelled, give back what has begun."""
        starting = asyncio.ensure_future(start)
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The start may be in the log by now: wait for its answer, and give it back.
            with contextlib.suppress(RequestError, ExpectationFailed):
                await self._leases.release(task.task_id, await starting)
            raise

    def _claim_of(self, task: Task, term: int, ask: _Ask) -> dict[str, Any]:
        """
        Describe to a worker what it is given under ``term``.

        Raises:
            Conflict: If the worker has lost the task already: it was cancelled, its lease ran
                out, or another worker holds it.
        """
        if task.term != term or task.lease_expires_at is None:
            raise Conflict(f"task {task.task_id} was taken away again", code="task_claimed")
        kept = task.preserved.kept()
        lock = next(iter(self._state.locks.of_task(task.task_id)), None)
        if ask.resource_key is not None:
            lock = self._state.locks.by_key.get(ask.resource_key)
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
            "alone": to_be_alone(task.attempts),
            "lock": None if lock is None else _shown(lock),
            "piece": task.piece,
            "traceparent": task.traceparent,
        }


def _served_by(worker: Worker, task: Task) -> tuple[str, str | None]:
    """Give the agent of a worker that a task would be for, and that agent's fallback."""
    name = task.agent_name or next(iter(worker.agents))
    return name, worker.agents[name].fallback if name in worker.agents else None


def _shown(lock: Lock) -> dict[str, Any]:
    return {"lock_id": lock.lock_id, "resource_key": lock.resource_key, "term": lock.term}


def _kind(worker: Worker, ask: _Ask) -> Hashable:
    """What a claim takes from; two claims of one kind find the same tasks."""
    agents = tuple((name, policy.fallback) for name, policy in worker.agents.items())
    return agents, tuple(worker.capabilities), worker.domain, ask.resource_key
