"""
The queue: which of the tasks that wait is next, for a worker that can do some of them.

    effective priority first, then the user whose turn was longest ago, then first come

Priorities are 0 (critical) to 10 (sheddable). Waiting lifts a priority by one step for each 10 s
that its oldest task has waited, and never past 1, so that nothing overtakes what is critical
(aging, as in UNIX schedulers). Within one step users take turns, so that one user's ten thousand
tasks delay another user's next one by at most one task a worker. A turn is the offset of the
user's last ``task_started``, so that every node on the log knows the same.

A priority is lifted as a whole, not task by task: else one user's tasks that have waited would
stand before all that is new, and taking turns would begin 40 s later.

Asking costs the same with ten tasks or ten thousand: tasks stand by route and priority, each
user's in its own row. What is new, or may be tried again by now, is placed when a worker asks.
"""

from __future__ import annotations

import bisect
import dataclasses
import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence

from gateway.domain.drain import DrainRate
from gateway.domain.task import Task

__all__ = ["AGING_S", "LIFTED_TO", "TURNS_KEPT", "Queue", "route_of", "routes_of"]

# How long a priority's oldest task waits to lift it by one step, in seconds, and how far it can.
AGING_S = 10.0
LIFTED_TO = 1
# Users whose last turn is remembered; at the bound the longest ago is forgotten, and that user
# counts as never served.
TURNS_KEPT = 10_000


def route_of(task: Task) -> str:
    """Name the row that a task stands in: its agent's, else its capability's."""
    if task.agent_name is not None:
        return f"agent:{task.agent_name}"
    return f"capability:{task.capability}"


def routes_of(agents: Sequence[str], capabilities: Sequence[str] = ()) -> list[str]:
    """Name the rows that a worker takes from."""
    return [*(f"agent:{name}" for name in agents), *(f"capability:{c}" for c in capabilities)]


@dataclasses.dataclass(slots=True, eq=False)
class _Waiting:
    """A task that waits; it stands in a row once it may be tried."""

    task: Task
    route: str
    user_id: str
    sequence: int
    since: float
    placed: bool = False


class _Row:
    """
    Tasks of one route and priority. What sorts an item stands before it: no two have the same.

    Attributes:
        users: By turn and first task.
        tasks: Each user's, by sequence.
    """

    __slots__ = ("_ages", "_keys", "tasks", "users")

    def __init__(self) -> None:
        self.users: list[tuple[int, int, str]] = []
        self.tasks: dict[str, list[tuple[int, Task]]] = {}
        self._keys: dict[str, tuple[int, int, str]] = {}
        self._ages: list[tuple[float, int, Task]] = []

    @property
    def oldest(self) -> tuple[float, int, Task]:
        """Since when the one waits that has waited longest, its sequence, and itself."""
        return self._ages[0]

    def add(self, waiting: _Waiting, turn: int) -> None:
        mine = self.tasks.setdefault(waiting.user_id, [])
        bisect.insort(mine, (waiting.sequence, waiting.task))
        bisect.insort(self._ages, (waiting.since, waiting.sequence, waiting.task))
        self.order(waiting.user_id, turn)

    def remove(self, waiting: _Waiting, turn: int) -> None:
        mine = self.tasks[waiting.user_id]
        del mine[bisect.bisect_left(mine, (waiting.sequence,))]
        del self._ages[bisect.bisect_left(self._ages, (waiting.since, waiting.sequence))]
        self.order(waiting.user_id, turn)

    def order(self, user_id: str, turn: int) -> None:
        """Put a user where its turn and its first task belong; away if it has no tasks here."""
        mine = self.tasks[user_id]
        before = self._keys.pop(user_id, None)
        key = (turn, mine[0][0], user_id) if mine else None
        if before != key:
            if before is not None:
                del self.users[bisect.bisect_left(self.users, before)]
            if key is not None:
                bisect.insort(self.users, key)
        if key is None:
            del self.tasks[user_id]
        else:
            self._keys[user_id] = key


