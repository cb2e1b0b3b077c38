"""
Reports: what workers say about the tasks that they hold, refused when it comes too late.

The rule: a report counts under its own term, from its first piece to its last. The task may pass
to another holder between two pieces.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from gateway.attempts.pieces import Piece, Rest
from gateway.domain import own_failures
from gateway.domain.attempt import process_lost
from gateway.domain.errors import InvalidParams, NotFound, StaleTerm, Unavailable
from gateway.domain.preserved import beginning
from gateway.domain.redaction import redacted
from gateway.domain.settings import Settings
from gateway.domain.task import Task
from gateway.domain.timestamps import rfc3339
from gateway.domain.worker import Worker
from gateway.execution.holders.leases import Leases
from gateway.execution.record.reach import Reach
from gateway.execution.record.state import State
from gateway.execution.tasks.lifecycle import Lifecycle
from gateway.ports import Clock, EventLog
from gateway.values import RESULT_BYTES_MAX, measured

__all__ = ["Reports"]

Params = Mapping[str, Any]

# Of the steps that come with the end of an attempt, all together.
STEPS_BYTES_MAX = 256 * 1024
# Pieces of one task are told at most so often, in seconds; a worker that reports faster is answered
# later.
PIECE_EVERY_S = 0.1
# A worker that asks while the store is away may come back after this, in seconds.
AWAY_RETRY_S = 1.0
# How long a call waits for this node to catch up with what its worker knows, in seconds. It has to
# be well under the heartbeat timeout, or the worker would fall silent while it waits.
LAG_WAIT_S, LAG_WAITS_PER_TIMEOUT = 1.0, 4
# How many tasks' pace is remembered, the latest ones; a piece of another task may go at once.
PACED_MAX = 10_000


class Reports:
    """
    Takes the reports of workers.

    Args:
        log: Asked whether the store is there.
        reach: Lets a worker wait that another node gave its task, and that knows more.
        lags: Whether this node may be behind another one on the log.
    """

    def __init__(
        self,
        *,
        state: State,
        lifecycle: Lifecycle,
        leases: Leases,
        log: EventLog,
        reach: Reach,
        clock: Clock,
        settings: Settings,
        lags: bool,
    ) -> None:
        self._state = state
        self._lifecycle = lifecycle
        self._leases = leases
        self._log = log
        self._reach = reach
        self._clock = clock
        self._settings = settings
        lag_wait_s = min(LAG_WAIT_S, settings.heartbeat_timeout / LAG_WAITS_PER_TIMEOUT)
        self._lag_wait_s = lag_wait_s if lags else 0.0
        # When the next piece of a task may be told; of the tasks that were told of lately.
        self._next_piece_at: OrderedDict[str, float] = OrderedDict()

    async def heartbeat(self, worker: Worker, params: Params) -> dict[str, Any]:
        """Renew the lease; the worker may give it a new length."""
        task, term = await self._held(worker, params), params["term"]
        ttl_s, ended_at = params.get("lease_ttl"), task.lease_expires_at
        await self._leases.renew(task.task_id, term, ttl_s=ttl_s)
        if ttl_s is not None and task.lease_expires_at != ended_at:
            await self._pace(task.task_id)  # lengths that go up and down are an entry each
        return _renewed(task, term)

    async def update(self, worker: Worker, params: Params) -> dict[str, Any]:
        """
        Take what an attempt has produced, and how far it is; that renews the lease, too.

        What the worker has numbered with ``piece`` counts once, so that a worker without an answer
        may say it again. Numbers grow within an attempt, by one or more.

        Raises:
            InvalidParams: If it says what cannot be, such as data without a step.
            StaleTerm: If the lease has passed on.
        """
        task = await self._held(worker, params)
        term, number = params["term"], params.get("piece")
        pieces = _pieces_of(params, bytes_max=self._settings.partial_bytes_task)
        for part, piece in enumerate(pieces, start=1):
            if number is not None and task.has(number, part):
                continue
            await self._pace(task.task_id)
            await self._lifecycle.tell(
                task.task_id, term, piece, number=None if number is None else (number, part)
            )
        with contextlib.suppress(StaleTerm):
            # The pieces are in the log, even if the lease was lost after the last of them.
            await self._leases.renew(task.task_id, term)
        return _renewed(task, term)

    async def complete(self, worker: Worker, params: Params) -> Task:
        """End a task with its result, and with steps that were not told before."""
        task = await self._held(worker, params)
        _require_steps(params)
        result = params.get("result")
        measured(result, field="result", bytes_max=RESULT_BYTES_MAX)
        await self._lifecycle.succeed(
            task.task_id, task.term, result, steps=params.get("steps", {})
        )
        return task

    async def fail(self, worker: Worker, params: Params) -> Task:
        """Take a worker's own account of why its attempt failed, and what is to be kept of it."""
        task = await self._held(worker, params)
        _require_steps(params)
        failure = own_failures.reported(
            error_type=params.get("error_type"),
            error_code=params.get("error_code"),
            retry_after_s=params.get("retry_after"),
        )
        known = failure.error_code != "process_lost" or process_lost(task.attempts)
        if params.get("others") and not known:
            # Which task has ended the process is not known yet; see ``suspects``.
            failure = dataclasses.replace(failure, spared=True)
        plan = params.get("plan")
        rest = Rest(
            steps=params.get("steps", {}),
            # A failure is told, however long its text is; what cannot be kept is not carried along.
            text=beginning(params.get("text", ""), bytes_max=self._settings.partial_bytes_task),
            progress=params.get("progress"),
            plan=None if plan is None else tuple(plan),
        )
        # A worker that says itself that its attempt gave nothing any more is not lost.
        lost = failure.error_type in ("agent_lost", "cancelled")
        lost = lost and failure.error_code != "stalled"
        detail = {"reported_message": params["message"], **params.get("detail", {})}
        await self._lifecycle.fail(
            task.task_id,
            task.term,
            failure,
            cause=failure.error_type if lost else "reported",
            detail=redacted(detail),
            rest=rest,
        )
        return task

    async def failed_beside(self, worker: Worker, params: Params) -> None:
        """Take a failure of something that an attempt has started, and that does not end it."""
        task = await self._held(worker, params)
        await self._pace(task.task_id)
        detail = redacted({"reported_message": params.get("message"), **params.get("detail", {})})
        piece = Piece(failure=own_failures.background_failure(), detail=detail)
        await self._lifecycle.tell(task.task_id, task.term, piece)

    async def release(self, worker: Worker, params: Params) -> Task:
        """Take a task back that its worker gives back."""
        task = await self._held(worker, params)
        return await self._leases.release(task.task_id, task.term)

    async def _pace(self, task_id: str) -> None:
        """Wait for an entry's turn: there are at most ten a second of one task."""
        now = self._clock.monotonic()
        turn_at = max(now, self._next_piece_at.pop(task_id, 0.0))
        self._next_piece_at[task_id] = turn_at + PIECE_EVERY_S
        while len(self._next_piece_at) > PACED_MAX:
            self._next_piece_at.popitem(last=False)
        if turn_at > now:
            await self._clock.sleep(turn_at - now)

    async def _held(self, worker: Worker, params: Params) -> Task:
        """
        Give the task that a worker says it holds, once this node knows as much as the worker.

        Raises:
            NotFound: If there is no such task.
            StaleTerm: If the worker does not hold it under this term.
            Unavailable: If this node is cut off from the store and cannot know.
        """
        task_id, term = params["task_id"], params["term"]

        def known() -> bool:
            task = self._state.tasks.get(task_id)
            return task is not None and task.term >= term

        # Another node, which knew more, may have given it the task.
        await self._reach.until(known, within_s=self._lag_wait_s)
        task = self._state.tasks.get(task_id)
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
            raise self._lifecycle.metering.stale(
                f"task {task_id} is not held by this worker", field="agent_id"
            )
        self._lifecycle.held(task, term)
        return task


def _require_steps(params: Params) -> None:
    """Steps that come with the end are in one entry with it; larger ones are told before."""
    measured(params.get("steps", {}), field="steps", bytes_max=STEPS_BYTES_MAX, around=1)


def _renewed(task: Task, term: int) -> dict[str, Any]:
    expires_at = task.lease_expires_at if task.term == term else None
    return {
        "task_id": task.task_id,
        "term": term,
        "lease_expires_at": None if expires_at is None else rfc3339(expires_at),
    }


def _pieces_of(params: Params, *, bytes_max: int) -> list[Piece]:
    """The pieces of one update, in order: plan or progress, a finished step, text."""
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
    replaces = params.get("replaces", False)
    if params.get("text") or replaces:
        measured(params["text"], field="text", bytes_max=bytes_max)
        pieces.append(Piece(text=params["text"], replaces=replaces))
    return pieces
