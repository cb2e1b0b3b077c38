"""
Quarantine: what follows from a worker's health, as the log tells its attempts' ends.

A worker that falls is told to be suspect, then quarantined; what it holds goes back to the queue
then, which is no failure and spends no attempt. Time releases it. ``presence`` appends its status,
whichever node decides it, and every node acts on what the log tells, so that a node that is killed
between the two leaves nothing undone.
"""

from __future__ import annotations

import contextlib

from gateway.domain.errors import StaleTerm
from gateway.domain.task import Task
from gateway.domain.worker import Worker
from gateway.execution.guards.health import TAKEN, Health
from gateway.execution.holders.leases import Leases
from gateway.execution.holders.presence import Presence
from gateway.execution.monitor import Monitor
from gateway.execution.record.state import State

__all__ = ["Quarantine"]

# A worker that time should have healed and that is not well is looked at again after this, in
# seconds: while its tasks stand still it does not heal.
LOOK_AGAIN_S = 1.0


class Quarantine:
    """
    Looks after the workers that do their tasks badly.

    Args:
        health: Says what each worker is for its health.
        presence: Tells when that is another status.
        leases: Takes tasks from workers that are quarantined.
        monitor: Calls when time may have healed one.
    """

    def __init__(
        self,
        *,
        state: State,
        health: Health,
        presence: Presence,
        leases: Leases,
        monitor: Monitor,
    ) -> None:
        self._state = state
        self._health = health
        self._presence = presence
        self._leases = leases
        self._monitor = monitor
        # By worker: when it is looked at next.
        self._look_at: dict[str, float] = {}

    def clear(self) -> None:
        """Look at nothing; the timers are gone with the log."""
        self._look_at.clear()

    def begin(self) -> None:
        """Look after every worker that the log tells of."""
        for worker in self._state.workers.values():
            self._look_after(worker)

    def changed(self, agent_id: str) -> None:
        """Do what follows from another status of a worker."""
        if (worker := self._state.workers.get(agent_id)) is not None:
            self._look_after(worker)

    def attempted(self, task: Task) -> None:
        """Look at the worker whose attempt at ``task`` has just ended."""
        worker = self._state.workers.get(task.attempts[-1].agent_id) if task.attempts else None
        if worker is None or worker.removed:
            return
        if worker.status != "healthy" or self._health.standing(worker) != "healthy":
            agent_id = worker.agent_id
            self._monitor.soon(lambda: self._judge(agent_id))

    def began(self, task: Task) -> None:
        """Take back what a worker was given while it was being quarantined."""
        worker = self._state.workers.get(task.holder or "")
        if worker is not None and worker.quarantined:
            self._take_soon(worker.agent_id)

    async def report(self, agent_id: str, health: float) -> None:
        """Take how well a worker says it is, 0 to 1."""
        self._health.report(agent_id, health)
        await self._judge(agent_id)

    # --- how --------------------------------------------------------------------------------

    def _look_after(self, worker: Worker) -> None:
        if worker.quarantined:
            self._take_soon(worker.agent_id)
        self._watch(worker)

    def _watch(self, worker: Worker) -> None:
        """See to it that a worker is looked at when time may have healed it."""
        if worker.removed or self._health.standing(worker) == "healthy":
            return
        heals_in_s = self._health.heals_in_s(worker)
        if heals_in_s is None:
            return  # it has to say itself that it is better
        agent_id, now = worker.agent_id, self._monitor.now
        due = now + max(heals_in_s, LOOK_AGAIN_S)
        planned = self._look_at.get(agent_id, 0.0)
        if planned <= now or due < planned:
            self._look_at[agent_id] = due
            self._monitor.at(due, lambda: self._healed(agent_id, due))

    async def _healed(self, agent_id: str, due: float) -> None:
        if self._look_at.get(agent_id) == due:
            await self._judge(agent_id)

    async def _judge(self, agent_id: str) -> None:
        await self._presence.judge(agent_id)
        worker = self._state.workers.get(agent_id)
        if worker is None:
            self._look_at.pop(agent_id, None)
        else:
            self._watch(worker)

    def _take_soon(self, agent_id: str) -> None:
        self._monitor.soon(lambda: self._take(agent_id))

    async def _take(self, agent_id: str) -> None:
        """Put what a quarantined worker holds back into the queue."""
        # With their terms: each takes an append, and a task may have another holder by its turn.
        held = [(task.task_id, task.term) for task in self._state.held_by(agent_id)]
        for task_id, term in held:
            worker = self._state.workers.get(agent_id)
            if worker is None or not worker.quarantined:
                return  # it was released meanwhile, and may hold what it has
            with contextlib.suppress(StaleTerm):
                await self._leases.release(task_id, term, taken=TAKEN)
