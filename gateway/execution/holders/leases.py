"""
Leases: a worker's right to act for a task, renewed, given back, and taken away when it is lost.

The rule: each new holder has a higher term, and a report under an older term is refused, however
late it comes (a fencing token). Here terms are checked; ``task_started`` alone sets a new one.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.attempts.pieces import Rest
from gateway.domain.errors import StaleTerm
from gateway.domain.failure import Failure
from gateway.domain.task import Task
from gateway.execution.record.intake import Decision
from gateway.execution.record.state import State
from gateway.execution.record.task_drafts import TaskDrafts
from gateway.execution.tasks.lifecycle import Lifecycle
from gateway.ports import Clock

__all__ = ["Leases"]

# Every node decides about an expiry, so a renewal is in the log; an entry for each beat would be
# too many. A lease is renewed once this share of it has passed.
RENEW_SHARE = 1 / 3


class Leases:
    """
    Decides about leases.

    Args:
        lifecycle: Appends the decisions, and decides what comes after a loss.

    Attributes:
        ttl_s: Length of a lease, in seconds, unless its holder asks for another length.
    """

    def __init__(
        self,
        *,
        state: State,
        lifecycle: Lifecycle,
        drafts: TaskDrafts,
        clock: Clock,
        ttl_s: float,
    ) -> None:
        self._state = state
        self._lifecycle = lifecycle
        self._drafts = drafts
        self._clock = clock
        self.ttl_s = ttl_s

    async def renew(
        self,
        task_id: str,
        term: int,
        *,
        ttl_s: float | None = None,
        beside: Callable[[], Decision] = lambda: ((), {}),
    ) -> Task:
        """
        Start a lease afresh; does nothing where that moves its end by less than a third.

        Args:
            term: Under which the holder acts.
            ttl_s: The length of this renewal in seconds; None: as it was granted, and no shorter
                than it is.
            beside: Decides what is appended with it or not at all: a lock that the holder takes.

        Raises:
            StaleTerm: If the lease has passed on.
        """

        def decide(task: Task) -> Decision | None:
            self._lifecycle.held(task, term)
            length_s = ttl_s or task.lease_ttl_s
            if length_s is None or task.lease_expires_at is None:
                return None
            gained_s = self._clock.wall() + length_s - task.lease_expires_at
            moved_s = gained_s if ttl_s is None else abs(gained_s)
            drafts, expected = beside()
            if not drafts and moved_s < length_s * RENEW_SHARE:
                return None
            return [*drafts, self._drafts.lease_changed(task, "renewed", length_s)], expected

        await self._lifecycle.decide(task_id, decide)
        return self._state.tasks[task_id]

    async def release(self, task_id: str, term: int, *, taken: str | None = None) -> Task:
        """
        Take a task back that its worker gives back; that is no failure, and spends no attempt.

        Args:
            taken: Why it is taken from its worker, in a word; None: the worker gives it back.

        Raises:
            StaleTerm: If the lease has passed on.
        """

        def decide(task: Task) -> Decision:
            self._lifecycle.held(task, term)
            return [self._drafts.lease_changed(task, "released", None, taken=taken)], {}

        await self._lifecycle.decide(task_id, decide, leaves=True)
        return self._state.tasks[task_id]

    def detected(self, task_id: str, term: int) -> None:
        """Note that a worker is lost, before its tasks are taken away one after the other."""
        self._lifecycle.metering.detected(task_id, term)

    async def lose(
        self, task_id: str, term: int, failure: Failure, *, ends_at: float | None = None
    ) -> None:
        """
        Take a task away from a worker that is lost; what the worker has told is kept.

        Args:
            ends_at: Do so only if the lease still ends then, in seconds since the Unix epoch: a
                renewal may come first, on any node. None: whenever the lease ends.

        Raises:
            StaleTerm: If the lease has passed on already, or was renewed.
        """

        def require(task: Task) -> None:
            if ends_at is not None and task.lease_expires_at != ends_at:
                raise StaleTerm(f"task {task_id}: the lease was renewed")

        cause = "agent_lost" if failure.error_type == "agent_lost" else "timeout"
        await self._lifecycle.fail(
            task_id, term, failure, cause=cause, rest=Rest(), require=require
        )
