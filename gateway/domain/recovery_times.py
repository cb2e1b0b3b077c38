"""How long recoveries took, by agent and error type: what the next one is estimated by."""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from statistics import median

from gateway.domain.messages import RECOVERY_S
from gateway.domain.task import Task

__all__ = ["KEPT", "KNOWN_MAX", "NEEDED", "RecoveryTimes"]

# Recoveries that are kept of each agent and error type; a median of fewer than three says little.
KEPT = 31
NEEDED = 3
# Agents with error types that are known; at the bound the one that was seen longest ago goes.
KNOWN_MAX = 10_000

Kind = tuple[str, str]


class RecoveryTimes:
    """The newest recovery times, in seconds."""

    def __init__(self) -> None:
        self._by_kind: OrderedDict[Kind, deque[float]] = OrderedDict()

    def __iter__(self) -> Iterator[tuple[str, str, list[float]]]:
        """Give agent, error type and times, the longest unseen first."""
        for (agent_name, error_type), times in self._by_kind.items():
            yield agent_name, error_type, list(times)

    def add(self, agent_name: str, error_type: str, times_s: Iterable[float]) -> None:
        """Observe recoveries, in their order."""
        kind = agent_name, error_type
        self._by_kind.setdefault(kind, deque(maxlen=KEPT)).extend(times_s)
        self._by_kind.move_to_end(kind)
        if len(self._by_kind) > KNOWN_MAX:
            self._by_kind.popitem(last=False)

    def shown(self, agents: Iterable[str]) -> dict[str, dict[str, dict[str, float]]]:
        """Give what is known of agents: by error type the median in seconds, and of how many."""
        known = {
            agent: {
                kind: {"median": round(median(times), 3), "count": len(times)}
                for kind in RECOVERY_S
                if (times := self._by_kind.get((agent, kind)))
            }
            for agent in agents
        }
        return {agent: by_type for agent, by_type in known.items() if by_type}

    def newest(self, count: int) -> list[str]:
        """Name the agents that have recovered last, so many at the most."""
        names = dict.fromkeys(agent for agent, _ in reversed(self._by_kind))
        return list(itertools.islice(names, count))

    def observe(self, task: Task, at: float) -> None:
        """Observe that a task of a certain agent has recovered from its failure at ``at``."""
        if task.agent_name and task.last_error and task.failed_at is not None:
            self.add(task.agent_name, task.last_error["error_type"], (at - task.failed_at,))

    def median_s(self, agent_name: str, error_type: str) -> float | None:
        """Give the median in seconds; None: too few recoveries were seen."""
        times = self._by_kind.get((agent_name, error_type), ())
        return median(times) if len(times) >= NEEDED else None
