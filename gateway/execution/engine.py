"""
The inside, put together: log, folds, decisions, timers and the worker of this process.

The folds follow the log first, then whoever acts on what they say: breakers, timers, the
runner, those who wait for an end. Nothing here is called by a writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from gateway.attempts.agents import Agents
from gateway.attempts.attempt import Attempts
from gateway.attempts.task import Task as Work
from gateway.domain import own_failures
from gateway.domain.access import Caller
from gateway.domain.errors import RequestError, Unavailable
from gateway.domain.recovery import Backoff
from gateway.domain.settings import Settings
from gateway.domain.task import Task
from gateway.execution.guards.breakers import Breakers
from gateway.execution.handlers.params import check
from gateway.execution.handlers.publishing import Publishing
from gateway.execution.handlers.task_reports import TaskReports
from gateway.execution.handlers.tasks import Handlers
from gateway.execution.handlers.workers import WorkerHandlers
from gateway.execution.holders.block import Supervised
from gateway.execution.holders.claims import Claims
from gateway.execution.holders.leases import Leases
from gateway.execution.holders.limits import Limits
from gateway.execution.holders.orphans import Orphans
from gateway.execution.holders.registry import Workers
from gateway.execution.holders.runner import Runner
from gateway.execution.monitor import Monitor
from gateway.execution.node.others import Nodes
from gateway.execution.node.skew import Skew
from gateway.execution.node.watch import Folds, Saving, StoreWatch
from gateway.execution.reactions import Reactions
from gateway.execution.record.breaker_drafts import BreakerNews
from gateway.execution.record.intake import Intake
from gateway.execution.record.reach import Core, Reach
from gateway.execution.record.state import State
from gateway.execution.record.task_drafts import Telling
from gateway.execution.tasks.acceptance import Orders
from gateway.execution.tasks.lifecycle import Lifecycle
from gateway.ports import Clock, Entry, EventLog, IdSource, Pulse

__all__ = ["Engine"]

logger = logging.getLogger(__name__)

# How long the attempts that were ended at the end have to clean up.
CLEAN_LIMIT_S = 2.0
# How long a worker that knows more than this node waits for it to catch up, on a log of many: at
# the most so long, and well under the silence for which it would be taken for lost meanwhile.
LAG_WAIT_S, LAG_WAITS_PER_TIMEOUT = 1.0, 4


class Engine:
    """
    A ``Service``: everything behind the doors.

    Args:
        log: The one log.
        clock: Time.
        ids: Ids and chance.
        settings: How it behaves.
        agents: The agents of this process.
        saving: Writes the folds down for a log that outlives this process; None: it does not.
        pulse: Signals to other nodes on the log; None: there are none.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        clock: Clock,
        ids: IdSource,
        settings: Settings,
        agents: Agents,
        saving: Saving | None = None,
        pulse: Pulse | None = None,
    ) -> None:
        self._log = log
        self._clock = clock
        self._ids = ids
        self.settings = settings
        self.agents = agents
        agents.max_attempts = settings.max_attempts
        self.state = State(settings)
        self.intake = Intake(log, clock, ids)
        self.telling = Telling(self.intake, self.state)
        news = BreakerNews(self.intake, agents)
        self.breakers = Breakers(self.state, self.intake, news)
        self.lifecycle = Lifecycle(
            self.state,
            self.intake,
            self.telling,
            self.breakers,
            agents,
            Backoff(settings.retry_base, settings.retry_max),
        )
        self.attempts = Attempts(
            self.lifecycle, clock, settings, freed=lambda: self.reactions.look_again()
        )
        self._monitor = Monitor(clock)
        self.runner = Runner(
            holder=ids.uuid7(),
            state=self.state,
            lifecycle=self.lifecycle,
            breakers=self.breakers,
            agents=agents,
            attempts=self.attempts,
            monitor=self._monitor,
            clock=clock,
            settings=settings,
        )
        self.orders = Orders(
            state=self.state,
            intake=self.intake,
            news=news,
            breakers=self.breakers,
            lifecycle=self.lifecycle,
            agents=agents,
            settings=settings,
        )
        self._leases = Leases(self.state, self.lifecycle, self.telling, clock)
        self.workers = Workers(
            state=self.state,
            intake=self.intake,
            agents=agents,
            leases=self._leases,
            monitor=self._monitor,
            settings=settings,
        )
        lag_wait_s = min(LAG_WAIT_S, settings.heartbeat_timeout / LAG_WAITS_PER_TIMEOUT)
        self.claims = Claims(
            state=self.state,
            lifecycle=self.lifecycle,
            leases=self._leases,
            breakers=self.breakers,
            agents=agents,
            clock=clock,
            settings=settings,
            log=log,
            lag_wait_s=0.0 if saving is None else lag_wait_s,
            presence=self.workers.presence,
        )
        self._alive = self._opened = self._ran = False
        self._limits = Limits(
            state=self.state,
            lifecycle=self.lifecycle,
            leases=self._leases,
            workers=self.workers,
            agents=agents,
            monitor=self._monitor,
            clock=clock,
            queue_timeout_s=settings.queue_timeout,
        )
        self._reach = Reach(log)
        core = Core(
            log=log,
            clock=clock,
            ids=ids,
            settings=settings,
            agents=agents,
            state=self.state,
            intake=self.intake,
            telling=self.telling,
            lifecycle=self.lifecycle,
            orders=self.orders,
            reach=self._reach,
        )
        self._handlers = Handlers(
            core,
            Publishing(core, TaskReports(core, self.workers, self.claims)),
            WorkerHandlers(self.state, self.workers, self.claims, self._reach).by_name,
        )
        self._supervised = Supervised(
            holder=self.runner.holder,
            orders=self.orders,
            lifecycle=self.lifecycle,
            breakers=self.breakers,
            agents=agents,
            attempts=self.attempts,
            monitor=self._monitor,
            clock=clock,
            settings=settings,
        )
        orphans = Orphans(
            state=self.state,
            lifecycle=self.lifecycle,
            leases=self._leases,
            runner=self.runner,
            supervised=self._supervised,
            clock=clock,
            settings=settings,
        )
        self.reactions = Reactions(
            state=self.state,
            lifecycle=self.lifecycle,
            leases=self._leases,
            breakers=self.breakers,
            limits=self._limits,
            workers=self.workers,
            claims=self.claims,
            runner=self.runner,
            attempts=self.attempts,
            agents=agents,
            supervised=self._supervised,
            orphans=orphans,
            monitor=self._monitor,
            clock=clock,
        )
        self._skew = Skew(clock)
        self._unfollow = log.follow(self._apply)
        self.durable = saving is not None
        self.watch = StoreWatch(
            log,
            self.intake,
            Folds(
                save=None if saving is None else lambda: saving.save(self.state),
                restore=lambda body: None if saving is None else saving.restore(self.state, body),
                version=0 if saving is None else saving.version,
                begin=self.reactions.begin,
                forget=self.reactions.forget,
                made_up=self.reactions.made_up,
            ),
            settings=settings,
            monitor=self._monitor,
        )
        self._nodes: Nodes | None = None
        if pulse is not None:
            self._nodes = Nodes(
                holder=self.runner.holder,
                pulse=pulse,
                state=self.state,
                workers=self.workers,
                agents=agents,
                lifecycle=self.lifecycle,
                watch=self.watch,
                supervised=self._supervised,
                secret=ids.uuid7() + ids.uuid7(),
                clock=clock,
            )

    # --- the Service ------------------------------------------------------------------------

    @property
    def log(self) -> EventLog:
        return self._log

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def ids(self) -> IdSource:
        return self._ids

    async def call(self, name: str, params: Mapping[str, Any], caller: Caller) -> Any:
        """Carry out one operation; see ``Service.call``."""
        self.require_ready()
        return await self._handlers.call(name, params, caller)

    @property
    def reason(self) -> str | None:
        """Why this node should not be asked now; see ``Service.reason``."""
        return self.watch.reason

    @property
    def degradation(self) -> Mapping[str, Any] | None:
        """What no event can tell now; see ``Service.degradation``."""
        return self.watch.absences.degradation

    def require_ready(self) -> None:
        """Go on only when this node knows what the log says; see ``Service.require_ready``."""
        if not self._alive:
            # A task that was taken now would never be done, and nobody would be told.
            raise Unavailable(
                "the gateway does not run: give the application that it is mounted in "
                "lifespan=gateway.lifespan"
            )
        self.watch.require_ready()

    def check_params(self, name: str, params: Any) -> None:
        """Check parameters by the table; see ``Service.check_params``."""
        check(name, params)

    def task_owner(self, task_id: str) -> str | None:
        """Tell whose task it is; None: no such task is known."""
        return self.state.owner_of(task_id)

    def snapshot(self, topics: Iterable[str], caller: Caller) -> dict[str, Any]:
        """Tell the state of ``topics`` as of ``log.head``; see ``Service.snapshot``."""
        return self.state.snapshot(topics, now=self._clock.wall())

    async def session_closed(self, session_id: str) -> None:
        """A connection is gone; see ``Service.session_closed``."""
        await self.workers.session_closed(session_id)

    def attempt(
        self, agent_name: str, *, user_id: str, input: Any, timeout_s: float | None
    ) -> AbstractAsyncContextManager[Work]:
        """Supervise a block as one attempt, without the queue; see ``Supervised.attempt``."""
        return self._supervised.attempt(
            agent_name, user_id=user_id, input=input, timeout_s=timeout_s
        )

    async def ended(self, task_id: str) -> Task:
        """Wait until a task has ended; see ``Reactions.ended``."""
        return await self.reactions.ended(task_id)

    # --- life -------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """
        Run timers and the worker of this process; once more, too, and on another loop.

        A log that outlives this process is read meanwhile; ``watch`` says when that is done.

        Raises:
            ConfigurationError: If the store cannot be used.
        """
        self.orders.draining = False
        self.claims.resume()
        if self._ran:
            self.reactions.forget()
        await self.open()
        self._alive = True
        self.watch.renew()
        jobs = [
            asyncio.create_task(self._monitor.run(), name="monitor"),
            asyncio.create_task(self.watch.run(), name="watch over the store"),
            asyncio.create_task(self._work(), name="runner"),
        ]
        if self._nodes is not None:
            jobs.append(asyncio.create_task(self._nodes.run(), name="node"))
        for job in jobs:
            job.add_done_callback(_complain)
        try:
            if not self.durable:
                await self.watch.until_ready()
            yield
        finally:
            self._alive = False
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
            if self.durable:
                await self._log.close()
                self._opened = False
                # It lets go of its followers, and is read anew by whoever runs once more.
                self._unfollow()
                self._unfollow = self._log.follow(self._apply)
                self._ran = True

    async def open(self) -> None:
        """
        Reach the store, before anything else; again it does nothing.

        Raises:
            ConfigurationError: If it cannot be used; the message says what to do.
        """
        if not self._opened:
            await self._log.open()
            self._opened = True

    async def _work(self) -> None:
        await self.watch.until_ready()
        await self.runner.run()

    async def drain(self) -> None:
        """
        Come to an end: take nothing new, let what runs finish within its grace, end the rest.

        Where the memory of this process is all that knows the tasks, none is left open; a log
        that outlives it keeps them for the next process, or for another node. What attempts
        leave behind is cleaned up, within ``CLEAN_LIMIT_S``.
        """
        self.orders.draining = True
        self.runner.pause()
        self.claims.pause()
        if self.durable:
            await self._idle(self.settings.drain_grace)
            if self._nodes is not None:
                try:
                    await self._nodes.leave()
                    await self.watch.save()
                except RequestError as error:
                    logger.warning("left without a goodbye: %s", error)
            # What they say from here on would be refused; what they leave is cleaned up.
            self.attempts.all_ended()
            await self._idle(CLEAN_LIMIT_S)
            return
        # Whoever does not run will not any more: nobody has to wait to hear it.
        await self._end(task for task in self.state.live.values() if task.status != "running")
        await self._idle(self.settings.drain_grace)
        await self._end(self.state.live.values())
        await self._idle(CLEAN_LIMIT_S)

    async def _end(self, tasks: Iterable[Task]) -> None:
        for task in list(tasks):
            try:
                await self.lifecycle.give_up(task.task_id, own_failures.shutdown())
            except RequestError:
                # One that cannot be told must not leave the others open.
                logger.exception("task %s could not be ended", task.task_id)

    async def _idle(self, limit_s: float) -> None:
        """Wait until nothing runs, in the runner or under ``attempt``."""
        deadline = self._clock.monotonic() + limit_s
        # On a log of many nodes the others' tasks are theirs.
        while (
            self.runner.busy or self._supervised.busy or (self.state.running and not self.durable)
        ):
            if self._clock.monotonic() >= deadline:
                return
            await self._clock.sleep(0.02)

    # --- following the log ------------------------------------------------------------------

    def _apply(self, entry: Entry) -> None:
        outcome = self.state.apply(entry)
        self.watch.applied(entry)
        if self.watch.ready:
            self._skew.seen(entry)
            self.reactions.to(entry, outcome)
        self._reach.saw(entry.offset)


def _complain(job: asyncio.Task[None]) -> None:
    if not job.cancelled() and (error := job.exception()) is not None:
        logger.critical("the %s has stopped", job.get_name(), exc_info=error)
