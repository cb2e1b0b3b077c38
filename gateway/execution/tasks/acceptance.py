"""
Acceptance: whether an order becomes a task, and what is said when it does not.

An order is taken once under its idempotency key. It is refused while it could not be served: the
agent's breaker is open, the queue is full, or the gateway is leaving. A refusal is an event, too:
the user is told, not only the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from gateway.domain.access import LOCAL_OPERATOR
from gateway.domain.agent import AgentPolicy
from gateway.domain.errors import (
    Conflict,
    ExpectationFailed,
    RateLimitedRequest,
    Rejected,
    Unavailable,
)
from gateway.domain.mode import refusal
from gateway.domain.rates import Buckets
from gateway.domain.settings import Settings
from gateway.domain.task import Task, subject_of
from gateway.execution.guards.breakers import Admission, Breakers, Refusal
from gateway.execution.guards.refusals import Refusals
from gateway.execution.guards.volume import Volume
from gateway.execution.record.intake import RACES_MAX, Decision, Intake
from gateway.execution.record.policies import Policies
from gateway.execution.record.state import State
from gateway.execution.tasks.lifecycle import Lifecycle
from gateway.execution.tasks.order import Order
from gateway.values import measured

__all__ = ["QUEUE_SHARE", "Acceptance"]

# The priority of an order that names none.
PRIORITY = 5
PRIORITY_LOWEST = 10
# The code of a refusal since the user's share of the queue is full.
QUEUE_SHARE = "queue_share"
# When a full queue is worth another try if nothing has begun lately, and between which bounds
# otherwise, in seconds.
QUEUE_RETRY_AFTER_S = 1.0
RETRY_AFTER_S_MIN, RETRY_AFTER_S_MAX = 1.0, 60.0


class Acceptance:
    """
    Takes orders.

    Args:
        state: Gives the queue, the breakers and the idempotency keys.
        intake: The write path.
        volume: Tells how much each user's tasks have written.
        refusals: Tell the user of an order that is not taken.
        breakers: Give a probe's permit.
        lifecycle: Makes the task.
        policies: Give an agent's breaker, fallback and defaults.
        settings: Give defaults, the queue's limit, and a user's share of it.

    Attributes:
        draining: Set when the gateway leaves; then no order is taken any more.
    """

    def __init__(
        self,
        *,
        state: State,
        intake: Intake,
        refusals: Refusals,
        volume: Volume,
        breakers: Breakers,
        lifecycle: Lifecycle,
        policies: Policies,
        settings: Settings,
    ) -> None:
        self._state = state
        self._intake = intake
        self._refusals = refusals
        self._volume = volume
        self._breakers = breakers
        self._lifecycle = lifecycle
        self._policies = policies
        self._settings = settings
        rate = settings.rate_agent
        self._rates = Buckets(rate=rate, burst=max(1.0, 2 * rate)) if rate else None
        self.draining = False

    def order(
        self,
        agent: str | None,
        *,
        input: Any,
        user_id: str,
        capability: str | None = None,
        priority: int | None = None,
        timeout: float | None = None,
        max_attempts: int | None = None,
        **more: str | None,
    ) -> Order:
        """
        Make an order, with defaults for what the caller has not named.

        Args:
            agent: The agent; None: any agent that has ``capability``.
            priority: None: 5.
            timeout: The caller's deadline in seconds; None: the setting ``task_timeout``.
            max_attempts: None: as the agent is declared.
            more: Other fields of ``Order``.

        Raises:
            InvalidParams, TooLarge: If the input is no JSON, or more than the setting allows.
        """
        measured(input, field="input", bytes_max=self._settings.input_bytes)
        policy = self._policies.of(agent or capability or "")
        return Order(
            agent_name=agent,
            capability=capability,
            input=input,
            user_id=user_id,
            priority=PRIORITY if priority is None else priority,
            timeout_s=timeout or self._settings.task_timeout,
            max_attempts=max_attempts or policy.max_attempts,
            **more,
        )

    async def submit(
        self, order: Order, *, beside: Callable[[str], Decision] = lambda _: ((), {})
    ) -> Task:
        """
        Make the task of an order; give the task that its idempotency key made before, if any.

        Args:
            beside: Makes what is appended with the task, from its id; asked again after each
                lost race. What it raises ends the call.

        Raises:
            Rejected: If the agent's breaker is open, the queue is full, or the gateway is leaving.
            RateLimitedRequest: If as many tasks of the user wait as may, or they have written too
                much.
            Conflict: If the idempotency key stands for another order.
            Unavailable: If others are faster again and again, or the store does not answer.
        """
        uses_of_key = 0
        for _ in range(RACES_MAX):
            if order.idempotency_key is None:
                task_id = self._intake.ids.uuid7()
            else:
                task_id = order.id_by_key(uses_of_key)
                known = self._state.keys.task_of(order.user_id, order.idempotency_key)
                if known is not None:
                    return self._taken_before(known, order)
            await self._refuse_if_full(order)
            await self._refuse_if_held(order)
            admission = await self._admitted(order, task_id)
            try:
                return await self._lifecycle.submit(task_id, order, admission, beside(task_id))
            except ExpectationFailed as lost:
                # The same order was faster and is known now, or its task is not kept any more.
                uses_of_key += lost.subject == subject_of(task_id)
        raise Unavailable("too many ask at once; ask again", retry_after=1.0)

    async def _admitted(self, order: Order, task_id: str) -> Admission | None:
        """Ask for a probe's permit if the agent's breaker is not closed; None: none is needed."""
        policy = self._policy_of(order)
        breaker = self._state.breakers.get(policy.breaker)
        fallback_serves = policy.fallback is not None and order.reserved_for is None
        if breaker is None or breaker.state == "closed" or fallback_serves:
            return None
        admitted = self._breakers.admit(policy, user_id=order.user_id, task_id=task_id, attempt=1)
        if isinstance(admitted, Refusal):
            await self._reject(
                order,
                reason="circuit_breaker_open",
                retry_after_s=admitted.retry_after_s,
                error_id=admitted.breaker.error_id,
            )
        return admitted

    def _taken_before(self, known: tuple[str, str], order: Order) -> Task:
        task_id, fingerprint = known
        if fingerprint != order.fingerprint:
            raise Conflict(
                "this idempotency key was used for another request; use a new key",
                code="idempotency_key_reused",
                field="idempotency_key",
            )
        task = self._state.tasks.get(task_id)
        if task is None:
            raise Conflict(
                f"task {task_id} was made with this key, and is not kept any more",
                code="idempotency_key_reused",
                field="idempotency_key",
            )
        return task

    async def _refuse_if_full(self, order: Order) -> None:
        if self.draining:
            await self._reject(order, reason="draining", retry_after_s=self._settings.drain_grace)
        if (reason := refusal(self._state.mode.name, order.priority)) is not None:
            await self._reject(order, reason=reason, retry_after_s=self._settings.mode_period)
        if order.reserved_for is not None:
            return  # it does not wait: the process that it is reserved for begins at once
        if not self._has_room(order.priority):
            await self._reject(
                order, reason="priority_load_shedding", retry_after_s=self._room_in_s()
            )
        # What is critical is for few to ask; and on an open gateway "local" is everyone.
        if order.priority > 0 and order.user_id != LOCAL_OPERATOR.user_id:
            share = max(1, int(self._settings.queue_limit * self._settings.queue_share))
            if self._state.queue.waiting_of(order.user_id) >= share:
                await self._refuse_too_much(
                    order,
                    f"{share} tasks of this user wait, as many as may; wait for one to begin",
                    code=QUEUE_SHARE,
                    retry_after_s=QUEUE_RETRY_AFTER_S,
                )
            if wait_s := self._volume.room_in_s(order.user_id):
                await self._refuse_too_much(
                    order,
                    f"this user's tasks have written too much: {self._volume.rate} bytes a second, "
                    f"and {self._volume.burst} at once",
                    code="rate_limited",
                    retry_after_s=wait_s,
                )
        if order.priority > 0 and (wait_s := self._rate_of_agent(order)):
            await self._refuse_too_much(
                order,
                f"too many tasks for this agent: {self._settings.rate_agent:g} a second are "
                "taken, and twice as many at once",
                code="rate_limited",
                retry_after_s=wait_s,
            )

    async def _refuse_if_held(self, order: Order) -> None:
        """Refuse a block whose upstream is held; what stands in the queue waits for it there."""
        if (
            order.reserved_for is None
            or (hold := self._policies.hold(self._policy_of(order))) is None
        ):
            return
        if (held_s := hold.left_s(self._intake.clock.wall())) > 0:
            await self._reject(order, reason="rate_limited", retry_after_s=held_s)

    def _rate_of_agent(self, order: Order) -> float:
        """Count one task of an agent; gives the seconds until there may be one, 0: now."""
        if self._rates is None or order.agent_name is None:
            return 0.0
        return self._rates.take(order.agent_name, self._intake.clock.monotonic())

    def _has_room(self, priority: int) -> bool:
        """
        Tell whether the queue takes one more task of a priority.

        From its limit on it takes what is more urgent than something that waits, the more of it
        the more urgent it is: a tenth of the limit for each step, so that the lowest priority is
        refused first. What is critical has the whole.
        """
        depth, limit = self._state.queue_depth, self._settings.queue_limit
        if depth < limit:
            return True
        if priority > 0 and priority >= (self._state.queue.least_urgent() or 0):
            return False
        return depth < limit + limit * (PRIORITY_LOWEST - priority) / PRIORITY_LOWEST

    def _room_in_s(self) -> float:
        """Tell when there will be room, by how fast tasks have begun lately."""
        tasks = self._state.queue_depth - self._settings.queue_limit + 1
        wait_s = self._state.queue.drain.wait_s(max(1, tasks), self._intake.clock.wall())
        if wait_s is None:
            return QUEUE_RETRY_AFTER_S
        return min(max(wait_s, RETRY_AFTER_S_MIN), RETRY_AFTER_S_MAX)

    async def _refuse_too_much(
        self, order: Order, why: str, *, code: str, retry_after_s: float
    ) -> NoReturn:
        raise await self._refusals.told(
            RateLimitedRequest(why, code=code, retry_after=retry_after_s),
            reason="rate_limited",
            user_id=order.user_id,
            policy=self._policy_of(order),
        )

    async def _reject(
        self, order: Order, *, reason: str, retry_after_s: float, error_id: str | None = None
    ) -> NoReturn:
        policy = self._policy_of(order)
        raise await self._refusals.told(
            Rejected(
                f"{policy.name} takes no tasks now: {reason}",
                code=reason,
                retry_after=retry_after_s,
            ),
            reason=reason,
            user_id=order.user_id,
            policy=policy,
            error_id=error_id,
        )

    def _policy_of(self, order: Order) -> AgentPolicy:
        return self._policies.of(order.agent_name or order.capability or "")
