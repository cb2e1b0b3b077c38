"""
Tasks that nobody works on, though they look as if somebody did: found now and then, and freed.

Each loss has its own quick way to be noticed, by a timer or by what the log says. This is for
what slips through: an attempt that began while its node left or was told nothing, a worker that
was lost while the store was away, a hole in the log. No task waits for its deadline because of it.
"""

from __future__ import annotations

import contextlib

from gateway.domain import own_failures
from gateway.domain.errors import StaleTerm
from gateway.domain.settings import Settings
from gateway.domain.task import Task
from gateway.execution.holders.block import Supervised
from gateway.execution.holders.leases import Leases
from gateway.execution.holders.runner import Runner
from gateway.execution.record.state import State
from gateway.execution.tasks.lifecycle import Lifecycle
from gateway.ports import Clock

__all__ = ["Orphans"]


class Orphans:
    """
    Looks at the tasks whose holders no lease watches, and at those kept for one process.

    Args:
        runner, supervised: What this process works on.
    """

    def __init__(
        self,
        *,
        state: State,
        lifecycle: Lifecycle,
        leases: Leases,
        runner: Runner,
        supervised: Supervised,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._state = state
        self._lifecycle = lifecycle
        self._leases = leases
        self._runner = runner
        self._supervised = supervised
        self._clock = clock
        # A node may hold its first task before the others know it.
        self._known_after_s = settings.offline_after

    async def free(self) -> None:
        """
        Free what nobody works on.

        Raises:
            Unavailable: If the store is away; to be called again.
        """
        for task in list(self._state.live.values()):
            owner = task.holder if task.status == "running" else task.reserved_for
            if owner is None:
                continue
            if owner == self._runner.holder:
                mine = self._supervised if task.reserved_for is not None else self._runner
                if not mine.has(task.task_id):
                    await self._give_back(task)
            elif self._is_gone(owner, task):
                await self._take_away(task)

    async def _give_back(self, task: Task) -> None:
        if task.reserved_for is not None:
            await self._lifecycle.give_up(task.task_id, own_failures.store_away())
            return
        with contextlib.suppress(StaleTerm):
            await self._leases.release(task.task_id, task.term)

    async def _take_away(self, task: Task) -> None:
        lost = own_failures.agent_lost("heartbeat_lost")
        if task.status != "running":
            await self._lifecycle.give_up(task.task_id, lost)
            return
        with contextlib.suppress(StaleTerm):
            await self._leases.lose(task.task_id, task.term, lost)

    def _is_gone(self, owner: str, task: Task) -> bool:
        worker = self._state.workers.get(owner)
        if task.lease_expires_at is not None and (worker is None or not worker.by_socket):
            return False  # Over HTTP it is lost when its lease ends, not before.
        if worker is None:
            began_at = task.attempts[-1].started_at if task.attempts else task.created_at
            return self._clock.wall() > began_at + self._known_after_s
        return worker.removed or worker.status == "offline"
