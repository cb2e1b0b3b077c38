"""
Limits: how long a task waits in the queue, runs, is leased, and how long its caller waits for it.

Each limit is a timer. When it is due it looks at the folds, and acts only on what is still so;
a task that has moved on needs no timer to be cancelled.
"""

from __future__ import annotations

import contextlib
import math

from gateway.domain import own_failures
from gateway.domain.errors import Conflict, StaleTerm, Unavailable
from gateway.domain.recovery import Next
from gateway.domain.task import Task
from gateway.execution.holders.leases import Leases
from gateway.execution.holders.presence import Presence
from gateway.execution.monitor import Monitor
from gateway.execution.record.policies import Policies
from gateway.execution.record.state import State
from gateway.execution.tasks.lifecycle import Lifecycle

__all__ = ["Limits"]

# How long after an attempt's limit its worker may still report that the limit was hit, in seconds.
LIMIT_MARGIN_S = 0.5


class Limits:
    """
    Watches tasks.

    Args:
        presence: Tells a worker that has stalled from one that is silent.
        monitor: Calls when a limit is due.
        queue_timeout_s: A task that waits for a holder this long, in seconds, ends as untaken;
            counted from its submission, or from when its last holder gave it back.
    """

    def __init__(
        self,
        *,
        state: State,
        lifecycle: Lifecycle,
        leases: Leases,
        presence: Presence,
        policies: Policies,
        monitor: Monitor,
        queue_timeout_s: float,
    ) -> None:
        self._state = state
        self._lifecycle = lifecycle
        self._leases = leases
        self._presence = presence
        self._policies = policies
        self._monitor = monitor
        self._queue_timeout_s = queue_timeout_s
        # By task: when its lease is looked at next.
        self._lease_due: dict[str, float] = {}
        # When this node last began to run again after it had not.
        self._fresh_at = 0.0
        # By task, leases that could not be renewed meanwhile: when each was to end, and when it
        # ends for this node.
        self._fresh: dict[str, tuple[float, float]] = {}
        monitor.when_late(self.refresh)

    def refresh(self) -> None:
        """
        Let every lease begin afresh here: this node did not run, so it could renew none.

        What the workers have reported meanwhile waits in their connections; this is the time in
        which it is read.
        """
        now = self._fresh_at = self._monitor.now
        self._fresh = {
            task.task_id: (task.lease_expires_at, now + task.lease_ttl_s)
            for task in self._state.live.values()
            if task.lease_expires_at is not None and task.lease_ttl_s is not None
        }

    def clear(self) -> None:
        """Watch nothing; the timers are gone with the log."""
        self._lease_due.clear()
        self._fresh.clear()

    def submitted(self, task: Task) -> None:
        """Look at a new task at the end of its time in the queue, and at its deadline."""
        task_id = task.task_id
        # The queue's limit comes first: if both are as long, it gives the better reason.
        untaken_at = task.created_at + self._queue_timeout_s
        self._monitor.at(untaken_at, lambda: self._untaken(task_id), task_id=task_id)
        self._monitor.at(task.deadline_at, lambda: self._deadline(task_id), task_id=task_id)

    def attempt(self, task: Task) -> None:
        """Look at a worker's attempt when its lease ends, and when the attempt's limit is over."""
        if task.lease_expires_at is None:
            return
        task_id, term = task.task_id, task.term
        self.lease(task)
        limit_s = self._policies.of_task(task).timeout_s
        over_at = task.attempts[-1].started_at + limit_s + LIMIT_MARGIN_S
        self._monitor.at(over_at, lambda: self._limit_over(task_id, term, limit_s), task_id=task_id)

    def ended(self, task_id: str) -> None:
        """Watch a task no more; the monitor sweeps its timers out."""
        self._lease_due.pop(task_id, None)
        self._fresh.pop(task_id, None)

    def lease(self, task: Task) -> None:
        """Look at a lease when it ends; a task has one timer for it, the earliest asked for."""
        task_id, due = task.task_id, task.lease_expires_at
        if due is not None and due < self._lease_due.get(task_id, math.inf):
            self._look_at(task_id, due)

    def _look_at(self, task_id: str, due: float) -> None:
        self._lease_due[task_id] = due
        self._monitor.at(due, lambda: self._lease_over(task_id, due), task_id=task_id)

    # --- when it is due ---------------------------------------------------------------------

    async def _deadline(self, task_id: str) -> None:
        task = self._state.live.get(task_id)
        if task is None:
            return
        policy = self._policies.of_task(task)
        breaker = self._state.breakers.get(policy.breaker)
        if task.status != "running" and breaker is not None and breaker.state != "closed":
            failure = own_failures.circuit_open(breaker.retry_after_s(self._monitor.now))
            after = Next("failed", reason="circuit_open")
        else:
            held = task.waiting_for
            failure = own_failures.caller_deadline(
                task.timeout_s,
                waited_for=None if held is None else f"{held['waits_for']} {held['name']}",
            )
            after = Next("failed", reason="caller_deadline")
        with contextlib.suppress(Conflict):
            await self._lifecycle.end(task_id, failure, cause="timeout", after=after)

    async def _untaken(self, task_id: str) -> None:
        task = self._state.live.get(task_id)
        if task is None:
            return
        taken_by = self._waits_since(task) + self._queue_timeout_s
        breaker = self._state.breakers.get(self._policies.of_task(task).breaker)
        if self._monitor.now >= taken_by and breaker is not None and breaker.state != "closed":
            # It waits for a probe, and after that as long again for a holder.
            taken_by = self._monitor.now + self._queue_timeout_s
        if self._monitor.now < taken_by:
            self._monitor.at(taken_by, lambda: self._untaken(task_id), task_id=task_id)
            return
        with contextlib.suppress(Conflict):
            await self._lifecycle.end(
                task_id,
                own_failures.no_worker(),
                cause="timeout",
                after=Next("dead_lettered", reason="no_worker"),
            )

    def _waits_since(self, task: Task) -> float:
        """Tell since when a task waits for a holder; one that does not could begin to wait now."""
        if task.status != "pending":
            return self._monitor.now
        given_back_at = task.attempts[-1].ended_at if task.attempts else None
        # While this node did not run no worker could take it here, and none might while what it
        # calls was held.
        hold = self._policies.hold(self._policies.of_task(task))
        held_until = 0.0 if hold is None else hold.until
        return max(given_back_at or task.created_at, self._fresh_at, held_until)

    def given_up_at(self, task: Task) -> float:
        """Tell when a task that nobody takes is given up."""
        if task.status != "pending":
            return task.deadline_at
        since, every_s = self._waits_since(task), self._queue_timeout_s
        looks = max(1, math.ceil((self._monitor.now - since) / every_s))
        return min(task.deadline_at, since + looks * every_s)

    async def _lease_over(self, task_id: str, due: float) -> None:
        if self._lease_due.get(task_id) != due:
            return  # a renewal has made the lease shorter, and an earlier timer has looked
        del self._lease_due[task_id]
        task = self._state.live.get(task_id)
        if task is None or task.lease_expires_at is None:
            return
        lease_ends_at = ends_at = task.lease_expires_at
        was_to_end_at, anew = self._fresh.pop(task_id, (0.0, 0.0))
        if was_to_end_at == ends_at:
            ends_at = max(ends_at, anew)
        if self._monitor.now < ends_at:
            # It was renewed, or has another holder by now, or this node did not run.
            self._look_at(task_id, ends_at)
            return
        lost = own_failures.agent_lost("lease_expired")
        try:
            await self._leases.lose(task_id, task.term, lost, ends_at=lease_ends_at)
        except StaleTerm:
            self.lease(task)  # renewed at the last moment, or another holder's
        except Unavailable:
            self._lease_due.setdefault(task_id, due)  # the monitor calls again
            raise

    async def _limit_over(self, task_id: str, term: int, limit_s: float) -> None:
        task = self._state.live.get(task_id)
        if task is None or task.term != term or task.holder is None:
            return
        told_by = self._fresh_at + LIMIT_MARGIN_S
        if self._monitor.now < told_by:
            self._monitor.at(
                told_by, lambda: self._limit_over(task_id, term, limit_s), task_id=task_id
            )
            return
        # A worker in order would have reported that its attempt ran into the limit.
        if self._presence.beats(task.holder):
            failure = own_failures.agent_lost("stalled")
        else:
            upstream = self._policies.of_task(task).upstream
            failure = own_failures.timed_out(limit_s, llm_upstream=upstream is not None)
        with contextlib.suppress(StaleTerm):
            await self._leases.lose(task_id, term, failure)
