"""
Orphans: tasks that look held and are not; found every half minute, and freed.

Each loss is noticed quickly by a timer or by an entry of the log. This is the second look, for
what slips through: an attempt that began while its node left or that got no answer, a worker that
was lost while the store was away, a hole in the log. No task waits for its deadline because of it.
"""

from __future__ import annotations

import contextlib

from gateway.domain import own_failures
from gateway.domain.errors import StaleTerm
from gateway.domain.task import Task
from gateway.execution.holders.block import Blocks
from gateway.execution.holders.leases import Leases
from gateway.execution.holders.runner import Runner
from gateway.execution.record.state import State
from gateway.execution.tasks.lifecycle import Lifecycle
from gateway.ports import Clock

__all__ = ["Orphans"]


class Orphans:
    """
    Compares what the log says of holders with what they really do.

    Args:
        runner, blocks: What this process works on.
        known_after_s: A node may hold its first task before it is registered; after so many
            seconds it is, or it is gone.
    """

    def __init__(
        self,
        *,
        state: State,
        lifecycle: Lifecycle,
        leases: Leases,
        runner: Runner,
        blocks: Blocks,
        clock: Clock,
        known_after_s: float,
    ) -> None:
        self._state = state
        self._lifecycle = lifecycle
        self._leases = leases
        self._runner = runner
        self._blocks = blocks
        self._clock = clock
        self._known_after_s = known_after_s

    async def free(self) -> None:
        """
        Free every task that has a holder, or is reserved for a process, that does not do it.

        Raises:
            Unavailable: If the store is away; to be called again.
        """
        for task in list(self._state.live.values()):
            owner = task.holder if task.status == "running" else task.reserved_for
            if owner is None:
                continue
            if owner == self._runner.holder:
                mine = self._blocks if task.reserved_for is not None else self._runner
                if not mine.has(task.task_id):
                    await self._give_back(task)
            elif self._is_gone(owner, task):
                await self._take_away(task)

    async def undo(self, task_id: str, term: int) -> None:
        """
        Undo a beginning that turned up after its writer was told that it failed.

        Args:
            term: Under which it began; under a later one the task has another holder.
        """
        task = self._state.live.get(task_id)
        if task is None:
            return
        if task.reserved_for is not None or (task.status == "running" and task.term == term):
            await self._give_back(task)

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
            # A worker on HTTP has promised no beats: it is lost when its lease ends, not before.
            return False
        if worker is None:
            began_at = task.attempts[-1].started_at if task.attempts else task.created_at
            return self._clock.wall() > began_at + self._known_after_s
        return worker.removed or worker.status == "offline"
