"""
Health at work: how well each worker does now, what it is for that, and what it may take.

    healthy → suspect (a warning) → quarantined → healthy, and then one task at a time

A worker is suspect below ``quarantine_release``, so it is warned of before it is quarantined, below
``quarantine_below``; it is released at the first of the two. The outcomes are folds of the log, and
what a worker says of itself comes with its beats. The processes of the gateway itself are judged
like others and never quarantined: what is declared in them may have nobody else to do it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from gateway.domain.errors import Rejected
from gateway.domain.settings import Settings
from gateway.domain.task import Task
from gateway.domain.worker import Status, Worker
from gateway.execution.record.state import State
from gateway.ports import Clock

__all__ = ["REASON", "TAKEN", "Health"]

# Why a status has changed, where it is for a worker's health; and why a task is taken from it.
REASON, TAKEN = "health", "quarantined"


class Health:
    """
    Judges workers; appends nothing.

    Args:
        state: The outcomes of each worker's attempts.
        clock: Tells the log's time.
        settings: Below which score a worker is quarantined, and from which it is released.
    """

    def __init__(self, *, state: State, clock: Clock, settings: Settings) -> None:
        self._state = state
        self._clock = clock
        self._below = settings.quarantine_below
        self._release = settings.quarantine_release
        # By worker: how well it says it is, 0 to 1; and of whom the other nodes were not told yet.
        self._reported: dict[str, float] = {}
        self._untold: set[str] = set()

    # --- what workers say -------------------------------------------------------------------

    def report(self, agent_id: str, health: float, *, tell: bool = True) -> None:
        """
        Take how well a worker says it is, 0 to 1; it holds until it says otherwise.

        Args:
            tell: Whether the other nodes are told.
        """
        self._reported[agent_id] = health
        if tell:
            self._untold.add(agent_id)

    def take_reported(self) -> dict[str, float]:
        """Give what workers have said here since the last call."""
        untold, self._untold = self._untold, set()
        return {agent_id: self._reported[agent_id] for agent_id in sorted(untold)}

    def forget(self, agent_id: str) -> None:
        """Drop what a worker has said: it has gone."""
        self._reported.pop(agent_id, None)
        self._untold.discard(agent_id)

    def clear(self) -> None:
        """Drop all that was said: the log is another one, or is read anew."""
        self._reported.clear()
        self._untold.clear()

    # --- what follows -----------------------------------------------------------------------

    def score(self, worker: Worker, held: Iterable[Task] | None = None) -> float:
        """
        Tell how well a worker does now, 0 to 1.

        Args:
            held: The tasks that it holds; None: they are looked for.
        """
        now = self._clock.wall()
        if worker.health.at:
            held = self._state.held_by(worker.agent_id) if held is None else held
            still = (task.attempts[-1] for task in held)
            now = min([now, *(attempt.started_at for attempt in still if not attempt.moved)])
        return worker.health.score(now, reported=self._said(worker))

    def scores(self) -> dict[str, float]:
        """Tell how well each worker does that is there, 0 to 1, by agent_id."""
        held: dict[str, list[Task]] = {}
        for task in self._state.live.values():
            if task.holder is not None:
                held.setdefault(task.holder, []).append(task)
        return {
            agent_id: self.score(worker, held.get(agent_id, ()))
            for agent_id, worker in self._state.workers.items()
            if not worker.gone
        }

    def standing(self, worker: Worker) -> Status:
        """Tell what a worker is for its health alone: healthy, suspect or quarantined."""
        if worker.a_node:
            return "healthy"
        # Time only heals, so most need no closer look.
        at_worst = worker.health.score(worker.health.at, reported=self._said(worker))
        if at_worst >= self._release or (score := self.score(worker)) >= self._release:
            return "healthy"
        return "quarantined" if worker.quarantined or score < self._below else "suspect"

    def heals_in_s(self, worker: Worker) -> float | None:
        """Tell in how many seconds a worker may be healthy again; None: not by time alone."""
        heals_in_s = worker.health.heals_in_s(
            self._release, self._clock.wall(), reported=self._said(worker)
        )
        return None if math.isinf(heals_in_s) else heals_in_s

    def may_take(self, worker: Worker) -> bool:
        """Whether a worker may take one more task; one that is on trial has one at a time."""
        # What it has just missed counts before the log tells its quarantine.
        quarantined = self.standing(worker) == "quarantined"
        return worker.takes_work and not quarantined and not self._holds_enough(worker)

    def require_may_take(self, worker: Worker) -> None:
        """
        Return only if a worker's health lets it take one more task.

        Raises:
            Rejected: If it is quarantined, or has a task while it is on trial.
        """
        quarantined = "quarantined" in (worker.status, self.standing(worker))
        if quarantined or self._holds_enough(worker):
            raise Rejected(
                f"worker {worker.agent_id} does its tasks badly, its health score is "
                f"{self.score(worker):.3f}; it gets "
                + ("none" if quarantined else "one at a time"),
                code="quarantined",
                retry_after=self.heals_in_s(worker),
            )

    def _holds_enough(self, worker: Worker) -> bool:
        return worker.on_trial and bool(self._state.held_by(worker.agent_id))

    def _said(self, worker: Worker) -> float:
        return self._reported.get(worker.agent_id, 1.0)
