"""
A block: code of the application, such as an endpoint, supervised as one attempt at one task.

The task is made for the block alone. It does not wait in the queue, no other process can do it,
and it ends at once when the block cannot begin. A block that ends while the store is away goes on
after ``attempt.END_WAIT_S``; its task ends within a second of the store's return, or at its
deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from gateway.attempts.assignment import Assignment
from gateway.attempts.attempt import Attempts
from gateway.attempts.demands import NONE
from gateway.attempts.spans import current_traceparent
from gateway.attempts.task import Task as AgentTask
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
from gateway.execution.record.intake import RACES_MAX
from gateway.execution.record.policies import Policies
from gateway.execution.tasks.acceptance import Acceptance
from gateway.execution.tasks.lifecycle import Lifecycle

__all__ = ["Blocks"]


class Blocks:
    """
    Makes attempts around blocks.

    Args:
        holder: agent_id under which this process holds its tasks.
        monitor: Ends the task of a block that could not begin, as soon as the store takes it.

    Attributes:
        used: Whether this process ever began a block; from then on the other nodes have to know it.
    """

    def __init__(
        self,
        *,
        holder: str,
        acceptance: Acceptance,
        lifecycle: Lifecycle,
        breakers: Breakers,
        policies: Policies,
        attempts: Attempts,
        monitor: Monitor,
        settings: Settings,
    ) -> None:
        self._holder = holder
        self._acceptance = acceptance
        self._lifecycle = lifecycle
        self._breakers = breakers
        self._policies = policies
        self._attempts = attempts
        self._monitor = monitor
        self._settings = settings
        self._beginning = 0
        self._tasks: set[str] = set()
        self.used = False

    @property
    def busy(self) -> int:
        """How many blocks run now, are about to, or have an end that is still being told."""
        return self._beginning + len(self._tasks | self._attempts.late)

    def has(self, task_id: str) -> bool:
        """
        Whether there may be a block for a task, or its end is still being told.

        One that begins may be for any.
        """
        return self._beginning > 0 or task_id in self._tasks or task_id in self._attempts.late

    def clear(self) -> None:
        """Drop every block: its task is lost with the log."""
        self._tasks.clear()

    async def give_up(self) -> None:
        """End the tasks of all blocks: this process leaves, and no other process has their code."""
        for task_id in tuple(self._tasks):
            await self._lifecycle.give_up(task_id, own_failures.shutdown())

    @contextlib.asynccontextmanager
    async def attempt(
        self, agent_name: str, *, user_id: str, input: Any, timeout_s: float | None
    ) -> AsyncIterator[AgentTask]:
        """
        Supervise the block; see ``Gateway.attempt``.

        Args:
            timeout_s: The block's limit, in seconds; None: as the agent is declared.

        Raises:
            Rejected: If the agent's breaker is open, or the gateway is leaving.
            Unavailable: If the store is away.
        """
        declared = self._attempts.agents.get(agent_name)
        policy = self._policies.of(agent_name)
        limit_s = timeout_s or policy.timeout_s
        beginning = asyncio.ensure_future(self._begin(agent_name, user_id, input, limit_s))
        try:
            task = await asyncio.shield(beginning)
        except asyncio.CancelledError:
            # The start may be in the log by now: wait for its answer, and leave no task open.
            with contextlib.suppress(RequestError, ExpectationFailed):
                task = await beginning
                self._tasks.discard(task.task_id)
                self._end_soon(task, own_failures.cancelled("user"))
            raise
        hooks = () if declared is None else declared.cleanup
        demands = NONE if declared is None else declared.demands
        try:
            assignment = Assignment.of(task, limit_s=limit_s)
            async with self._attempts.around(
                assignment, policy, hooks=hooks, demands=demands
            ) as seen:
                yield seen
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
        policy = self._policies.of(agent_name)
        order = self._acceptance.order(
            agent_name,
            input=input,
            user_id=user_id,
            # The deadline would end the task and not the code, so the block's limit comes first.
            timeout=limit_s + self._settings.task_timeout,
            max_attempts=1,
            reserved_for=self._holder,
            traceparent=current_traceparent(),
        )
        task = await self._acceptance.submit(order)
        for _ in range(RACES_MAX):
            way = self._breakers.way(task, policy, stand_in=None)
            if isinstance(way, Refusal):
                # The breaker opened between the two appends.
                wait_s = way.retry_after_s
                self._end_soon(task, own_failures.circuit_open(wait_s))
                raise Rejected(
                    f"{agent_name} takes no tasks now: circuit_breaker_open",
                    code="circuit_breaker_open",
                    retry_after=wait_s,
                )
            try:
                await self._lifecycle.start(
                    task.task_id, holder=self._holder, limit_s=limit_s, way=way
                )
            except ExpectationFailed:
                continue  # another call has this permit: ask for one more
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

        self._monitor.soon(end)
