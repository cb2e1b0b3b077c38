"""
The operations that count: the gateway's statistics, and the impact of failures on one user.

Nothing is counted here that could be many: tasks and impacts are folds, kept up to date by every
entry. Workers and breakers are few, and are looked through.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

from gateway.domain.access import Caller
from gateway.domain.errors import NotPermitted
from gateway.domain.meters import UNKNOWN_SHOWN, Meters
from gateway.domain.settings import Settings
from gateway.domain.stream import Position
from gateway.domain.tally import LISTED_MAX
from gateway.domain.timestamps import rfc3339
from gateway.execution.handlers.params import Handler, Params
from gateway.execution.record.figures import oldest_age_s
from gateway.execution.record.reach import Reach
from gateway.execution.record.state import State
from gateway.execution.service import Connections
from gateway.ports import Clock, EventLog
from gateway.protocol.shapes import BREAKER_STATES, TASK_STATUSES, WORKER_STATUSES

__all__ = ["StatsHandlers"]


HOUR_S = 3600.0
# What is told of a degradation.
DEGRADATION = ("degradation_id", "scope", "mode", "since", "disabled_features", "message")


class StatsHandlers:
    """The operations ``stats.get`` and ``impact``."""

    def __init__(
        self,
        *,
        state: State,
        reach: Reach,
        log: EventLog,
        clock: Clock,
        settings: Settings,
        connections: Connections,
        meters: Meters,
    ) -> None:
        self._state = state
        self._reach = reach
        self._log = log
        self._clock = clock
        self._settings = settings
        self._connections = connections
        self._unknown = meters.unknown
        self.by_name: dict[str, Handler] = {"stats.get": self._stats, "impact": self._impact}

    async def _stats(self, params: Params, caller: Caller) -> Any:
        await self._reach.wait_for(params)
        state, log, now = self._state, self._log, self._clock.wall()
        tally, workers = state.tally, state.workers.values()
        age_s = oldest_age_s(state, now)
        workers_by_status: Counter[str] = Counter(worker.status for worker in workers)
        breakers_by_state: Counter[str] = Counter(
            breaker.state for breaker in state.breakers.values()
        )
        return {
            "timestamp": rfc3339(now),
            "position": Position(log.epoch, log.head).as_dict(),
            "mode": state.mode.name,
            "tasks": {
                "by_status": {status: tally.by_status[status] for status in TASK_STATUSES},
                "by_agent": tally.by_agent(),
                "without_worker": self._without_worker(),
            },
            "by_domain": self._by_domain(),
            "by_user": tally.by_user(),
            "agents": {
                "total": len(workers),
                "by_status": {status: workers_by_status[status] for status in WORKER_STATUSES},
            },
            "queue": {
                "depth": state.queue_depth,
                "oldest_age": None if age_s is None else round(age_s, 3),
                "limit": self._settings.queue_limit,
            },
            "breakers": {
                "by_state": {name: breakers_by_state[name] for name in BREAKER_STATES},
            },
            "upstreams": state.concurrencies.shown(LISTED_MAX),
            "held_upstreams": self._held(now),
            "degradations": [
                {name: event[name] for name in DEGRADATION}
                for event in itertools.islice(reversed(state.degradations.values()), LISTED_MAX)
            ],
            "dead_letters": self._dead_letters(now),
            "unknown_exceptions": self._unknown_exceptions() if caller.operator else None,
            "recovery_times": state.recoveries.shown(state.recoveries.newest(LISTED_MAX)),
            "users": tally.users,
            "connections": self._connections.now,
            "log": {"events": log.events, "bytes": log.bytes},
        }

    async def _impact(self, params: Params, caller: Caller) -> Any:
        user_id = params["user_id"]
        if not caller.may_see_user(user_id):
            raise NotPermitted(
                "you may ask for your own impact only; others need events:read:all",
                field="user_id",
            )
        await self._reach.wait_for(params)
        return self._state.impacts.view(user_id, now=self._clock.wall())

    def _without_worker(self) -> dict[str, int]:
        """Count the tasks that wait since nobody does what they ask for."""
        counts: Counter[str] = Counter()
        for task in self._state.live.values():
            waiting = task.waiting_for
            if waiting is not None and waiting["waits_for"] == "worker":
                counts[task.agent_name or task.capability or ""] += 1
        return dict(counts.most_common(LISTED_MAX))

    def _held(self, now: float) -> dict[str, str]:
        held = (hold for hold in self._state.holds if hold.left_s(now) > 0)
        return {hold.upstream: rfc3339(hold.until) for hold in itertools.islice(held, LISTED_MAX)}

    def _dead_letters(self, now: float) -> dict[str, int]:
        letters = self._state.dead_letters
        lately = sum(each.retried_as is None for each in letters.since(now - HOUR_S))
        return {"total": len(letters.by_task), "last_hour": lately}

    def _unknown_exceptions(self) -> dict[str, Any]:
        return {"total": self._unknown.total, "most": dict(self._unknown.most(UNKNOWN_SHOWN))}

    def _by_domain(self) -> dict[str, dict[str, Any]]:
        """The tasks of each domain, its workers that are there, and how often work fails there."""
        agents: Counter[str] = Counter(
            worker.domain
            for worker in self._state.workers.values()
            if worker.domain is not None and worker.status != "offline"
        )
        shown = {
            name: {"agents": agents.pop(name, 0), **counts}
            for name, counts in self._state.tally.by_domain().items()
        }
        for name, count in agents.items():
            if len(shown) == LISTED_MAX:
                break
            shown[name] = {"agents": count, "open": 0, "finished": 0, "failed": 0}
        return {name: counts | self._outcomes_in(name) for name, counts in shown.items()}

    def _outcomes_in(self, domain: str) -> dict[str, Any]:
        known, now = self._state.domains.get(domain), self._clock.wall()
        if known is None:
            return {"outcomes": 0, "failure_rate": 0.0, "state": "closed"}
        return {
            "outcomes": known.window.counts(now)[0],
            "failure_rate": round(known.failure_rate(now), 3),
            "state": known.state,
        }
