"""
What this process counts of tasks: ends, failures at the moment they are noticed, refused reports.

Each node counts what it has decided itself, so that the counts of all nodes can be added up.
"""

from __future__ import annotations

from gateway.domain.errors import StaleTerm
from gateway.domain.meters import Meters
from gateway.domain.task import subject_of
from gateway.execution.record.policies import Policies
from gateway.execution.record.state import State
from gateway.ports import Clock

__all__ = ["Metering"]


class Metering:
    """
    Counts.

    Args:
        meters: Where it is counted.
        state: Gives the tasks.
        policies: Know which agents there are: others have no series of their own.
        clock: Monotonic time.
    """

    def __init__(self, meters: Meters, state: State, policies: Policies, clock: Clock) -> None:
        self._meters = meters
        self._state = state
        self._policies = policies
        self._clock = clock

    def detected(self, task_id: str, term: int) -> None:
        """Note that an attempt has failed, unless it has lost its task; the first time counts."""
        task = self._state.live.get(task_id)
        if task is not None and task.term == term:
            self._meters.detected(subject_of(task_id), term, self._clock.monotonic())

    def decided(self, task_id: str) -> None:
        """Count the end of a task that was open until the decision that is now in the log."""
        task = self._state.tasks.get(task_id)
        if task is not None and not task.live:
            name = task.agent_name
            known = name is not None and self._policies.owner(name) is not None
            self._meters.ended(name if known else None, task.status)

    def stale(self, message: str, *, field: str = "term") -> StaleTerm:
        """Count a report that is refused since its term is over, and give the error to raise."""
        self._meters.stale_terms += 1
        return StaleTerm(message, field=field)
