"""
Open ends: the failures and degradations that are open now, and what they have done to each user.

A fold, as a part of ``State``. Each failure and each degradation is opened by an event and ended by
another that names it; what is never ended is dropped at a bound.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from gateway.domain.impact import Impacts
from gateway.domain.tally import FAILED
from gateway.domain.task import Task
from gateway.ports import Entry

__all__ = ["FAILURES_MAX", "OpenEnds"]

# A failure reported from outside may never be ended; at the bound the oldest are dropped.
FAILURES_MAX = 10_000
# Types of events that open a failure or a degradation, end one, or keep a part of a result.
OPEN_ENDS = frozenset(
    {
        "agent_error",
        "circuit_breaker_triggered",
        "graceful_degradation",
        "partial_result_preserved",
        "system_recovered",
        "task_finished",
    }
)


class OpenEnds:
    """
    What is open.

    Attributes:
        failures: Open failures by error_id: the event, and the topics that it is of.
        degradations: Open degradations by degradation_id.
        impacts: What failures have done to each user.
    """

    def __init__(self) -> None:
        self.failures: OrderedDict[str, tuple[dict[str, Any], frozenset[str]]] = OrderedDict()
        self.degradations: dict[str, dict[str, Any]] = {}
        self.impacts = Impacts()

    def apply(self, event: dict[str, Any], entry: Entry) -> None:
        """Fold one entry."""
        if entry.type not in OPEN_ENDS:
            return
        error_id = event.get("error_id")
        match entry.type:
            case "agent_error" | "circuit_breaker_triggered" if error_id is not None:
                if error_id not in self.failures and entry.type == "agent_error":
                    self.impacts.opened(event["user_id"], at=entry.at)
                self.failures[error_id] = (event, frozenset(entry.topics))
                if len(self.failures) > FAILURES_MAX:
                    self._closed(next(iter(self.failures)), entry)
            case "graceful_degradation":
                self.degradations[event["degradation_id"]] = event
            case "partial_result_preserved" if event["task_id"] is None:
                self.impacts.kept(event["user_id"])
            case "system_recovered" | "task_finished":
                if error_id is not None:
                    self._closed(error_id, entry)
                if (degradation_id := event.get("degradation_id")) is not None:
                    self.degradations.pop(degradation_id, None)

    def ended(self, task: Task) -> None:
        """Note what became of a task's result, when it has ended."""
        if task.status == "succeeded" and task.last_error is not None:
            self.impacts.kept(task.user_id)
        elif task.status in FAILED:
            note = self.impacts.kept if task.preserved else self.impacts.lost
            note(task.user_id)

    def _closed(self, error_id: str, entry: Entry) -> None:
        opened, _ = self.failures.pop(error_id, (None, None))
        if opened is not None and opened["type"] == "agent_error":
            recovered = entry.type == "system_recovered"
            self.impacts.closed(opened["user_id"], at=entry.at, recovered=recovered)
