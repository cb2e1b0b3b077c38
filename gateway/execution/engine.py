"""
The engine: the inside as the doors see it (a ``Service``), with its beginning and its end.

The rule: the folds follow the log first, then what acts on them (``reactions``). No writer calls
anything here. How the parts are put together stands in ``parts``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

import orjson

from gateway.domain import own_failures
from gateway.domain.access import Caller
from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import RateLimitedRequest, RequestError, Unavailable
from gateway.domain.meters import Meters
from gateway.domain.task import Task
from gateway.execution.handlers.params import check
from gateway.execution.operations import handlers_of
from gateway.execution.parts import Parts
from gateway.execution.record.figures import figures
from gateway.execution.record.overview import overview
from gateway.execution.service import Connections, Figures
from gateway.execution.tasks.acceptance import QUEUE_SHARE
from gateway.ports import Entry
from gateway.protocol.operations import OPERATIONS

__all__ = ["Engine"]

logger = logger_of(__name__)

# How long attempts that a drain has ended have to clean up, in seconds.
CLEAN_LIMIT_S = 2.0
# Seconds between two looks whether everything has come to its end.
LOOK_EVERY_S = 0.02


class Engine:
    """Everything behind the doors, alive."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.handlers = handlers_of(parts)
        self.log, self.clock, self.ids = parts.log, parts.clock, parts.ids
        self._alive = self._opened = self._ran = False
        self._unfollow = self.log.follow(self._apply)

    # --- what Service asks for; what each does stands there ---------------------------------

    async def call(self, name: str, params: Mapping[str, Any], caller: Caller) -> Any:
        self.require_ready()
        # Rights first: who may not make a call is told nothing of how it has to look.
        operation = OPERATIONS[name]
        if operation.or_scope is None or not caller.has(operation.or_scope):
            caller.require(operation.scope)
        check(name, params)
        try:
            result = await self.handlers[name](params, caller)
        except RateLimitedRequest as error:
            if error.code != QUEUE_SHARE:  # of that its user was told, and there it is counted
                self.meters.refused[error.code] += 1
            raise
        if operation.audited:
            await self.parts.audit.taken(operation, params, by=caller.user_id)
        return result

    def sign_in_refused(self, reason: str) -> None:
        self.meters.sign_ins_refused[reason] += 1
        self.parts.audit.sign_in_refused(reason)

    @property
    def connections(self) -> Connections:
        return self.parts.connections

    @property
    def meters(self) -> Meters:
        return self.parts.meters

    def figures(self) -> Figures | None:
        parts = self.parts
        if not self._alive or not parts.watch.ready:
            return None
        scores = parts.health.scores()
        return figures(parts.state, self.log, scores=scores, now=self.log_time())

    def log_time(self) -> float:
        return self.parts.monitor.now

    @property
    def reason(self) -> str | None:
        return self.parts.watch.reason

    @property
    def doubt(self) -> str | None:
        return self.parts.skew.said if self.parts.watch.ready else None

    @property
    def degradation(self) -> Mapping[str, Any] | None:
        return self.parts.absences.degradation

    def require_ready(self) -> None:
        if not self._alive:
            # A task that is accepted now would never be done, and its end never told.
            raise Unavailable(
                "the gateway does not run: give the application that it is mounted in "
                "lifespan=gateway.lifespan"
            )
        self.parts.watch.require_ready()

    async def reached(self, offset: int, *, within_s: float) -> bool:
        return await self.parts.reach.offset(offset, within_s=within_s)

    def check_params(self, name: str, params: Any) -> None:
        check(name, params)

    def owner_of(self, topic: str) -> str | None:
        return self.parts.state.owner_of(topic)

    def snapshot(self, topics: Iterable[str], caller: Caller) -> dict[str, Any]:
        return overview(self.parts.state, topics)

    async def session_closed(self, session_id: str) -> None:
        await self.parts.presence.session_closed(session_id)

    # --- life -------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """
        Run the timers and the runner of this process; may be entered again, on another loop.

        On a durable log it yields while the log is still being read; ``watch`` says when it is.

        Raises:
            ConfigurationError: If the store cannot be used.
        """
        parts = self.parts
        for declared in parts.attempts.agents:
            self.meters.agents.of(declared.policy.name)  # before a worker may name others
        parts.acceptance.draining = False
        parts.claims.resume()
        if self._ran:
            parts.reactions.clear()
        await self.open()
        self._alive = True
        parts.watch.renew()
        jobs = {
            "monitor": parts.monitor.run(),
            "watch": parts.watch.run(),
            "runner": self._once_ready(parts.runner.run),
            "modes": self._once_ready(parts.modes.run),
            "skew": self._once_ready(parts.skew.run),
        }
        if parts.others is not None:
            jobs["node"] = parts.others.run()
        if parts.alarm is not None:
            parts.alarm.start()
        tasks = [asyncio.create_task(job, name=name) for name, job in jobs.items()]
        for task in tasks:
            task.add_done_callback(_complain)
        try:
            if not parts.durable:
                await parts.watch.until_ready()
            yield
        finally:
            self._alive = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if parts.alarm is not None:
                await parts.alarm.stop()
            await parts.attempts.close()
            if parts.durable:
                await self.log.close()
                self._opened = False
                # A closed log has no followers; it is read anew when this runs again.
                self._unfollow()
                self._unfollow = self.log.follow(self._apply)
                self._ran = True

    async def open(self) -> None:
        """
        Reach the store, and what isolated agents need, before anything else.

        Raises:
            ConfigurationError: If that fails.
        """
        if not self._opened:
            if self.parts.runner.runs_here:
                await self.parts.attempts.prepare()
            await self.log.open()
            self._opened = True

    async def _once_ready(self, run: Callable[[], Awaitable[None]]) -> None:
        await self.parts.watch.until_ready()
        await run()

    async def drain(self) -> None:
        """
        Come to an end: take nothing new, let attempts finish within the grace, end the rest.

        On a log that ends with this process no task is left open; on a durable one open tasks go
        on in the next process or on another node. What attempts leave behind is cleaned up.
        """
        parts = self.parts
        parts.acceptance.draining = True
        parts.runner.pause()
        parts.claims.pause()
        if not parts.durable:
            # A task that does not run now never will: its owner is told at once.
            await self._end(task for task in parts.state.live.values() if task.status != "running")
        await self._idle(parts.settings.drain_grace)
        if not parts.durable:
            await self._end(parts.state.live.values())
        elif parts.membership is not None:
            try:
                await parts.membership.leave()
                await parts.watch.save()
            except RequestError as error:
                logger.warning("left without a goodbye: %s", error)
        # Attempts that still run are stopped: what they said would be refused. They clean up.
        parts.attempts.clear()
        await self._idle(CLEAN_LIMIT_S)

    async def _end(self, tasks: Iterable[Task]) -> None:
        for task in list(tasks):
            try:
                await self.parts.lifecycle.give_up(task.task_id, own_failures.shutdown())
            except RequestError:
                logger.exception("task %s could not be ended", task.task_id)

    async def _idle(self, limit_s: float) -> None:
        """Wait until nothing runs, in the runner or in a block."""
        parts, deadline = self.parts, self.clock.monotonic() + limit_s
        # On a log with several nodes, tasks that run may run on another one.
        while parts.runner.busy or parts.blocks.busy or (parts.state.running and not parts.durable):
            if self.clock.monotonic() >= deadline:
                return
            await self.clock.sleep(LOOK_EVERY_S)

    # --- following the log ------------------------------------------------------------------

    def _apply(self, entry: Entry) -> None:
        parts, event = self.parts, orjson.loads(entry.public)
        outcome = parts.state.apply(entry, event)
        parts.watch.applied(entry)
        parts.alerts.seen(entry, event)
        undo = bool(parts.in_doubt) and parts.in_doubt.seen(event["event_id"])
        if parts.watch.ready:
            if parts.log_time.learn(entry.at):
                parts.monitor.look()
            parts.reactions.to(entry, outcome, undo=undo)
        parts.reach.saw(entry.offset)


def _complain(job: asyncio.Task[None]) -> None:
    if not job.cancelled() and (error := job.exception()) is not None:
        logger.critical("the %s has stopped", job.get_name(), exc_info=error)
