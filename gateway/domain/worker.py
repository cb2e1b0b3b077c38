"""
Workers: processes or connections that do tasks, as a fold over the log, and how alive they are.

    healthy → suspect → unhealthy → offline, and back to healthy with the next beat

Beats are not in the log, changes of status are. A worker is suspect at once when its socket is
lost or a beat is missed; unhealthy when none came for the timeout; offline after that. What is
decided here is decided from times alone, so that a test can ask any question about any moment.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Literal

from gateway.domain.agent import AgentPolicy
from gateway.domain.facts import Registered, StatusChanged
from gateway.domain.timestamps import rfc3339

__all__ = [
    "ORDER",
    "Liveness",
    "Status",
    "Worker",
    "digest_of",
    "registered",
    "status_by_beat",
    "subject_of",
    "view",
]

Status = Literal["healthy", "suspect", "unhealthy", "quarantined", "offline"]

# From well to worse; a change to the right is told as a failure.
ORDER: tuple[Status, ...] = ("healthy", "suspect", "unhealthy", "quarantined", "offline")

# A beat is due every third of the timeout; one that is this share late was missed.
MISSED_SHARE = 2 / 3


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
        removed: It has said goodbye.
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
    worker.status = event["status"]
    worker.health_score = event["health_score"]
    worker.removed = worker.removed or fact.removed
    if worker.status == "healthy":
        worker.error_id = worker.worse_since = None
    elif worse:
        worker.error_id = event.get("error_id") or worker.error_id
        worker.worse_since = worker.worse_since or at


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
        look_at: When its silence is looked at next; None: it is not.
    """

    beat_at: float
    session_id: str | None = None
    connected: bool = True
    loop_lag_s: float = 0.0
    leaving: float | None = None
    draining: bool = False
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
    if not live.connected or silent >= timeout_s * MISSED_SHARE:
        return "suspect", live.beat_at + timeout_s
    return "healthy", live.beat_at + timeout_s * MISSED_SHARE


def reason_of(status: Status, *, connected: bool) -> str:
    """Say in a word why a worker is thought to be so."""
    if status == "healthy":
        return "heartbeat"
    if status == "suspect" and not connected:
        return "connection_lost"
    return "heartbeat_missed" if status == "suspect" else "heartbeat_lost"


def view(worker: Worker, *, beat_at: float | None, tasks: list[str]) -> dict[str, Any]:
    """A worker as it stands on the wire; ``beat_at`` in seconds since the Unix epoch."""
    return {
        "agent_id": worker.agent_id,
        "handle": worker.handle,
        "type": worker.type,
        "agents": list(worker.agents),
        "capabilities": list(worker.capabilities),
        "domain": worker.domain,
        "status": worker.status,
        "health_score": round(worker.health_score, 3),
        "tasks": tasks,
        "registered_at": rfc3339(worker.registered_at),
        "last_heartbeat": None if beat_at is None else rfc3339(beat_at),
    }
