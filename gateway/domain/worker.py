"""
Workers: processes or connections that do tasks, as a fold over the log, and how alive they are.

    healthy → suspect → unhealthy → offline, and back to healthy with the next beat

Beats are not in the log, changes of status are. A worker is suspect at once when its socket is
lost or a beat is missed; unhealthy when none came for the timeout; offline after that. One that
beats and does its tasks badly is suspect, too, then quarantined: see ``health``. What is decided
here is decided from times and outcomes alone, so that a test can ask any question about any moment.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import math
from collections.abc import Mapping
from typing import Any, Literal

from gateway.domain.access import GATEWAY
from gateway.domain.agent import AgentPolicy
from gateway.domain.facts import Registered, StatusChanged
from gateway.domain.health import Health, weighs
from gateway.domain.task import Task
from gateway.domain.timestamps import rfc3339

__all__ = [
    "ORDER",
    "UNWELL",
    "Liveness",
    "Status",
    "Worker",
    "attempted",
    "came_back",
    "changed",
    "digest_of",
    "registered",
    "status_by_beat",
    "subject_of",
    "view",
]

Status = Literal["healthy", "suspect", "unhealthy", "quarantined", "offline"]

# From well to worse; a change to the right is told as a failure.
ORDER: tuple[Status, ...] = ("healthy", "suspect", "unhealthy", "quarantined", "offline")

# The code of the failure of a worker that is worse for its health.
UNWELL = "stalled"

# A beat is due every third of the timeout; one that is this share late was missed.
MISSED_SHARE = 2 / 3

# A worker counts its attempt's limit by its own clock; by the log's it may be this share of it.
LIMIT_SHARE = 0.99


def subject_of(agent_id: str) -> str:
    """The log subject of one worker."""
    return f"agent/{agent_id}"


def digest_of(secret: str) -> str:
    """What the log keeps of a worker's secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclasses.dataclass(slots=True)
class Worker:
    """
    One worker as the log tells it. Times are seconds since the Unix epoch.

    Attributes:
        agent_id: Its own id; a handle may be shared.
        agents: What it does, by agent name.
        secret_digest: Of the secret that its later calls carry.
        by_socket: Registered over a connection that lives as long as it does.
        error_id: Of the failure that its present state is; None while it is well.
        error_code: What that failure is, as it was told last.
        reason: Why its status is what it is, as its last change of status told it.
        removed: It has said goodbye.
        health: What the outcomes of its attempts say of it.
        health_score: As its last change of status told it; see ``guards/health.py`` for now.
        quarantined: It gets no task, also while it is offline, until it is told to be better.
        on_trial: It was quarantined, and has not succeeded since: it gets one task at a time.
    """

    agent_id: str
    handle: str
    agents: dict[str, AgentPolicy]
    capabilities: tuple[str, ...]
    domain: str | None
    type: str | None
    secret_digest: str
    owner: str
    by_socket: bool
    registered_at: float
    status: Status = "healthy"
    health_score: float = 1.0
    error_id: str | None = None
    worse_since: float | None = None
    removed: bool = False
    last_offset: int = 0
    health: Health = dataclasses.field(default_factory=Health)
    quarantined: bool = False
    on_trial: bool = False
    error_code: str = "heartbeat_lost"
    reason: str = "registered"

    def proves(self, secret: str) -> bool:
        """Whether ``secret`` is its own."""
        return hmac.compare_digest(self.secret_digest, digest_of(secret))

    @property
    def gone(self) -> bool:
        """Whether it has said goodbye, or was not heard for long."""
        return self.removed or self.status == "offline"

    @property
    def takes_work(self) -> bool:
        """Whether it may be given tasks."""
        return not self.removed and self.status in ("healthy", "suspect")

    @property
    def a_node(self) -> bool:
        """Whether it is a process of the gateway itself."""
        return self.owner == GATEWAY.user_id

    def can_do(self, agent_name: str | None, capability: str | None) -> bool:
        """Whether a task for that agent, or of that capability, is its work."""
        if agent_name is not None:
            return agent_name in self.agents
        return capability in self.capabilities


def registered(event: Mapping[str, Any], fact: Registered, *, at: float, offset: int) -> Worker:
    """Make the record of a worker from its ``agent_registered``."""
    return Worker(
        agent_id=event["agent_id"],
        handle=event["handle"],
        agents={policy.name: policy for policy in fact.agents},
        capabilities=tuple(event["capabilities"]),
        domain=event["domain"],
        type=fact.type,
        secret_digest=fact.secret_digest,
        owner=fact.owner,
        by_socket=fact.by_socket,
        registered_at=at,
        last_offset=offset,
    )


