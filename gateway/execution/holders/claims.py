"""
Claims: how workers take tasks, report on them, and are refused when they are too late.

A claim that finds nothing waits, in the order in which claims came, until there is something
or its time is over. Nothing is taken on behalf of a worker that is not there to get it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from gateway.attempts.agents import Agents
from gateway.attempts.pieces import Piece, Rest
from gateway.domain import own_failures
from gateway.domain.errors import (
    Conflict,
    ExpectationFailed,
    InvalidParams,
    NotFound,
    RequestError,
    StaleTerm,
    Unavailable,
)
from gateway.domain.redaction import redact
from gateway.domain.settings import Settings
from gateway.domain.task import Task
from gateway.domain.timestamps import rfc3339
from gateway.domain.worker import Worker
from gateway.execution.guards.breakers import Admission, Breakers
from gateway.execution.holders.leases import Leases
from gateway.execution.record.state import State
from gateway.execution.tasks.lifecycle import Lifecycle
from gateway.ports import Clock, EventLog
from gateway.values import RESULT_BYTES_MAX, measured

__all__ = ["Claims"]

Params = Mapping[str, Any]
There = Callable[[], bool]

# Who reports more often is answered later.
PIECE_EVERY_S = 0.1
# Whoever waits for this node to catch up looks again after this; whoever asks while the store is
# away may come back after that.
LOOK_AGAIN_S, AWAY_RETRY_S = 0.02, 1.0
# Tasks whose pace is remembered; who was told of longest ago may go at once.
PACED_MAX = 10_000


class Claims:
    """
    Gives tasks to workers.

    Args:
        lifecycle: Decides about the tasks.
        leases: Renews and takes back.
        breakers: Who is let through.
        log: Asked whether it is there.
        lag_wait_s: How long one who knows more than this node waits for it to catch up.
        presence: Tells of a worker and the connection on which it asks whether it can, then and
            later, be told there what it is given.
    """

    def __init__(
        self,
        *,
        state: State,
        lifecycle: Lifecycle,
        leases: Leases,
        breakers: Breakers,
        agents: Agents,
        clock: Clock,
        settings: Settings,
        log: EventLog,
        lag_wait_s: float,
        presence: Callable[[str, str | None], There],
    ) -> None:
        self._state = state
        self._lifecycle = lifecycle
        self._leases = leases
        self._breakers = breakers
        self._agents = agents
        self._clock = clock
        self._settings = settings
        self._log = log
        self._lag_wait_s = lag_wait_s
        self._presence = presence
        # In the order in which the claims came; the values mean nothing.
        self._news: dict[asyncio.Event, None] = {}
        # One takes at a time, so that who asks twice finds what its first claim took.
        self._turn = asyncio.Lock()
        # When the next piece of a task may be told; of tasks that were told of lately.
        self._next_piece_at: OrderedDict[str, float] = OrderedDict()
        self._paused = False

    def wake(self) -> None:
        """Something has changed: let those who wait look again."""
        for news in self._news:
            news.set()

    def pause(self) -> None:
        """Give nothing more; what is held goes on."""
        self._paused = True

    def resume(self) -> None:
        """Give again."""
        self._paused = False
        self.wake()

    # --- taking -----------------------------------------------------------------------------

    async def claim(
        self, worker: Worker, params: Params, *, session_id: str | None
    ) -> dict[str, Any] | None:
        """
        Take the most urgent task that the worker can do, or a certain one.

        Cancelling takes nothing: what has begun by then is given back.

        Args:
            session_id: The connection over which it asks; None: it asks over HTTP.

        Returns:
            The claim; None: there was none within ``wait``.

        Raises:
            NotFound: If there is no such task.
            Conflict: If it cannot be taken: held by another, ended, waiting, not its work.
        """
        ttl_s = float(params.get("lease_ttl", self._settings.lease_ttl))
        there = self._presence(worker.agent_id, session_id)
        if "task_id" in params:
            async with self._turn:
                return await self._take_one(worker, params["task_id"], ttl_s, there)
        news = asyncio.Event()
        self._news[news] = None
        until = self._clock.monotonic() + params.get("wait", 0)
        try:
            while True:
                news.clear()
                async with self._turn:
                    claim = await self._take_next(worker.agent_id, ttl_s, there)
                    if claim is not None:
                        return claim
                left_s = until - self._clock.monotonic()
                if left_s <= 0:
                    return None
                # Only the waiting has a limit: an attempt that begins is always told.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await news.wait()
        finally:
            del self._news[news]

    async def _take_next(self, agent_id: str, ttl_s: float, there: There) -> dict[str, Any] | None:
        # As it is now: who has registered again meanwhile is another record.
        worker = self._state.workers.get(agent_id)
        if self._paused or worker is None or not worker.takes_work or not there():
            return None
        ready = self._state.ready(
            lambda task: worker.can_do(task.agent_name, task.capability), self._clock.wall()
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

    async def _take_one(
        self, worker: Worker, task_id: str, ttl_s: float, there: There
    ) -> dict[str, Any]:
        task = self._state.tasks.get(task_id)
        if task is None:
            raise NotFound(f"there is no task {task_id}", field="task_id")
        if task.holder == worker.agent_id:
            # Asked twice: the same claim, with a fresh lease.
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
        Begin an attempt, and give its term.

        None: its breaker lets nobody through, or the worker has gone.
        """
        name = task.agent_name or next(iter(worker.agents))
        policy = self._agents.policy(name)
        stand_in = worker.agents[name].fallback if name in worker.agents else None
        fallback = stand_in if task.next_mode == "fallback" else None
        admission: Admission | None = None
        if task.next_mode == "fallback":
            if fallback is None:
                return None
        else:
            admitted = self._breakers.admission_of(task, policy)
            if isinstance(admitted, Admission):
                admission = admitted
            elif stand_in is None:
                return None
            else:
                fallback = stand_in

        async def begin() -> int:
            return await self._lifecycle.start(
                task.task_id,
                holder=worker.agent_id,
                limit_s=policy.timeout_s,
                admission=admission,
                fallback=fallback,
                agent_name=name,
                lease_ttl_s=ttl_s,
            )

        starting = asyncio.ensure_future(begin())
        try:
            term = await asyncio.shield(starting)
        except asyncio.CancelledError:
            with contextlib.suppress(RequestError, ExpectationFailed):
                await self._leases.release(task.task_id, await starting)
            raise
        if not there():
            # Nobody would be told, and nothing but the lease's end would end it.
            with contextlib.suppress(StaleTerm):
                await self._leases.release(task.task_id, term)
            return None
        return term

    def _claim_of(self, task: Task, term: int) -> dict[str, Any]:
        """
        Tell a worker what it is given under ``term``.

        Raises:
            Conflict: If it has lost it already: cancelled, run out, another's by now.
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
            "limit": self._agents.policy_for(task).timeout_s,
            "lease_expires_at": rfc3339(task.lease_expires_at),
            "input": task.input,
            "preserved": {"steps": dict(kept.steps), "text": kept.text},
        }

    # --- reporting --------------------------------------------------------------------------

    async def heartbeat(self, worker: Worker, params: Params) -> dict[str, Any]:
        """Renew a lease."""
        task, term = await self._held(worker, params), params["term"]
        await self._leases.renew(task.task_id, term, ttl_s=params.get("lease_ttl"))
        return _renewed(task, term)

    async def update(self, worker: Worker, params: Params) -> dict[str, Any]:
        """Take what an attempt has produced, and how far it is."""
        task = await self._held(worker, params)
        # By its own term to the end: between two pieces the task may become another's.
        term = params["term"]
        for piece in _pieces_of(params, bytes_max=self._settings.partial_bytes_task):
            await self._pace(task.task_id)
            await self._lifecycle.tell(task.task_id, term, piece)
        with contextlib.suppress(StaleTerm):
            # What was told is told, though the lease may be lost since.
            await self._leases.renew(task.task_id, term)
        return _renewed(task, term)

    async def complete(self, worker: Worker, params: Params) -> Task:
        """End a task with its result."""
        task = await self._held(worker, params)
        result = params.get("result")
        measured(result, field="result", bytes_max=RESULT_BYTES_MAX)
        await self._lifecycle.succeed(
            task.task_id, task.term, result, steps=params.get("steps", {})
        )
        return task

    async def fail(self, worker: Worker, params: Params) -> Task:
        """Take a worker's own account of why its attempt failed."""
        task = await self._held(worker, params)
        failure = own_failures.reported(
            error_type=params.get("error_type"),
            error_code=params.get("error_code"),
            retry_after_s=params.get("retry_after"),
        )
        plan = params.get("plan")
        rest = Rest(
            steps=params.get("steps", {}),
            text=params.get("text", ""),
            progress=params.get("progress"),
            plan=None if plan is None else tuple(plan),
        )
        lost = failure.error_type in ("agent_lost", "cancelled")
        detail = {"reported_message": params["message"], **params.get("detail", {})}
        await self._lifecycle.fail(
            task.task_id,
            task.term,
            failure,
            cause=failure.error_type if lost else "reported",
            detail=redact(detail),
            rest=rest,
        )
        return task

    async def release(self, worker: Worker, params: Params) -> Task:
        """Take a task back that its worker gives back."""
        task = await self._held(worker, params)
        return await self._leases.release(task.task_id, task.term)

    async def _pace(self, task_id: str) -> None:
        """Wait for a piece's turn, so that people get at most ten a second of one task."""
        now = self._clock.monotonic()
        turn_at = max(now, self._next_piece_at.pop(task_id, 0.0))
        self._next_piece_at[task_id] = turn_at + PIECE_EVERY_S
        while len(self._next_piece_at) > PACED_MAX:
            self._next_piece_at.popitem(last=False)
        if turn_at > now:
            await self._clock.sleep(turn_at - now)

    async def _held(self, worker: Worker, params: Params) -> Task:
        """
        Give the task that a worker holds, as it says, once this node knows as much as it does.

        Raises:
            NotFound, StaleTerm: If that is not so.
            Unavailable: If this node is cut off and cannot know.
        """
        task_id, term = params["task_id"], params["term"]
        until = self._clock.monotonic() + self._lag_wait_s
        # It has been given the task by another node, which knew more.
        while (task := self._state.tasks.get(task_id)) is None or task.term < term:
            if self._clock.monotonic() >= until:
                break
            await self._clock.sleep(LOOK_AGAIN_S)
        if task is not None and task.holder == worker.agent_id and task.term == term:
            return task
        if not self._log.available:
            raise Unavailable(
                f"this node cannot know who holds task {task_id}: the store is away",
                retry_after=AWAY_RETRY_S,
            )
        if task is None:
            raise NotFound(f"there is no task {task_id}", field="task_id")
        if task.holder != worker.agent_id:
            self._lifecycle.stale_terms += 1
            raise StaleTerm(f"task {task_id} is not held by this worker", field="agent_id")
        self._lifecycle.held(task, term)
        return task


def _renewed(task: Task, term: int) -> dict[str, Any]:
    expires_at = task.lease_expires_at if task.term == term else None
    return {
        "task_id": task.task_id,
        "term": term,
        "lease_expires_at": None if expires_at is None else rfc3339(expires_at),
    }


def _pieces_of(params: Params, *, bytes_max: int) -> list[Piece]:
    """What one update tells: a plan or progress, a finished step, text."""
    pieces = []
    step = params.get("step")
    plan = params.get("plan")
    progress = params.get("progress")
    if "data" in params and step is None:
        raise InvalidParams("data needs the step that it is the result of", field="step")
    if plan is not None or progress is not None or (step is not None and "data" not in params):
        pieces.append(
            Piece(
                progress=progress,
                at_step=step,
                plan=None if plan is None else tuple(plan),
            )
        )
    if "data" in params:
        measured(params["data"], field="data", bytes_max=bytes_max)
        pieces.append(Piece(step=step, data=params["data"]))
    if params.get("text"):
        measured(params["text"], field="text", bytes_max=bytes_max)
        pieces.append(Piece(text=params["text"]))
    return pieces
