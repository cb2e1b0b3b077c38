"""
A task: what a caller asked an agent to do, as a fold over the log's entries about it.

    pending → running → (waiting → running)* → succeeded | failed | cancelled | dead_lettered

An end is final: what is appended about a task after ``task_finished`` changes nothing here.
Everything that decides about a task reads this record, and names ``last_offset`` as what the
decision was based on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from gateway.domain.attempt import Attempt
from gateway.domain.facts import (
    Fact,
    Failed,
    Finished,
    Leased,
    Produced,
    Progressed,
    Salvaged,
    Started,
    Submitted,
)
from gateway.domain.packed import opened, packed, weight_of
from gateway.domain.preserved import Preserved
from gateway.domain.timestamps import rfc3339, seconds_of
from gateway.domain.waiting import Waiting, waiting_after

# The code of a failure beside the attempt, which goes on; the end of the task ends it.
BESIDE = "background_failure"

__all__ = [
    "ENDED",
    "LIVE",
    "Task",
    "apply",
    "subject_of",
    "submitted",
    "view",
]

# What the record of a task takes in memory, one of its attempts with its error, and the id of one
# of its events, in bytes.
TASK_BYTES = 2048
ATTEMPT_BYTES = 1024
EVENT_ID_BYTES = 192

LIVE = frozenset({"pending", "running", "waiting"})
ENDED = frozenset({"succeeded", "failed", "cancelled", "dead_lettered"})


def subject_of(task_id: str) -> str:
    """The log subject of one task."""
    return f"task/{task_id}"


@dataclasses.dataclass(slots=True)
class Task:
    """
    One task as the log tells it. Times are seconds since the Unix epoch.

    Attributes:
        sequence: Offset of its submission: older tasks have smaller ones.
        term: Of the newest lease; grows with each attempt.
        holder: agent_id of the lease's holder; None: it has none now.
        lease_ttl_s: Length of the lease; None: this process's own, which needs no renewal.
        lease_expires_at: When it ends unless it is renewed; None: it does not.
        lost_holder: agent_id of the worker that it was taken from, until another takes it.
        lost_why: Why, in a word, where that was no failure of the task; None: it was.
        deadline_at: When the caller's own limit runs out.
        breaker: Name of the breaker that judged the running attempt; None: none does.
        generation: The breaker's version when the attempt was admitted.
        reserved_for: agent_id of the one process that may take it; None: any may.
        domain: Failure domain of the worker that had it last; None: it has none.
        probe: The test request that the attempt is; None: an ordinary one.
        error_id: Of the failure that is open now; None: none is.
        failure_event_id: Of the ``agent_error`` that opened its newest failure; None: it has none,
            or has recovered.
        event_ids: Of the events by which it may be named as a cause; see ``domain.causes``.
        failures: Attempts that failed since the failure opened.
        recoveries: Recovery attempts announced for the open failure.
        last_error: The failure fields of the newest ``agent_error``.
        budget: Name of the retry budget of its calls; None: its agent's own.
        weight: Bytes of memory that it takes when it has ended; see ``pack``.
        waiting_for: Why it does not move, as ``task_waiting`` has told it; None: nothing was told.
        hurried: Its next attempt was asked for now, whatever its upstream has asked for.
        piece, part: The newest update of the running attempt that its worker has numbered, and
            how many events of that update are in the log; see ``has``.
    """

    task_id: str
    user_id: str
    agent_name: str | None
    capability: str | None
    priority: int
    input: Any
    timeout_s: float
    max_attempts: int
    created_at: float
    sequence: int
    preserved: Preserved
    correlation_id: str | None = None
    causation_id: str | None = None
    retry_of: str | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None
    reserved_for: str | None = None
    status: str = "pending"
    attempt: int = 0
    term: int = 0
    holder: str | None = None
    lease_ttl_s: float | None = None
    lease_expires_at: float | None = None
    lost_holder: str | None = None
    mode: str = "primary"
    breaker: str | None = None
    generation: int = 0
    probe: str | None = None
    progress: float | None = None
    step: str | None = None
    plan: tuple[str, ...] = ()
    attempts: list[Attempt] = dataclasses.field(default_factory=list)
    next_attempt_at: float | None = None
    next_mode: str = "primary"
    error_id: str | None = None
    failed_at: float | None = None
    recoveries: int = 0
    last_error: dict[str, Any] | None = None
    result: Any = None
    degraded: bool = False
    served_by: str | None = None
    finished_at: float | None = None
    finished_event_id: str | None = None
    domain: str | None = None
    last_offset: int = 0
    piece: int = 0
    part: int = 0
    budget: str | None = None
    weight: int = 0
    lost_why: str | None = None
    failure_event_id: str | None = None
    event_ids: tuple[str, ...] = ()
    waiting_for: Waiting | None = None
    title: str | None = None
    hurried: bool = False

    @property
    def deadline_at(self) -> float:
        return self.created_at + self.timeout_s

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.status in LIVE

    def has(self, piece: int, part: int) -> bool:
        """Whether the log has this part of an update that the worker has numbered."""
        return (piece, part) <= (self.piece, self.part)

    @property
    def root(self) -> str | None:
        """event_id of the ``agent_error`` that its failure goes back to; None: none failed it."""
        if self.failure_event_id is None:
            return None
        return (self.last_error or {}).get("causation_id") or self.failure_event_id

    @property
    def tries_left(self) -> int:
        """Attempts by the agent itself that it may still make."""
        made = sum(1 for a in self.attempts if a.mode == "primary" and not a.released)
        return max(0, self.max_attempts - made)


def submitted(
    event: Mapping[str, Any], fact: Submitted, *, at: float, offset: int, bytes_max: int
) -> Task:
    """Make the record of a task from its ``task_submitted``."""
    return Task(
        task_id=event["task_id"],
        user_id=event["user_id"],
        agent_name=event["agent_name"],
        capability=event.get("capability"),
        priority=event["priority"],
        input=fact.input,
        timeout_s=event["timeout"],
        max_attempts=event["max_attempts"],
        created_at=at,
        sequence=offset,
        preserved=Preserved(bytes_max=bytes_max),
        correlation_id=event.get("correlation_id"),
        causation_id=event.get("causation_id"),
        traceparent=event.get("traceparent"),
        retry_of=event.get("retry_of"),
        idempotency_key=fact.idempotency_key,
        reserved_for=fact.reserved_for,
        breaker=fact.breaker,
        generation=fact.generation,
        probe=fact.probe,
        title=fact.title,
        last_offset=offset,
        event_ids=(event["event_id"],),
    )


def apply(
    task: Task, event: Mapping[str, Any], fact: Fact | None, *, at: float, offset: int
) -> None:
    """
    Fold one more entry about ``task``.

    Args:
        fact: Its hidden half; None: it has none that can be read.
        at: When the log accepted it, in seconds since the Unix epoch.
    """
    task.last_offset = offset
    if event["type"] == "resource_cleanup":
        for attempt in task.attempts:
            attempt.cleaned |= attempt.number == event["attempt"]
    if not task.live:
        return
    task.waiting_for = waiting_after(task.waiting_for, event)
    if fold := _FOLDS.get(event["type"]):
        fold(task, event, fact, at)


def pack(task: Task) -> None:
    """Keep an ended task in little memory, and weigh it; it is asked for seldom."""
    task.input, task.result = packed(task.input), packed(task.result)
    task.weight = TASK_BYTES + ATTEMPT_BYTES * len(task.attempts)
    task.weight += EVENT_ID_BYTES * len(task.event_ids)
    task.weight += weight_of(task.input) + weight_of(task.result)


def _started(task: Task, event: Mapping[str, Any], fact: Started | None, at: float) -> None:
    if fact is None:
        return  # without its term nothing could be decided about the attempt
    task.status = "running"
    task.attempt = event["attempt"]
    task.term = fact.term
    task.holder = fact.holder
    task.agent_name = event["agent_name"]
    task.mode = event.get("mode", "primary")
    task.served_by = event.get("served_by")
    task.breaker = fact.breaker
    task.generation = fact.generation
    task.probe = fact.probe
    task.budget = fact.budget
    task.next_attempt_at, task.hurried = None, False
    task.lost_holder = task.lost_why = None
    task.piece = task.part = 0
    task.lease_ttl_s = fact.lease_ttl
    task.lease_expires_at = None if task.lease_ttl_s is None else at + task.lease_ttl_s
    task.attempts.append(Attempt(task.attempt, fact.holder, task.mode, at, task.term))


def _progressed(task: Task, event: Mapping[str, Any], fact: Progressed, at: float) -> None:
    if event["progress"] is not None:
        _moved(task, grown=event["progress"] > (task.progress or 0.0))
        task.progress = event["progress"]
    if event["step"] is not None:
        task.step = event["step"]
    if fact.plan is not None:
        task.plan = fact.plan
    if fact.retry_now:
        task.next_attempt_at, task.hurried = at, True
    _numbered(task, fact)


def _numbered(task: Task, fact: Progressed | Produced) -> None:
    if fact.piece is not None:
        task.piece, task.part = fact.piece, fact.part


def _moved(task: Task, *, grown: bool) -> None:
    if grown and task.attempts:
        task.attempts[-1].moved = True


def _produced(task: Task, event: Mapping[str, Any], fact: Produced | None, at: float) -> None:
    if fact is not None:
        _numbered(task, fact)
    _moved(task, grown=True)
    task.preserved.pieces = event["piece"]
    if "step" in event:
        task.preserved.add_step(event["step"], event["data"])
    if event.get("replaces"):
        task.preserved.drop_text()
    if "text" in event:
        task.preserved.add_text(event["text"])
    if event.get("progress") is not None:
        task.progress = event["progress"]


def _preserved(task: Task, event: Mapping[str, Any], fact: Salvaged | None, at: float) -> None:
    if fact is None:
        return  # nothing was on its way when the attempt failed
    for name, data in fact.steps.items():
        task.preserved.add_step(name, data)
    if fact.text:
        task.preserved.add_text(fact.text)
    if fact.progress is not None:
        task.progress = fact.progress
    if fact.plan is not None:
        task.plan = fact.plan


def _failed(task: Task, event: Mapping[str, Any], fact: Failed, at: float) -> None:
    if task.error_id is None:
        task.error_id = event["error_id"]
        task.failed_at = at
        task.failure_event_id = event["event_id"]
    if event["error_code"] == BESIDE:
        return  # the attempt goes on
    task.last_error = {
        name: event[name]
        for name in (
            "error_id",
            "error_type",
            "error_code",
            "is_recoverable",
            "user_message",
            "suggested_action",
            "retry_possible",
            "message",
        )
    }
    if fact.root is not None:
        task.last_error["causation_id"] = fact.root
    if event["cause"] == "agent_lost":
        task.lost_holder, task.lost_why = task.holder, None
    task.holder = task.lease_expires_at = None
    task.status = "waiting"
    task.breaker = task.probe = None
    if task.attempts and task.attempts[-1].ended_at is None:
        task.attempts[-1].ended_at = at
        task.attempts[-1].error = task.last_error
        task.attempts[-1].released = fact.spared


def _recovering(task: Task, event: Mapping[str, Any], fact: None, at: float) -> None:
    task.recoveries = event["attempt_number"]
    task.next_attempt_at = at + event["backoff_delay"]
    task.next_mode = "fallback" if event["strategy"] == "fallback" else "primary"


def _recovered(task: Task, event: Mapping[str, Any], fact: None, at: float) -> None:
    task.error_id = task.failed_at = task.failure_event_id = None
    task.recoveries = 0


def _finished(task: Task, event: Mapping[str, Any], fact: Finished, at: float) -> None:
    for name, data in (fact.steps or {}).items():
        task.preserved.add_step(name, data)
    task.status = event["outcome"]
    task.result = event["result"]
    task.degraded = event["degraded"]
    task.served_by = event["served_by"]
    task.finished_at = at
    task.finished_event_id = event["event_id"]
    task.holder = task.lease_expires_at = None
    task.next_attempt_at = task.breaker = task.probe = None
    task.error_id = None
    if task.status == "succeeded":
        task.progress = 1.0
    if task.attempts and task.attempts[-1].ended_at is None:
        task.attempts[-1].ended_at = at


def _leased(task: Task, event: Mapping[str, Any], fact: Leased, at: float) -> None:
    if task.status != "running":
        return
    if event["action"] == "renewed":
        # By the log's time, like every lease; the event says it by the clock of the node that
        # renewed it.
        ttl_s = fact.lease_ttl
        ends_at = seconds_of(event["expires_at"]) if ttl_s is None else at + ttl_s
        task.lease_expires_at = ends_at
        return
    if fact.taken is not None:
        task.lost_holder, task.lost_why = task.holder, fact.taken
    # Given back: as before it was taken, but for the number of the attempt.
    task.status = "pending"
    task.waiting_for = None
    task.holder = task.lease_expires_at = task.breaker = task.probe = None
    if task.attempts:
        task.attempts[-1].ended_at = at
        task.attempts[-1].released = True


# ``state`` calls each with the fact of its type, so that the type of the table may be loose.
_FOLDS: dict[str, Callable[[Task, Mapping[str, Any], Any, float], None]] = {
    "lease_changed": _leased,
    "task_started": _started,
    "task_progress": _progressed,
    "partial_result": _produced,
    "partial_result_preserved": _preserved,
    "agent_error": _failed,
    "recovery_attempt": _recovering,
    "system_recovered": _recovered,
    "task_finished": _finished,
}


def view(task: Task) -> dict[str, Any]:
    """The task as it stands on the wire."""
    lease = None
    if task.holder is not None:
        expires_at = task.lease_expires_at
        lease = {
            "agent_id": task.holder,
            "term": task.term,
            "expires_at": None if expires_at is None else rfc3339(expires_at),
        }
    shown: dict[str, Any] = {
        "task_id": task.task_id,
        "status": task.status,
        "agent_name": task.agent_name,
        "capability": task.capability,
        "title": task.title,
        "user_id": task.user_id,
        "priority": task.priority,
        "attempt": task.attempt,
        "max_attempts": task.max_attempts,
        "progress": task.progress,
        "step": task.step,
        "waiting_for": task.waiting_for,
        "lease": lease,
        "attempts": [attempt.as_dict() for attempt in task.attempts] if task.attempts else [],
        "degraded": task.degraded,
        "served_by": task.served_by,
        "correlation_id": task.correlation_id,
        "causation_id": task.causation_id,
        "retry_of": task.retry_of,
        "next_attempt_at": None if task.next_attempt_at is None else rfc3339(task.next_attempt_at),
        "created_at": rfc3339(task.created_at),
        "finished_at": None if task.finished_at is None else rfc3339(task.finished_at),
    }
    if task.status == "succeeded":
        shown["result"] = opened(task.result)
    if task.last_error is not None and task.status != "succeeded":
        shown["error"] = task.last_error
    return shown