def changed(worker: Worker, event: Mapping[str, Any], fact: StatusChanged, *, at: float) -> None:
    """Fold ``agent_status_changed``."""
    worse = ORDER.index(event["status"]) > ORDER.index(worker.status)
    worker.status, worker.reason = event["status"], event.get("reason", worker.reason)
    worker.health_score = event["health_score"]
    worker.removed = worker.removed or fact.removed
    if worker.status == "quarantined":
        worker.quarantined = worker.on_trial = True
    elif worker.status in ("healthy", "suspect"):
        worker.quarantined = False
    if worker.status == "healthy":
        worker.error_id = worker.worse_since = None
    elif worse or "error_code" in event:
        worker.error_id = event.get("error_id") or worker.error_id
        worker.error_code = event.get("error_code") or worker.error_code
        worker.worse_since = worker.worse_since or at


def came_back(worker: Worker, before: Worker | None) -> None:
    """Keep what is so of a worker that registers again; None: it does not."""
    if before is None:
        return
    # Only its own events change it.
    worker.status, worker.error_id = before.status, before.error_id
    worker.worse_since, worker.health_score = before.worse_since, before.health_score
    worker.health, worker.quarantined = dataclasses.replace(before.health), before.quarantined
    worker.on_trial, worker.error_code = before.on_trial, before.error_code
    worker.reason = before.reason


def attempted(worker: Worker, task: Task, event: Mapping[str, Any], *, at: float) -> None:
    """Fold the end of the worker's newest attempt at ``task``, which ``event`` has told."""
    if event["type"] == "task_finished" and event["outcome"] == "succeeded":
        worker.health.succeeded(at)
        worker.on_trial = False
    elif event["type"] == "agent_error" and weighs(event["error_type"], event["error_code"]):
        stood_still = _stood_still(worker, task, event, at)
        began_at = task.attempts[-1].started_at
        worker.health.failed(at, began_at=began_at, stood_still=stood_still)


def _stood_still(worker: Worker, task: Task, event: Mapping[str, Any], at: float) -> bool:
    """Whether an attempt that failed ran out its time, and nothing came of it."""
    attempt = task.attempts[-1]
    if attempt.moved:
        return False
    if event["error_type"] == "timeout":
        # An upstream may be slow as well; only the attempt's own limit says it of the worker.
        policy = worker.agents.get(task.agent_name or "")
        limit_s = math.inf if policy is None else policy.timeout_s * LIMIT_SHARE
        return event["cause"] == "timeout" or at - attempt.started_at >= limit_s
    # A worker that is silent may have moved, and nobody heard it.
    beats = event["error_code"] == "lease_expired" and worker.takes_work
    return event["error_code"] == "stalled" or beats


@dataclasses.dataclass(slots=True)
class Liveness:
    """
    What one node hears of a worker. Times are monotonic seconds.

    Attributes:
        beat_at: When it was last heard of.
        session_id: The connection that it uses; None: it calls over HTTP.
        connected: Whether that connection is there.
        loop_lag_s: How late its event loop runs, as it says.
        leaving: Seconds of grace that it was asked to leave with; None: it was not asked.
        draining: Whether it takes nothing more, as it says.
        blocked: Whether the loop of its agents is blocked, as its keeper says.
        look_at: When its silence is looked at next; None: it is not.
    """

    beat_at: float
    session_id: str | None = None
    connected: bool = True
    loop_lag_s: float = 0.0
    leaving: float | None = None
    draining: bool = False
    blocked: bool = False
    look_at: float | None = None


def status_by_beat(
    live: Liveness, *, now: float, timeout_s: float, offline_after_s: float
) -> tuple[Status, float | None]:
    """
    Tell how alive a worker is, and when that has to be looked at again.

    Args:
        live: What was heard of it.
        now: Monotonic seconds.
        timeout_s: Without a beat for this long it is unhealthy.
        offline_after_s: Without a beat for this long it is offline.

    Returns:
        Its status, and the moment of the next change if nothing is heard; None: none comes.
    """
    silent = now - live.beat_at
    if silent >= offline_after_s:
        return "offline", None
    if silent >= timeout_s:
        return "unhealthy", live.beat_at + offline_after_s
    if not live.connected or live.blocked or silent >= timeout_s * MISSED_SHARE:
        return "suspect", live.beat_at + timeout_s
    return "healthy", live.beat_at + timeout_s * MISSED_SHARE


def reason_of(status: Status, live: Liveness) -> str:
    """Say in a word why a worker is thought to be so."""
    if status == "healthy":
        return "heartbeat"
    if status == "suspect" and live.blocked:
        return "loop_blocked"
    if status == "suspect" and not live.connected:
        return "connection_lost"
    return "heartbeat_missed" if status == "suspect" else "heartbeat_lost"


def view(
    worker: Worker, *, beat_at: float | None, tasks: list[str], health_score: float
) -> dict[str, Any]:
    """A worker as it stands on the wire; ``beat_at`` in seconds since the Unix epoch."""
    return {
        "agent_id": worker.agent_id,
        "handle": worker.handle,
        "type": worker.type,
        "agents": list(worker.agents),
        "capabilities": list(worker.capabilities),
        "domain": worker.domain,
        "status": worker.status,
        "reason": worker.reason,
        "health_score": round(health_score, 3),
        "tasks": tasks,
        "registered_at": rfc3339(worker.registered_at),
        "last_heartbeat": None if beat_at is None else rfc3339(beat_at),
    }
