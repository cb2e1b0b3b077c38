"""
Adaptive concurrency: how many calls of one upstream may run at once, learned from its rate limits.

    a rate limit halves it, at most once a second; as many successes as may run add one

That is additive increase and multiplicative decrease, as TCP does it (RFC 5681, section 3.1): it
finds out what an upstream stands without asking it, and gives way quickly. It is a fold of the log,
so that all nodes know the same; two that start a call at the same moment may exceed it by one.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.domain.task import Task

__all__ = ["LOWERED_MAX", "Concurrencies", "Concurrency", "upstream_of"]

# Several calls that fail together tell one thing; a halving takes as long to show, in seconds.
LOWERED_EVERY_S = 1.0
# Upstreams whose limit is lowered; at the bound the one that was lowered first has the most again.
LOWERED_MAX = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class Concurrency:
    """
    The limit of one upstream, once it was lowered.

    Attributes:
        limit: How many calls may run at once, with the part of one more that is earned.
        lowered_at: When it was lowered last, in seconds since the Unix epoch.
    """

    upstream: str
    limit: float
    lowered_at: float


class Concurrencies:
    """
    The limits of all upstreams, and how many calls of each run.

    Args:
        most: How many calls of one upstream may run at once at the most; 0: any number, and nothing
            is learned.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._lowered: dict[str, Concurrency] = {}
        self._running: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Concurrency]:
        return iter(self._lowered.values())

    def adopt(self, known: Concurrency) -> None:
        """Know a limit as it is; nothing without a most."""
        if self.most:
            self._lowered[known.upstream] = known

    def has_room(self, upstream: str) -> bool:
        """Whether one more call may begin now."""
        return not self.most or self._running[upstream] < int(self.limit(upstream))

    def limit(self, upstream: str) -> float:
        """Give how many calls may run at once."""
        known = self._lowered.get(upstream)
        return self.most if known is None else min(known.limit, self.most)

    def apply(self, task: Task, event: Mapping[str, Any], begun: int, *, at: float) -> None:
        """
        Fold an event of a task.

        Args:
            task: As it is after the event.
            begun: 1 when an attempt has begun by it, -1 when one has ended, else 0.
            at: When the log accepted it, in seconds since the Unix epoch.
        """
        self.moved(task, begun)
        if (upstream := self._counted(task)) is None:
            return
        if event["type"] == "agent_error" and event["error_type"] == "rate_limit":
            self.rate_limited(upstream, at)
        elif event["type"] == "task_finished" and task.status == "succeeded":
            self.succeeded(upstream)

    def moved(self, task: Task, calls: int) -> None:
        """So many calls for a task have begun, or have ended where it is negative."""
        if not calls or (upstream := self._counted(task)) is None:
            return
        self._running[upstream] += calls
        if self._running[upstream] <= 0:
            del self._running[upstream]

    def _counted(self, task: Task) -> str | None:
        """Give the upstream whose calls a task's attempts are; None: they are counted nowhere."""
        return upstream_of(task) if self.most and task.mode == "primary" else None

    def succeeded(self, upstream: str) -> None:
        """A call has succeeded."""
        if (known := self._lowered.get(upstream)) is None:
            return
        limit = known.limit + 1 / known.limit
        if limit >= self.most:
            del self._lowered[upstream]
        else:
            self.adopt(dataclasses.replace(known, limit=limit))

    def rate_limited(self, upstream: str, at: float) -> None:
        """A call was refused since there are too many, at ``at``."""
        known = self._lowered.get(upstream)
        if known is not None and at - known.lowered_at < LOWERED_EVERY_S:
            return
        if known is None and len(self._lowered) >= LOWERED_MAX:
            del self._lowered[next(iter(self._lowered))]
        self.adopt(Concurrency(upstream, max(1.0, self.limit(upstream) / 2), at))

    def shown(self, count: int) -> dict[str, dict[str, int]]:
        """Give what is known of so many upstreams at the most, those with a lower limit first."""
        names = list(dict.fromkeys([*self._lowered, *self._running]))[:count]
        return {
            name: {"running": self._running[name], "limit": int(self.limit(name))} for name in names
        }


def upstream_of(task: Task) -> str | None:
    """Give what an attempt at a task calls: its upstream, else its agent; None: it has neither."""
    return task.budget or task.agent_name
