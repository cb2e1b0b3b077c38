"""
The tally: how many tasks there are, by status, agent, domain and user; kept, never counted anew.

A task counts for as long as it is known: until its end, and for a day after it. It is told here
when it comes, when it changes and when it is let go of, so that what is read here equals a count
of all tasks and costs nothing with a hundred thousand of them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, OrderedDict
from collections.abc import Mapping
from itertools import islice
from typing import Any

from gateway.domain.task import LIVE, Task

__all__ = ["FAILED", "LISTED_MAX", "Place", "Tally", "place_of"]

# Of agents, domains and users at most this many are listed each: those whose tasks came or ended
# last.
LISTED_MAX = 1000

# How a task may end without its result, unless it was cancelled.
FAILED = frozenset({"failed", "dead_lettered"})


# Where a task is counted: its status, agent, domain and user.
Place = tuple[str, str | None, str | None, str]


def place_of(task: Task) -> Place:
    """Tell where a task is counted as it is now."""
    return task.status, task.agent_name, task.domain, task.user_id


@dataclasses.dataclass(slots=True)
class Counts:
    """
    Tasks of one domain or user.

    Attributes:
        open: Those that have not ended.
        finished: Those that have ended, however.
        failed: Those among them that failed, or are dead letters.
    """

    open: int = 0
    finished: int = 0
    failed: int = 0


class Tally:
    """Counts of tasks; names without a task are not kept."""

    def __init__(self) -> None:
        self.by_status: Counter[str] = Counter()
        self._by_agent: OrderedDict[str, Counts] = OrderedDict()
        self._by_domain: OrderedDict[str, Counts] = OrderedDict()
        self._by_user: OrderedDict[str, Counts] = OrderedDict()

    def came(self, task: Task) -> None:
        """Count a task that is new here."""
        self._count(place_of(task), 1)

    def changed(self, task: Task, before: Place) -> None:
        """Count a task that was counted at ``before`` where it is now."""
        if (now := place_of(task)) == before:
            return
        if now[1:] == before[1:]:
            self._moved(before[0], *now)
        else:
            self._count(before, -1)
            self._count(now, 1)

    def went(self, task: Task) -> None:
        """Count a task no more."""
        self._count(place_of(task), -1)

    @property
    def users(self) -> int:
        """How many users have a task that is known."""
        return len(self._by_user)

    def by_agent(self) -> dict[str, int]:
        """Give the number of tasks of each agent, of ``LISTED_MAX`` agents at the most."""
        return {
            name: counts.open + counts.finished for name, counts in _newest(self._by_agent).items()
        }

    def by_domain(self) -> dict[str, dict[str, Any]]:
        """Give the counts of each domain: a task counts where it ran last."""
        return {name: dataclasses.asdict(c) for name, c in _newest(self._by_domain).items()}

    def by_user(self) -> dict[str, dict[str, Any]]:
        """Give the counts of each user."""
        return {name: dataclasses.asdict(c) for name, c in _newest(self._by_user).items()}

    def _moved(self, before: str, status: str, *names: str | None) -> None:
        """Count a change of the status alone, the most frequent one; an end is final."""
        self.by_status[before] -= 1
        self.by_status[status] += 1
        if status in LIVE:
            return
        for rows, name in zip((self._by_agent, self._by_domain, self._by_user), names, strict=True):
            if name is not None:
                counts = rows[name]
                rows.move_to_end(name)
                counts.open -= 1
                counts.finished += 1
                counts.failed += status in FAILED

    def _count(self, place: Place, by: int) -> None:
        status, *names = place
        self.by_status[status] += by
        for rows, name in zip((self._by_agent, self._by_domain, self._by_user), names, strict=True):
            if name is None:
                continue
            counts = rows.get(name)
            if counts is None:
                counts = rows[name] = Counts()
            rows.move_to_end(name)
            if status in LIVE:
                counts.open += by
            else:
                counts.finished += by
                counts.failed += by if status in FAILED else 0
            if not counts.open and not counts.finished:
                del rows[name]


def _newest(rows: OrderedDict[str, Counts]) -> Mapping[str, Counts]:
    return {name: rows[name] for name in islice(reversed(rows), LISTED_MAX)}
