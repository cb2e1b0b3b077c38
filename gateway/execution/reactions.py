"""
What follows from what the log says: timers are set, those who wait are woken, code is stopped.

Only what is new at this moment has consequences. What is read again when a gateway starts is
past; when all of it is read, ``begin`` looks after everything that is still open.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools

from gateway.attempts.agents import Agents
from gateway.attempts.attempt import Attempts
from gateway.domain import own_failures
from gateway.domain.breaker import Breaker, Outcome, subject_of
from gateway.domain.errors import NotFound, StaleTerm
from gateway.domain.task import Task
from gateway.execution.guards.breakers import Breakers
from gateway.execution.holders.block import Supervised
from gateway.execution.holders.claims import Claims
from gateway.execution.holders.leases import Leases
from gateway.execution.holders.limits import Limits
from gateway.execution.holders.orphans import Orphans
from gateway.execution.holders.registry import Workers
from gateway.execution.holders.runner import Runner
from gateway.execution.monitor import Monitor
from gateway.execution.record.state import State
from gateway.execution.tasks.lifecycle import Lifecycle
from gateway.ports import Clock, Entry

__all__ = ["Reactions"]

# Between two looks for what is too old to keep.
FORGET_EVERY_S = 30.0


class Reactions:
    """The consequences of entries, for the parts that live in time."""

    def __init__(
        self,
        *,
        state: State,
        lifecycle: Lifecycle,
        leases: Leases,
        breakers: Breakers,
        limits: Limits,
        workers: Workers,
        claims: Claims,
        runner: Runner,
        attempts: Attempts,
        agents: Agents,
        supervised: Supervised,
        orphans: Orphans,
        monitor: Monitor,
        clock: Clock,
    ) -> None:
        self._state = state
        self._lifecycle = lifecycle
        self._leases = leases
        self._breakers = breakers
        self._limits = limits
        self._workers = workers
        self._claims = claims
        self._runner = runner
        self._attempts = attempts
        self._agents = agents
        self._supervised = supervised
        self._orphans = orphans
        self._monitor = monitor
        self._clock = clock
        self._ends: dict[str, list[asyncio.Future[Task]]] = {}
        monitor.woke_late = self._woke_late

    async def ended(self, task_id: str) -> Task:
        """
        Wait until a task has ended; cancelling ends the wait, not the task.

        Raises:
            NotFound: If it was lost with its log.
        """
        task = self._state.tasks[task_id]
        if not task.live:
            return task
        end: asyncio.Future[Task] = asyncio.get_running_loop().create_future()
        self._ends.setdefault(task_id, []).append(end)
        try:
            return await end
        finally:
            waiting = self._ends.get(task_id, [])
            if end in waiting:
                waiting.remove(end)
            if not waiting:
                self._ends.pop(task_id, None)

    def to(self, entry: Entry, outcome: Outcome | None) -> None:
        """
        Do what follows from an entry that is new at this moment.

        Args:
            entry: It is folded already.
            outcome: Of an attempt that it tells, if it counts.
        """
        if outcome is not None:
            self._breakers.report(outcome, at=entry.at)
        kind, _, name = entry.subject.partition("/")
        if kind == "task":
            self._task_moved(name, entry)
        elif kind == "breaker":
            self._breaker_moved(name, entry)
        elif kind == "agent" and entry.type == "agent_registered":
            self._agents.learn(self._state.workers[name].agents.values())
            self._workers.registered(name)
            self.look_again()
        elif kind == "agent":
            # A worker that is back may have a claim that waits.
            self._claims.wake()

    def begin(self) -> None:
        """The folds know what the log says: look after all that is open."""
        self._monitor.at(self._clock.wall() + FORGET_EVERY_S, self._let_go)
        self._limits.refresh()
        for worker in self._state.workers.values():
            self._agents.learn(worker.agents.values())
        for task in self._state.live.values():
            self._limits.submitted(task)
            if task.status == "running":
                self._limits.attempt(task)
            elif task.next_attempt_at is not None:
                self._monitor.at(task.next_attempt_at, self._look)
        for breaker in self._state.breakers.values():
            self._watch_breaker(breaker)
        self._breakers.begin()
        self._monitor.at(self._clock.wall(), self._breakers.act)
        self._workers.resume()
        self._monitor.at(self._clock.wall(), self._orphans.free)
        self.look_again()

    def forget(self) -> None:
        """Know nothing, and stop what is done for tasks that are lost with their log."""
        self._state.clear()
        self._workers.clear()
        self._monitor.clear()
        self._limits.clear()
        self._breakers.clear()
        self._attempts.all_ended()
        self._runner.forget()
        self._supervised.forget()
        for task_id in list(self._ends):
            for end in self._ends.pop(task_id):
                if not end.done():
                    end.set_exception(NotFound(f"task {task_id} was lost with its log"))

    def made_up(self) -> None:
        """The store was away, and nobody could renew or tell anything."""
        self._woke_late()
        self._monitor.at(self._clock.wall(), self._breakers.act)
        self.look_again()

    def _task_moved(self, task_id: str, entry: Entry) -> None:
        task = self._state.tasks.get(task_id)
        if task is None:
            return
        if self._lifecycle.doubts.settled(entry):
            self._monitor.at(self._clock.wall(), functools.partial(self._undo, task_id, task.term))
        match entry.type:
            case "task_submitted":
                self._limits.submitted(task)
                self.look_again()
            case "task_started":
                self._limits.attempt(task)
            case "agent_error" | "lease_changed":
                self._limits.lease(task)
                # It may have given back a breaker's permit that others wait for.
                self.look_again()
            case "recovery_attempt" | "task_progress":
                if task.next_attempt_at is not None:
                    self._monitor.at(task.next_attempt_at, self._look)
            case "task_finished":
                self._attempts.ended(task_id)
                self.look_again()
                for end in self._ends.pop(task_id, ()):
                    if not end.done():
                        end.set_result(task)

    def _breaker_moved(self, name: str, entry: Entry) -> None:
        assert entry.subject == subject_of(name)
        self._watch_breaker(self._state.breakers[name])
        self.look_again()

    def _watch_breaker(self, breaker: Breaker) -> None:
        if breaker.state == "open" and breaker.probe_at is not None:
            self._monitor.at(breaker.probe_at, self._look)

    def look_again(self) -> None:
        """Something may be there to do, for the worker of this process or for others."""
        self._runner.wake()
        self._claims.wake()

    def _woke_late(self) -> None:
        self._workers.forgive()
        self._limits.refresh()

    async def _undo(self, task_id: str, term: int) -> None:
        """Undo a beginning of which nobody was told: an attempt, or a task for a block."""
        task = self._state.live.get(task_id)
        if task is not None and task.reserved_for is not None:
            await self._lifecycle.give_up(task_id, own_failures.store_away())
        elif task is not None and task.status == "running" and task.term == term:
            with contextlib.suppress(StaleTerm):
                await self._leases.release(task_id, term)

    # --- timers -----------------------------------------------------------------------------

    async def _look(self) -> None:
        self.look_again()

    async def _let_go(self) -> None:
        now = self._clock.wall()
        self._state.forget(now)
        self._workers.forget(now)
        self._monitor.at(now + FORGET_EVERY_S, self._let_go)
        self._monitor.at(now, self._orphans.free)
        await self._breakers.act()
