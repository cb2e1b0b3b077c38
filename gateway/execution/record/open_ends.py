"""
Open ends: the failures and degradations that are open now, and what they have done to each user.

A fold, as a part of ``State``. Each failure and each degradation is opened by an event and ended by
another that names it; what is never ended is dropped at a bound.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from gateway.domain.impact import Impacts
from gateway.domain.shares import Shares
from gateway.domain.tally import FAILED
from gateway.domain.task import Task
from gateway.ports import Entry

__all__ = ["FAILURES_BYTES", "FAILURES_MAX", "Failure", "OpenEnds"]

# A failure reported from outside may never be ended; at a bound the oldest are dropped, of a user
# with more than a quarter of all of them its own. Bytes of their events as JSON.
FAILURES_MAX = 10_000
FAILURES_BYTES = 32 * 2**20
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


class Failure(NamedTuple):
    """
    A failure that is open.

    Attributes:
        event: What opened it, or told of it last.
        topics: What that is of.
    """

    error_id: str
    event: dict[str, Any]
    topics: frozenset[str]


class OpenEnds:
    """
    What is open.

    Attributes:
        failures: Open failures by error_id, the one heard of last at the end.
        degradations: Open degradations by degradation_id.
        impacts: What failures have done to each user.
    """

    def __init__(self) -> None:
        self.failures: Shares[Failure] = Shares()
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
                self.keep(Failure(error_id, event, frozenset(entry.topics)))
                while len(self.failures) > FAILURES_MAX or self.failures.weight > FAILURES_BYTES:
                    self._closed(self.failures.pop(), entry)
            case "graceful_degradation":
                self.degradations[event["degradation_id"]] = event
            case "partial_result_preserved" if event["task_id"] is None:
                self.impacts.kept(event["user_id"])
            case "system_recovered" | "task_finished":
                if error_id is not None:
                    self._closed(self.failures.remove(error_id), entry)
                if (degradation_id := event.get("degradation_id")) is not None:
                    self.degradations.pop(degradation_id, None)

    def ended(self, task: Task) -> None:
        """Note what became of a task's result, when it has ended."""
        if task.status == "succeeded" and task.last_error is not None:
            self.impacts.kept(task.user_id)
        elif task.status in FAILED:
            note = self.impacts.kept if task.preserved else self.impacts.lost
            note(task.user_id)

    def keep(self, failure: Failure) -> None:
        """Keep a failure as open."""
        self.failures.remove(failure.error_id)
        event = failure.event
        self.failures.add(
            failure.error_id, failure, owner=event["user_id"], weight=len(orjson.dumps(event))
        )

    def _closed(self, failure: Failure | None, entry: Entry) -> None:
        if failure is not None and failure.event["type"] == "agent_error":
            recovered = entry.type == "system_recovered"
            self.impacts.closed(failure.event["user_id"], at=entry.at, recovered=recovered)
