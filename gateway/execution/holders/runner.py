"""
The runner: takes tasks for the agents that are declared in this process, most urgent first.

While a breaker is open the fallback serves its agent's tasks, or they wait for a probe; either way
no attempt is spent on an upstream that is known to be down. Whatever goes wrong with one task, the
runner goes on with the others.
"""

from __future__ import annotations

import asyncio

from gateway.attempts.agents import Declared
from gateway.attempts.assignment import Assignment
from gateway.attempts.attempt import Attempts
from gateway.domain import own_failures
from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import Conflict, ExpectationFailed, Unavailable
from gateway.domain.queue import routes_of
from gateway.domain.task import Task
from gateway.execution.guards.breakers import Breakers, Refusal, StandIn
from gateway.execution.holders.bell import Bell
from gateway.execution.holders.left_threads import LeftThreads
from gateway.execution.monitor import Monitor
from gateway.execution.record.state import State
from gateway.execution.tasks.lifecycle import Lifecycle

__all__ = ["Runner"]

logger = logger_of(__name__)

# Tasks that are tried before the next look; another holder may take the first ones meanwhile.
TRIES_MAX = 16
# A task whose start the store did not take is looked at again after this, in seconds, unless the
# store says when.
RETRY_S = 1.0


class Runner:
    """
    Runs a bounded number of attempts at once.

    Args:
        holder: agent_id under which this process holds its tasks.
        slots: How many attempts may run at once.
        bell: Wakes it.

    Attributes:
        left_threads: Tell which task's last attempt still runs.
    """

    def __init__(
        self,
        *,
        holder: str,
        slots: int,
        state: State,
        lifecycle: Lifecycle,
        breakers: Breakers,
        attempts: Attempts,
        monitor: Monitor,
        bell: Bell,
    ) -> None:
        self.holder = holder
        self._slots = slots
        self._state = state
        self._lifecycle = lifecycle
        self._breakers = breakers
        self._attempts = attempts
        self._agents = attempts.agents
        self.left_threads = LeftThreads(state, attempts)
        self._monitor = monitor
        bell.hear(self.wake)
        self._wake = asyncio.Event()
        self._busy: dict[asyncio.Task[None], str] = {}
        # The task whose start is under way.
        self._starting: str | None = None
        self._paused = False

    @property
    def busy(self) -> int:
        """How many attempts run now, or are about to."""
        return len(self._busy) + (self._starting is not None)

    def has(self, task_id: str) -> bool:
        """Whether this process makes an attempt at a task, or is about to."""
        return task_id == self._starting or task_id in self._busy.values()

    def clear(self) -> None:
        """Disown the attempts that run: their tasks are lost with the log."""
        self._busy = dict.fromkeys(self._busy, "")

    def wake(self) -> None:
        """Look whether there is something to do."""
        self._wake.set()

    def pause(self) -> None:
        """Take nothing new until ``run`` begins again; attempts that run go on."""
        self._paused = True

    async def run(self) -> None:
        """Take and run tasks until cancelled, which cancels the attempts, too."""
        self._wake = asyncio.Event()  # belongs to the loop that runs now
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

    @property
    def runs_here(self) -> bool:
        """Whether attempts are made in this process."""
        return self._slots > 0

    def leave_to_others(self) -> None:
        """Run nothing here, from the beginning on: other processes have the same agents."""
        self._slots = 0

    def _freed(self, attempt: asyncio.Task[None]) -> None:
        self._busy.pop(attempt, None)
        self._wake.set()

    async def _make(self, record: Task, declared: Declared, term: int) -> None:
        if record.status != "running" or record.term != term:
            return  # this process stood still, and the task has another holder by now
        assignment = Assignment.of(record, limit_s=declared.policy.timeout_s)
        try:
            await self._attempts.make(assignment, declared, fallback=record.mode == "fallback")
        except Exception:
            logger.exception("task %s: the attempt could not be told", record.task_id)
            if record.status == "running" and record.term == term:
                await self._give_up(record)

    async def _give_up(self, task: Task) -> None:
        """End a task that a mistake of our own has stopped: every task ends."""
        try:
            await self._lifecycle.give_up(task.task_id, own_failures.internal_error())
        except Exception:
            logger.exception("task %s could not be ended", task.task_id)

    async def _next(self) -> tuple[Task, Declared, int] | None:
        """Start the most urgent task that can be started now, with its term; None: none can."""
        routes = routes_of([declared.policy.name for declared in self._agents])
        tried: set[str] = set()
        for _ in range(TRIES_MAX):
            task = self._state.queue.next(
                routes,
                self._monitor.now,
                fits=lambda task: task.task_id not in tried and self._could_start(task),
            )
            if task is None:
                return None
            tried.add(task.task_id)
            declared = self._agents.get(task.agent_name)
            assert declared is not None
            self._starting = task.task_id
            try:
                if (term := await self._start(task, declared)) is not None:
                    return task, declared, term
            except (ExpectationFailed, Conflict):
                # Another holder took the task, or another call its permit: look again.
                self._wake.set()
            except Unavailable as error:
                logger.warning("task %s was not started: %s", task.task_id, error)
                self._monitor.at(self._monitor.now + (error.retry_after or RETRY_S), self._look)
            except Exception:
                # One task that cannot be started must not stop all others.
                logger.exception("task %s could not be started", task.task_id)
                await self._give_up(task)
            finally:
                self._starting = None
        return None

    def _could_start(self, task: Task) -> bool:
        """Whether an attempt at ``task`` may begin, as far as can be told without asking."""
        declared = self._agents.get(task.agent_name)
        assert declared is not None
        if not self._attempts.has_room(declared, fallback=task.next_mode == "fallback"):
            return False
        if self.left_threads.running(task, by=self.holder):
            return False
        policy = declared.policy
        return not self._breakers.refuses(task, policy, stand_in=policy.fallback)

    async def _look(self) -> None:
        self.wake()

    async def _start(self, task: Task, declared: Declared) -> int | None:
        """Begin an attempt and give its term; None: it cannot begin now."""
        policy = declared.policy
        way = self._breakers.way(task, policy, stand_in=policy.fallback)
        if isinstance(way, Refusal):
            return None
        if not self._attempts.has_room(declared, fallback=isinstance(way, StandIn)):
            return None
        return await self._lifecycle.start(
            task.task_id, holder=self.holder, limit_s=policy.timeout_s, way=way
        )