class Queue:
    """
    Tasks that wait, in the order in which they are to be taken.

    Attributes:
        drain: How fast they begin.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}
        self._of_user: dict[str, int] = {}
        self._of_priority: dict[int, int] = {}
        self.drain = DrainRate()
        # Those that have come since a worker asked last. Many have gone again by the next time:
        # on another node, or while a log is read.
        self._new: dict[str, _Waiting] = {}
        # By route, then by priority.
        self._rows: dict[str, dict[int, _Row]] = {}
        # Routes and priorities of a user's rows, to be moved when it has had its turn.
        self._rows_of: dict[str, set[tuple[str, int]]] = {}
        self._turns: dict[str, int] = {}
        # When a task may be tried again, earliest first; one that has left since is passed over.
        self._later: list[tuple[float, int, _Waiting]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, task: Task) -> None:
        """Let a task wait, or wait anew: from its next attempt on, else from its submission."""
        self.remove(task.task_id)
        since = task.created_at if task.next_attempt_at is None else task.next_attempt_at
        waiting = _Waiting(task, route_of(task), task.user_id, task.sequence, since)
        self._waiting[task.task_id] = waiting
        self._of_user[task.user_id] = self.waiting_of(task.user_id) + 1
        self._of_priority[task.priority] = self._of_priority.get(task.priority, 0) + 1
        if task.next_attempt_at is None:
            self._new[task.task_id] = waiting
        else:
            heapq.heappush(self._later, (since, next(self._numbers), waiting))

    def remove(self, task_id: str) -> None:
        """Let a task wait no more; one that does not wait is left alone."""
        waiting = self._waiting.pop(task_id, None)
        if waiting is None:
            return
        self._of_user[waiting.user_id] -= 1
        if not self._of_user[waiting.user_id]:
            del self._of_user[waiting.user_id]
        self._of_priority[waiting.task.priority] -= 1
        if self._new.pop(task_id, None) is None:
            self._unplace(waiting)

    def waiting_of(self, user_id: str) -> int:
        """How many of a user's tasks wait."""
        return self._of_user.get(user_id, 0)

    def least_urgent(self) -> int | None:
        """Give the lowest priority, the largest number, that waits; None: nothing waits."""
        return max((p for p, count in self._of_priority.items() if count), default=None)

    def served(self, user_id: str, turn: int, at: float | None = None) -> None:
        """A user has had its turn, at an offset and a time of the log; None: long ago."""
        if at is not None:
            self.drain.began(at)
        self._turns.pop(user_id, None)
        self._turns[user_id] = turn
        self._order(user_id)
        if len(self._turns) > TURNS_KEPT:
            forgotten = next(iter(self._turns))
            del self._turns[forgotten]
            self._order(forgotten)

    def turns(self) -> list[tuple[str, int]]:
        """Give the turns that are remembered, the longest ago first."""
        return list(self._turns.items())

    def ready(
        self,
        routes: Sequence[str],
        now: float,
        *,
        fits: Callable[[Task], bool] = lambda task: True,
        limit: int = 1,
    ) -> list[Task]:
        """
        Give the tasks that are to be taken next.

        Args:
            routes: Those that the worker takes from; see ``routes_of``.
            now: Seconds since the Unix epoch.
            fits: Whether a task could be taken; one that could not is passed over.
            limit: How many at the most.
        """
        self._advance(now)
        found: list[Task] = []
        rows: dict[int, list[_Row]] = {}
        for route in dict.fromkeys(routes):
            for priority, row in self._rows.get(route, {}).items():
                rows.setdefault(priority, []).append(row)
        steps: dict[int, list[_Row]] = {}
        for priority, of_priority in rows.items():
            step = _step_of(priority, of_priority, now, fits)
            steps.setdefault(step, []).extend(of_priority)
        for step in sorted(steps):
            for task in _in_turn(steps[step]):
                if fits(task):
                    found.append(task)
                    if len(found) >= limit:
                        return found
        return found

    def next(
        self, routes: Sequence[str], now: float, *, fits: Callable[[Task], bool]
    ) -> Task | None:
        """Give the one task that is to be taken next, as ``ready`` does; None: there is none."""
        found = self.ready(routes, now, fits=fits)
        return found[0] if found else None

    # --- how --------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        """Place what may be tried by now."""
        for waiting in self._new.values():
            self._place(waiting)
        self._new.clear()
        while self._later and self._later[0][0] <= now:
            _, _, waiting = heapq.heappop(self._later)
            if self._waiting.get(waiting.task.task_id) is waiting:
                self._place(waiting)

    def _place(self, waiting: _Waiting) -> None:
        route, priority, user = waiting.route, waiting.task.priority, waiting.user_id
        waiting.placed = True
        row = self._rows.setdefault(route, {}).setdefault(priority, _Row())
        row.add(waiting, self._turns.get(user, 0))
        self._rows_of.setdefault(user, set()).add((route, priority))

    def _unplace(self, waiting: _Waiting) -> None:
        if not waiting.placed:
            return
        route, priority, user = waiting.route, waiting.task.priority, waiting.user_id
        row = self._rows[route][priority]
        row.remove(waiting, self._turns.get(user, 0))
        if user not in row.tasks:
            self._rows_of[user].discard((route, priority))
            if not self._rows_of[user]:
                del self._rows_of[user]
        if not row.tasks:
            del self._rows[route][priority]
            if not self._rows[route]:
                del self._rows[route]

    def _order(self, user_id: str) -> None:
        for route, priority in self._rows_of.get(user_id, ()):
            self._rows[route][priority].order(user_id, self._turns.get(user_id, 0))


def _step_of(priority: int, rows: Sequence[_Row], now: float, fits: Callable[[Task], bool]) -> int:
    """
    Tell how far the tasks of one priority are lifted by the oldest of them.

    One that nobody can take, since its breaker is open, lifts no other row.
    """
    if priority <= LIFTED_TO:
        return priority
    oldest = [row.oldest for row in rows]
    if len(rows) > 1:
        oldest = [one for one in oldest if fits(one[2])] or oldest
    waited_s = now - min(oldest)[0]
    return min(priority, max(LIFTED_TO, priority - int(waited_s // AGING_S)))


def _in_turn(rows: Sequence[_Row]) -> Iterator[Task]:
    """Give the tasks of rows: each user's next one in turn, then each one's second, …"""
    left: list[Iterator[tuple[int, Task]]] = []
    seen: set[str] = set()
    for _, _, user in heapq.merge(*(row.users for row in rows)):
        if user in seen:
            continue  # it waits in several rows
        seen.add(user)
        mine = [row.tasks[user] for row in rows if user in row.tasks]
        tasks = iter(mine[0]) if len(mine) == 1 else heapq.merge(*mine)
        yield next(tasks)[1]
        left.append(tasks)
    while left:
        more = []
        for tasks in left:
            if (later := next(tasks, None)) is not None:
                yield later[1]
                more.append(tasks)
        left = more
