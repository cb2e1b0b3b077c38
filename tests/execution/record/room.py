"""
The parts of record, guards and tasks over a log in memory, without an engine.

Each append is folded before it returns, as the engine does it. Nothing else follows: no timer
runs, no agent is called, and the clock stands still until the test moves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from gateway.attempts.agents import Agents, Declared
from gateway.domain.agent import AgentPolicy
from gateway.domain.settings import Settings
from gateway.domain.task import Task
from gateway.domain.worker import Worker
from gateway.execution.guards.breakers import Admission, StandIn
from gateway.execution.parts import Parts
from gateway.execution.record.audit_drafts import AuditDrafts
from gateway.execution.record.breaker_drafts import BreakerDrafts
from gateway.execution.record.refusal_drafts import RefusalDrafts
from gateway.execution.record.task_drafts import TaskDrafts
from gateway.execution.record.worker_drafts import WorkerDrafts
from gateway.ports import Draft, Entry, EventLog
from gateway.stores.memory import MemoryLog
from tests.stores.drafts import Clock

__all__ = ["NOW", "Ids", "RacingLog", "Room", "body_of", "fact_of"]

NOW = 1_800_000_000.0


class Ids:
    """
    Ids that count up, and chance that the test sets.

    Attributes:
        chance: The next number from [0, 1).
    """

    def __init__(self) -> None:
        self.chance = 0.5
        self._given = 0

    def uuid7(self) -> str:
        self._given += 1
        return f"00000000-0000-7000-8000-{self._given:012x}"

    def random(self) -> float:
        return self.chance


class RacingLog:
    """
    The same log, on which another writer is faster a number of times.

    Attributes:
        rival: The draft that the other writer appends each time.
        races: How many appends are still lost to it.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.rival: Draft | None = None
        self.races = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(
        self, drafts: Sequence[Draft], *, expected: Mapping[str, int] | None = None
    ) -> int:
        if self.races:
            self.races -= 1
            assert self.rival is not None
            await self._log.append([self.rival])
        return await self._log.append(drafts, expected=expected)


def worker_of(agent_id: str, *agents: AgentPolicy, owner: str, registered_at: float) -> Worker:
    """Make the record of a worker."""
    return Worker(
        agent_id=agent_id,
        handle="writer",
        agents={policy.name: policy for policy in agents},
        capabilities=(),
        domain=None,
        type=None,
        secret_digest="d",
        owner=owner,
        by_socket=True,
        registered_at=registered_at,
    )


class Room:
    """
    The parts, by their names in ``Parts``, and what the log has accepted.

    Args:
        policies: Of the agents that this process declares.
        wrap: Puts another log in front of the one in memory.
        changes: Settings.

    Attributes:
        entries: What the log has accepted, in order.
        undone: Event ids of beginnings that would have to be undone.
    """

    def __init__(
        self,
        *policies: AgentPolicy,
        wrap: Callable[[EventLog], EventLog] = lambda log: log,
        **changes: Any,
    ) -> None:
        self.clock = Clock(NOW)
        self.ids = Ids()
        self.settings = Settings(**changes)
        agents = Agents()
        for policy in policies:
            agents.declare(Declared(policy, _never))
        self.log = wrap(
            MemoryLog(
                epoch="e1", clock=self.clock, events_max=100_000, bytes_max=2**28, age_max_s=1e9
            )
        )
        parts = Parts(
            log=self.log, clock=self.clock, ids=self.ids, settings=self.settings, agents=agents
        )
        self.state = parts.state
        self.in_doubt = parts.in_doubt
        self.reach = parts.reach
        self.intake = parts.intake
        self.policies = parts.policies
        self.breakers = parts.breakers
        self.meters = parts.meters
        self.lifecycle = parts.lifecycle
        self.acceptance = parts.acceptance
        self.task_drafts = TaskDrafts(self.intake, self.state)
        self.breaker_drafts = BreakerDrafts(self.intake, self.policies)
        self.refusal_drafts = RefusalDrafts(self.intake)
        self.audit_drafts = AuditDrafts(self.intake)
        self.worker_drafts = WorkerDrafts(self.intake, self.settings)
        self.entries: list[Entry] = []
        self.undone: list[str] = []
        self.log.follow(self._apply)

    def _apply(self, entry: Entry) -> None:
        self.entries.append(entry)
        event = orjson.loads(entry.public)
        outcome = self.state.apply(entry, event)
        if self.in_doubt.seen(event["event_id"]):
            self.undone.append(event["event_id"])
        if outcome is not None:
            self.breakers.report(outcome, at=entry.at)
        self.reach.saw(entry.offset)

    @property
    def types(self) -> list[str]:
        """The types of all events, in order."""
        return [entry.type for entry in self.entries]

    def said(self, type: str) -> list[dict[str, Any]]:
        """The events of a type, as operators see them."""
        return [orjson.loads(entry.operator) for entry in self.entries if entry.type == type]

    def worker(self, *agents: AgentPolicy, owner: str = "ann") -> Worker:
        """Know one more worker, as if the log told of it."""
        number = len(self.state.workers) + 1
        worker = worker_of(f"w{number}", *agents, owner=owner, registered_at=NOW + number)
        self.state.workers.add(worker)
        return worker

    async def task(self, agent: str | None = "search", **asked: Any) -> Task:
        """Submit a task."""
        order = self.acceptance.order(agent, **{"input": {"q": 1}, "user_id": "ann", **asked})
        return await self.lifecycle.submit(self.ids.uuid7(), order, None)

    async def start(self, task: Task, holder: str = "w1", **options: Any) -> int:
        """Begin an attempt, by the agent itself unless told otherwise; returns its term."""
        policy = self.policies.of_task(task)
        breaker = self.state.breaker(policy.breaker, policy.breaker_scope)
        way = options.pop("way", Admission(breaker.name, breaker.version))
        assert isinstance(way, Admission | StandIn)
        return await self.lifecycle.start(
            task.task_id, holder=holder, limit_s=30.0, way=way, **options
        )

    async def running(self, agent: str | None = "search", **asked: Any) -> Task:
        """Submit a task, and begin its first attempt."""
        task = await self.task(agent, **asked)
        await self.start(task)
        return task


def _never(*args: object, **kwargs: object) -> None:
    raise AssertionError("no agent is called here")


def body_of(draft: Draft) -> dict[str, Any]:
    """The event of a draft."""
    event: dict[str, Any] = orjson.loads(draft.body)
    return event


def fact_of(draft: Draft) -> dict[str, Any]:
    """The hidden half of a draft, without the mark of its version."""
    fact: dict[str, Any] = {} if draft.state is None else orjson.loads(draft.state)
    fact.pop("v", None)
    return fact
