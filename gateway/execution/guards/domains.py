"""
Failure domains at work: which workers have to wait, and when a domain is slowed down and let go.

A worker of a domain that fails too often is given nothing until the next second of its domain is
there; all workers of the domain share these seconds, on whichever node they ask. Workers of other
domains, and those without one, notice nothing. When the cooldown is over, the next tasks there are
probes. The folds decide (``domain/failure_domain.py``); of the nodes that see the same, the
expectation on the domain's subject lets one append.
"""

from __future__ import annotations

from typing import Literal

from gateway.domain.errors import Conflict, ExpectationFailed, NotFound
from gateway.domain.failure_domain import FailureDomain, subject_of
from gateway.domain.task import Task
from gateway.domain.worker import Worker
from gateway.execution.monitor import Monitor
from gateway.execution.record.domain_drafts import DomainDrafts
from gateway.execution.record.intake import Decision, Intake, expected
from gateway.execution.record.state import State

__all__ = ["Domains"]


class Domains:
    """
    Slows down the workers of failing domains.

    Args:
        state: The domains, as they are folded.
        intake: The write path.
        drafts: Makes the events about domains.
        monitor: Appends what is due as soon as the loop comes to it.
    """

    def __init__(
        self, state: State, intake: Intake, drafts: DomainDrafts, monitor: Monitor
    ) -> None:
        self._state = state
        self._intake = intake
        self._drafts = drafts
        self._monitor = monitor

    # --- what workers may take --------------------------------------------------------------

    def wait_s(self, worker: Worker) -> float:
        """Tell in how many seconds a worker may take a task, for its domain; 0: now."""
        domain = self._state.domains.get(worker.domain or "")
        return 0.0 if domain is None else domain.wait_s(self._intake.clock.wall())

    def require_may_take(self, worker: Worker, task: Task) -> None:
        """
        Return only if a worker's domain lets it take a certain task now.

        Raises:
            Conflict: If the domain is slowed down, and its next second is not there yet.
        """
        wait_s = self.wait_s(worker)
        if wait_s > 0:
            raise Conflict(
                f"task {task.task_id} has to wait: the domain {worker.domain} fails too often and "
                "gets one task a second",
                field="task_id",
                retry_after=wait_s,
            )

    def beside(self, worker: Worker, task: Task, agent_name: str) -> Decision:
        """
        Decide what is appended with a task's beginning: while there are permits, it is a probe.

        Of two beginnings that ask for the last permit one append fails.
        """
        domain = self._state.domains.get(worker.domain or "")
        if domain is None or domain.permits_left(self._intake.clock.wall()) <= 0:
            return (), {}
        draft = self._drafts.test_request(domain, task, agent_name)
        return (draft,), {subject_of(domain.name): domain.last_offset}

    # --- what follows from the log ----------------------------------------------------------

    def begin(self) -> None:
        """Look what is due by the folds: the node that should have acted may be lost."""
        for name in self._state.domains:
            self._look_at(name)

    def attempted(self, task: Task) -> None:
        """Look at the domain in which an attempt at ``task`` has just ended."""
        if task.domain is not None:
            self._look_at(task.domain)

    def _look_at(self, name: str) -> None:
        domain = self._state.domains.get(name)
        if domain is not None and domain.due() is not None:
            self._monitor.soon(lambda: self._act(name))

    async def _act(self, name: str) -> None:
        """Append what is due of a domain, unless another node has; the monitor tries again."""

        def decide(lost: ExpectationFailed | None) -> Decision | None:
            domain = self._state.domains.get(name)
            wanted = None if domain is None else domain.due()
            if domain is None or wanted is None:
                return None  # another node has done it, or later outcomes speak against it
            return self._moved(domain, wanted, lost)

        await self._intake.decide(decide, about=f"domain {name}")

    # --- what operators want ----------------------------------------------------------------

    def knows(self, name: str) -> bool:
        """Whether there is a domain of that name: it has counted something, or has a worker."""
        workers = self._state.workers.values()
        return name in self._state.domains or any(worker.domain == name for worker in workers)

    async def set(self, name: str, wanted: Literal["open", "closed"]) -> FailureDomain:
        """
        Slow a domain down or let it go for an operator, whatever it has counted, and give it.

        Raises:
            NotFound: If there is no such domain, or no room to count one more.
            Unavailable: If the store does not take it.
        """

        def decide(lost: ExpectationFailed | None) -> Decision | None:
            domain = self._known(name)
            return None if domain.state == wanted else self._moved(domain, wanted, lost)

        await self._intake.decide(decide, about=f"domain {name}")
        return self._known(name)

    def _known(self, name: str) -> FailureDomain:
        domain = self._state.domains.of(name) if self.knows(name) else None
        if domain is None:
            raise NotFound(
                f"there is no failure domain {name}: no worker has it, and it has counted nothing",
                field="name",
            )
        return domain

    def _moved(
        self, domain: FailureDomain, wanted: str, lost: ExpectationFailed | None
    ) -> Decision:
        opens = wanted == "open"
        draft = self._drafts.triggered(domain) if opens else self._drafts.closed(domain)
        return [draft], expected(subject_of(domain.name), domain.last_offset, lost)
