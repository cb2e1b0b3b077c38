"""
The worker inside this process: takes tasks for the agents declared here, most urgent first.

While a breaker is open its agent's tasks are served by the fallback, or they wait for a probe;
either way no attempt is spent on an upstream that is known to be down.
"""

from __future__ import annotations

import asyncio
import logging

from gateway.attempts.agents import Agents, Declared
from gateway.attempts.attempt import Attempts
from gateway.domain import own_failures
from gateway.domain.errors import Conflict, ExpectationFailed, Unavailable
from gateway.domain.settings import Settings
from gateway.domain.task import Task
from gateway.execution.guards.breakers import Admission, Breakers
from gateway.execution.monitor import Monitor
from gateway.execution.record.state import State
from gateway.execution.tasks.lifecycle import Lifecycle
from gateway.ports import Clock

__all__ = ["Runner"]

logger = logging.getLogger(__name__)

# A task whose start the store did not take is looked at again after this, unless it says when.
RETRY_S = 1.0


class Runner:
    """
    Runs up to ``settings.workers`` attempts at once.

    Args:
        holder: agent_id under which this process holds its tasks.
    """

    def __init__(
        self,
        *,
        holder: str,
        state: State,
        lifecycle: Lifecycle,
        breakers: Breakers,
        agents: Agents,
        attempts: Attempts,
        monitor: Monitor,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self.holder = holder
        self._state = state
        self._lifecycle = lifecycle
        self._breakers = breakers
        self._agents = agents
        self._attempts = attempts
        self._monitor = monitor
        self._clock = clock
        self._slots = settings.workers
        self._wake = asyncio.Event()
        self._busy: dict[asyncio.Task[None], str] = {}
        # The task whose start is under way.
        self._starting: str | None = None
        self._paused = False

    @property
    def busy(self) -> int:
        """Attempts that run now, or are about to."""
        return len(self._busy) + (self._starting is not None)

    def has(self, task_id: str) -> bool:
        """Whether this process makes an attempt at a task, or is about to."""
        return task_id == self._starting or task_id in self._busy.values()

    def forget(self) -> None:
        """What is being made counts for nothing any more: nobody knows its tasks."""
        self._busy = dict.fromkeys(self._busy, "")

    def wake(self) -> None:
        """Something has changed: look whether there is something to do."""
        self._wake.set()

    def pause(self) -> None:
        """Take nothing new; what runs goes on."""
        self._paused = True

    async def run(self) -> None:
        """Take and run tasks, until cancelled; then the attempts are cancelled, too."""
        self._wake = asyncio.Event()  # of the loop that we run on now
        self._wake.set()
        self._paused = False
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while not self._paused and len(self._busy) < self._slots:
                    started = await self._next()
                    if started is None:
                        break
                    record, declared, term = started
                    attempt = group.create_task(self._make(record, declared, term))
                    self._busy[attempt] = record.task_id
                    attempt.add_done_callback(self._freed)

    def _freed(self, attempt: asyncio.Task[None]) -> None:
        self._busy.pop(attempt, None)
        self._wake.set()

    async def _make(self, record: Task, declared: Declared, term: int) -> None:
        if record.status != "running" or record.term != term:
            return  # This process stood still, and the task is somebody else's by now.
        try:
            await self._attempts.make(record, declared, fallback=record.mode == "fallback")
        except Exception:
            logger.exception("task %s: the attempt could not be told", record.task_id)
            if record.status == "running" and record.term == term:
                await self._give_up(record)

    async def _give_up(self, task: Task) -> None:
        """End a task that a mistake of our own has stopped: an end is what it always gets."""
        try:
            await self._lifecycle.give_up(task.task_id, own_failures.internal_error())
        except Exception:
            logger.exception("task %s could not be ended", task.task_id)

    async def _next(self) -> tuple[Task, Declared, int] | None:
        """Start the most urgent task that can be started now, with its term; None: none can."""
        names = [declared.policy.name for declared in self._agents]
        for task in self._state.ready(lambda task: task.agent_name in names, self._clock.wall()):
            declared = self._agents.get(task.agent_name)
            assert declared is not None
            self._starting = task.task_id
            try:
                if (term := await self._start(task, declared)) is not None:
                    return task, declared, term
            except (ExpectationFailed, Conflict):
                # Somebody else took it, or the permit: look again.
                self._wake.set()
            except Unavailable as error:
                logger.warning("task %s was not started: %s", task.task_id, error)
                self._monitor.at(self._clock.wall() + (error.retry_after or RETRY_S), self._look)
            except Exception:
                # One task that cannot be started must not stop all others.
                logger.exception("task %s could not be started", task.task_id)
                await self._give_up(task)
            finally:
                self._starting = None
        return None

    async def _look(self) -> None:
        self.wake()

    async def _start(self, task: Task, declared: Declared) -> int | None:
        """Begin an attempt and give its term; None: it cannot begin now."""
        policy = declared.policy
        fallback = task.next_mode == "fallback"
        admission: Admission | None = None
        if not fallback:
            admitted = self._breakers.admission_of(task, policy)
            if isinstance(admitted, Admission):
                admission = admitted
            elif declared.fallback is None:
                return None
            else:
                fallback = True
        if not self._attempts.has_room(declared, fallback=fallback):
            return None
        return await self._lifecycle.start(
            task.task_id,
            holder=self.holder,
            limit_s=policy.timeout_s,
            admission=admission,
            fallback=policy.fallback if fallback else None,
        )
