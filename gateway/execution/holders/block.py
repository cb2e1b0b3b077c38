"""
Code of this process that runs elsewhere, an endpoint or a loop, supervised as one attempt.

Its task is made for it alone: it does not stand in the queue, nobody else can do it, and when it
cannot begin it ends at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from gateway.attempts.agents import Agents
from gateway.attempts.attempt import Attempts
from gateway.attempts.task import Task as Work
from gateway.domain import own_failures
from gateway.domain.errors import (
    ExpectationFailed,
    NotFound,
    Rejected,
    RequestError,
    Unavailable,
)
from gateway.domain.failure import Failure
from gateway.domain.settings import Settings
from gateway.domain.task import Task
from gateway.execution.guards.breakers import Breakers, Refusal
from gateway.execution.monitor import Monitor
from gateway.execution.tasks.acceptance import Orders
from gateway.execution.tasks.lifecycle import RACES_MAX, Lifecycle
from gateway.execution.tasks.order import Order
from gateway.ports import Clock

__all__ = ["Supervised"]


class Supervised:
    """
    Makes attempts around blocks.

    Args:
        holder: agent_id under which this process holds its tasks.
        monitor: Ends what could not begin, as soon as the store takes it.

    Attributes:
        used: Whether there was ever one, so that others have to know this process.
    """

    def __init__(
        self,
        *,
        holder: str,
        orders: Orders,
        lifecycle: Lifecycle,
        breakers: Breakers,
        agents: Agents,
        attempts: Attempts,
        monitor: Monitor,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._holder = holder
        self._orders = orders
        self._lifecycle = lifecycle
        self._breakers = breakers
        self._agents = agents
        self._attempts = attempts
        self._monitor = monitor
        self._clock = clock
        self._settings = settings
        self._beginning = 0
        self._tasks: set[str] = set()
        self.used = False

    @property
    def busy(self) -> int:
        """Blocks that run now, or are about to."""
        return self._beginning + len(self._tasks)

    def has(self, task_id: str) -> bool:
        """Whether there may be a block for a task."""
        return self._beginning > 0 or task_id in self._tasks

    def forget(self) -> None:
        """What runs counts for nothing any more: nobody knows its tasks."""
        self._tasks.clear()

    @contextlib.asynccontextmanager
    async def attempt(
        self, agent_name: str, *, user_id: str, input: Any, timeout_s: float | None
    ) -> AsyncIterator[Work]:
        """
        Supervise the block; see ``Gateway.attempt``.

        Raises:
            Rejected: If the agent's breaker is open, or the gateway is leaving.
            Unavailable: If the store is away.
        """
        declared = self._agents.get(agent_name)
        policy = self._agents.policy(agent_name)
        limit_s = timeout_s or policy.timeout_s
        beginning = asyncio.ensure_future(self._begin(agent_name, user_id, input, limit_s))
        try:
            task = await asyncio.shield(beginning)
        except asyncio.CancelledError:
            with contextlib.suppress(RequestError, ExpectationFailed):
                task = await beginning
                self._tasks.discard(task.task_id)
                self._end_soon(task, own_failures.cancelled("user"))
            raise
        hooks = () if declared is None else declared.cleanup
        try:
            async with self._attempts.around(task, policy, limit_s=limit_s, hooks=hooks) as work:
                yield work
        finally:
            self._tasks.discard(task.task_id)

    async def _begin(self, agent_name: str, user_id: str, input: Any, limit_s: float) -> Task:
        self.used = True
        self._beginning += 1
        try:
            task = await self._begun(agent_name, user_id, input, limit_s)
            self._tasks.add(task.task_id)
        finally:
            self._beginning -= 1
        return task

    async def _begun(self, agent_name: str, user_id: str, input: Any, limit_s: float) -> Task:
        policy = self._agents.policy(agent_name)
        task = await self._orders.submit(
            Order(
                agent_name=agent_name,
                input=input,
                user_id=user_id,
                # The block's own limit always comes first: a caller's deadline stops nobody's code.
                timeout_s=limit_s + self._settings.task_timeout,
                max_attempts=1,
                reserved_for=self._holder,
            )
        )
        for _ in range(RACES_MAX):
            admitted = self._breakers.admission_of(task, policy)
            if isinstance(admitted, Refusal):
                # It opened between the two appends.
                wait_s = admitted.retry_after_s
                self._end_soon(task, own_failures.circuit_open(wait_s))
                raise Rejected(
                    f"{agent_name} takes no tasks now: circuit_breaker_open",
                    code="circuit_breaker_open",
                    retry_after=wait_s,
                )
            try:
                await self._lifecycle.start(
                    task.task_id, holder=self._holder, limit_s=limit_s, admission=admitted
                )
            except ExpectationFailed:
                continue  # the permit is somebody else's: ask for another one
            except Unavailable:
                self._end_soon(task, own_failures.store_away())
                raise
            return task
        self._end_soon(task, own_failures.internal_error())
        raise Unavailable(f"{agent_name} could not be begun: others were always faster")

    def _end_soon(self, task: Task, failure: Failure) -> None:
        """End a task whose block does not run, as soon as the store takes it."""

        async def end() -> None:
            with contextlib.suppress(NotFound):
                await self._lifecycle.give_up(task.task_id, failure)

        self._monitor.at(self._clock.wall(), end)
