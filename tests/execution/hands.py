"""
Workers without a mind of their own: each does what the test says.

``hand`` makes one in a ``World``, ``registered`` one on a node of a ``Cluster``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from gateway import Gateway, Task
from gateway.domain.access import Caller
from gateway.domain.timestamps import seconds_of
from tests.execution.kept import Cluster, Node
from tests.execution.world import World

__all__ = [
    "MISSED_S",
    "OFFLINE_S",
    "SCOPES",
    "SOON_S",
    "TIMEOUT_S",
    "TIMER_S",
    "Hand",
    "Proof",
    "again",
    "changes",
    "ends",
    "hand",
    "passed",
    "registered",
    "slow",
]

SCOPES = frozenset({"agent", "events:read", "tasks:write"})
# A silent worker is suspect, unhealthy and offline after so many seconds, with default settings.
TIMEOUT_S = 5.0
OFFLINE_S = 15.0
MISSED_S = TIMEOUT_S * 2 / 3
# A timer acts on an expiry within this time.
TIMER_S = 0.25
# The longest that a task may stand still: twice the time between two looks for orphans.
SOON_S = 60.0

Proof = dict[str, Any]


@dataclasses.dataclass
class Hand:
    """
    A worker in a ``World``.

    Attributes:
        claimed: Its newest claim; empty when there was none.
    """

    here: World
    agent_id: str
    secret: str
    caller: Caller
    claimed: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def proof(self) -> dict[str, str]:
        """What it proves itself with."""
        return {"agent_id": self.agent_id, "agent_secret": self.secret}

    @property
    def status(self) -> str:
        """Its status as the log tells it."""
        return self.here.state.workers[self.agent_id].status

    async def beat(self, **params: Any) -> Any:
        """Beat once."""
        return await self.here.call("agent.heartbeat", self.caller, **self.proof, **params)

    async def beat_for(self, seconds: float, *, every: float = 1.0) -> None:
        """Let time pass, with a beat ``every`` so many seconds."""
        for _ in range(round(seconds / every)):
            await self.here.passing(every)
            await self.beat()

    async def claim(self, **params: Any) -> Any:
        """Claim a task."""
        claim = await self.here.call("task.claim", self.caller, **self.proof, **params)
        self.claimed = claim or {}
        return claim

    async def tell(self, operation: str, **params: Any) -> Any:
        """Make one of the calls about the task that it has claimed."""
        about = {"task_id": self.claimed["task_id"], "term": self.claimed["term"]}
        return await self.here.call(operation, self.caller, **self.proof, **about, **params)


async def hand(
    here: World, handle: str = "writer", *, session: str | None = None, **params: Any
) -> Hand:
    """Register a worker; over a connection, if ``session`` names one."""
    caller = Caller("worker", SCOPES, session_id=session)
    answer = await here.call("agent.register", caller, handle=handle, **params)
    return Hand(here, answer["agent_id"], answer["agent_secret"], caller)


async def again(worker: Hand, session: str) -> list[dict[str, object]]:
    """Register the same worker over another connection; gives what it is taken to hold."""
    worker.caller = dataclasses.replace(worker.caller, session_id=session)
    answer = await worker.here.call(
        "agent.register", worker.caller, handle="writer", **worker.proof
    )
    held: list[dict[str, object]] = answer["tasks"]
    return held


def changes(here: World, worker: Hand) -> list[tuple[str, str]]:
    """The changes of a worker's status, with their reasons."""
    return [
        (event["status"], event["reason"])
        for event in here.said("agent_status_changed", agent_id=worker.agent_id)
    ]


def passed(event: dict[str, Any], since: dict[str, Any]) -> float:
    """Seconds between two events."""
    return seconds_of(event["timestamp"]) - seconds_of(since["timestamp"])


# --- on a cluster --------------------------------------------------------------------------------


async def registered(node: Node, session: str | None = None) -> tuple[Caller, Proof]:
    """Register a worker for ``writer`` at a node; gives its caller and its proof."""
    caller = Caller("w", SCOPES, session_id=session)
    about = {"handle": "writer", "agents": [{"name": "writer", "timeout": 1000.0}]}
    answer = await node.engine.call("agent.register", about, caller)
    return caller, {name: answer[name] for name in ("agent_id", "agent_secret")}


def slow(cluster: Cluster, *, seconds: float, timeout: float = 1000.0) -> Callable[[Gateway], None]:
    """Declare an agent ``slow`` that takes its time."""

    def declare(gateway: Gateway) -> None:
        @gateway.agent("slow", timeout=timeout)
        async def work(task: Task) -> str:
            await cluster.passing(seconds)
            return "done"

    return declare


def ends(cluster: Cluster) -> list[tuple[str, str | None]]:
    """Outcome and reason of each task that has ended, in order."""
    return [(end["outcome"], end["reason"]) for end in cluster.said("task_finished")]
