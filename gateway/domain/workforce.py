"""
The workforce: all workers that are known, and whose each agent is.

An agent's name, its limits and its breaker belong to the user that registered it first, for as
long as a worker of that user is known which serves it. What the gateway declares itself is the
gateway's; others may serve it, and change nothing about it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping

from gateway.domain.access import GATEWAY
from gateway.domain.agent import AgentPolicy
from gateway.domain.worker import Worker

__all__ = ["WORKERS_MAX", "WORKERS_PER_USER_MAX", "Workforce"]

# So many workers are known at once, and so many of one user. At a bound the one that has been gone
# for longest is forgotten; when none is gone, no more are taken.
WORKERS_MAX = 10_000
WORKERS_PER_USER_MAX = 1_000


class _Served:
    """
    One agent: the workers that serve it, in the order in which they came.

    Attributes:
        policy: As the newest worker of the agent's owner says.
    """

    __slots__ = ("owners", "policy", "workers")

    def __init__(self, policy: AgentPolicy) -> None:
        self.workers: dict[str, Worker] = {}
        # Owner → how many of the workers are of that owner.
        self.owners: dict[str, int] = {}
        self.policy = policy

    @property
    def owner(self) -> str:
        gateway = GATEWAY.user_id
        return gateway if gateway in self.owners else next(iter(self.owners))


# Since when a worker is worse, and its id.
_Turn = tuple[float, str]


class _Gone:
    """
    Workers that have gone, the one that has been gone for longest first.

    Args:
        known: All workers that are known.
        owner: Whose they are; None: anybody's.
    """

    __slots__ = ("_heap", "_known", "_owner")

    def __init__(self, known: Mapping[str, Worker], owner: str | None = None) -> None:
        self._known = known
        self._owner = owner
        # What a worker has become since is seen when its turn comes.
        self._heap: list[_Turn] = []

    def add(self, worker: Worker) -> None:
        """Take in that a known worker has gone."""
        if len(self._heap) > 2 * len(self._known):
            self._heap = [turn for turn in set(self._heap) if self._holds(turn)]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, _turn_of(worker))

    def longest(self) -> str | None:
        """Give the id of the one that has been gone for longest; None: none is gone."""
        while self._heap:
            if self._holds(self._heap[0]):
                return self._heap[0][1]
            heapq.heappop(self._heap)
        return None

    def _holds(self, turn: _Turn) -> bool:
        worker = self._known.get(turn[1])
        return (
            worker is not None
            and worker.gone
            and _turn_of(worker) == turn
            and self._owner in (None, worker.owner)
        )


def _turn_of(worker: Worker) -> _Turn:
    return worker.worse_since or 0.0, worker.agent_id


class Workforce(Mapping[str, Worker]):
    """Workers by agent_id, those that have gone included for a while."""

    def __init__(self) -> None:
        self._by_id: dict[str, Worker] = {}
        self._served: dict[str, _Served] = {}
        # Breaker → the agents that share it.
        self._behind: dict[str, dict[str, None]] = {}
        self._of_owner: dict[str, int] = {}
        self._gone = _Gone(self._by_id)
        self._gone_of_owner: dict[str, _Gone] = {}

    def __getitem__(self, agent_id: str) -> Worker:
        return self._by_id[agent_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, worker: Worker) -> None:
        """Know a worker, or know it anew; at a bound one that has gone is forgotten."""
        before = self._by_id.get(worker.agent_id)
        if before is not None:
            self._leave(before, [name for name in before.agents if name not in worker.agents])
            self._count(before.owner, -1)
        self._by_id[worker.agent_id] = worker
        self._count(worker.owner, 1)
        for name, policy in worker.agents.items():
            served = self._served.get(name)
            if served is None:
                served = self._served[name] = _Served(policy)
                self._behind.setdefault(policy.breaker, {})[name] = None
            known = served.workers.get(worker.agent_id)
            served.workers[worker.agent_id] = worker
            if known is None or known.owner != worker.owner:
                if known is not None:
                    self._disown(served, known.owner)
                served.owners[worker.owner] = served.owners.get(worker.owner, 0) + 1
            if served.owner == worker.owner:
                self._treat(name, served, policy)
        self.changed(worker)
        if len(self) > WORKERS_MAX:
            self._forget(self._gone.longest())
        if self._of_owner[worker.owner] > WORKERS_PER_USER_MAX:
            self._forget(self._longest_gone_of(worker.owner))

    def changed(self, worker: Worker) -> None:
        """Take in what a known worker has become."""
        if worker.gone:
            self._gone.add(worker)
            mine = _Gone(self._by_id, worker.owner)
            self._gone_of_owner.setdefault(worker.owner, mine).add(worker)

    def drop(self, agent_id: str) -> None:
        """Forget a worker."""
        worker = self._by_id.pop(agent_id)
        self._count(worker.owner, -1)
        self._leave(worker, worker.agents)

    def full_for(self, owner: str) -> bool:
        """Whether no more workers of that user are taken: as many are there, and none is gone."""
        if self._of_owner.get(owner, 0) >= WORKERS_PER_USER_MAX:
            return self._longest_gone_of(owner) is None
        return len(self) >= WORKERS_MAX and self._gone.longest() is None

    def agents(self) -> Iterable[str]:
        """Give the names of all agents that a known worker serves."""
        return self._served

    def owner(self, agent_name: str) -> str | None:
        """Give the user that an agent belongs to; None: no worker serves it."""
        served = self._served.get(agent_name)
        return None if served is None else served.owner

    def serving(self, agent_name: str) -> Iterable[Worker]:
        """Give the workers that serve an agent, those that have gone included."""
        served = self._served.get(agent_name)
        return () if served is None else served.workers.values()

    def policy(self, agent_name: str) -> AgentPolicy | None:
        """Give the policy of an agent, as its owner's newest worker says; None: none serves it."""
        served = self._served.get(agent_name)
        return None if served is None else served.policy

    def behind(self, breaker: str) -> Iterator[AgentPolicy]:
        """Give the policies of the agents that share a breaker."""
        for name in self._behind.get(breaker, ()):
            yield self._served[name].policy

    # --- how --------------------------------------------------------------------------------

    def _leave(self, worker: Worker, names: Iterable[str]) -> None:
        for name in names:
            served = self._served[name]
            del served.workers[worker.agent_id]
            owner = served.owner
            self._disown(served, worker.owner)
            if not served.workers:
                self._unplace(name, served)
                del self._served[name]
            elif served.owner != owner:
                newest = max(
                    (one for one in served.workers.values() if one.owner == served.owner),
                    key=lambda one: one.registered_at,
                )
                self._treat(name, served, newest.agents[name])

    def _treat(self, name: str, served: _Served, policy: AgentPolicy) -> None:
        if policy.breaker != served.policy.breaker:
            self._unplace(name, served)
            self._behind.setdefault(policy.breaker, {})[name] = None
        served.policy = policy

    def _unplace(self, name: str, served: _Served) -> None:
        names = self._behind[served.policy.breaker]
        del names[name]
        if not names:
            del self._behind[served.policy.breaker]

    @staticmethod
    def _disown(served: _Served, owner: str) -> None:
        served.owners[owner] -= 1
        if not served.owners[owner]:
            del served.owners[owner]

    def _count(self, owner: str, by: int) -> None:
        self._of_owner[owner] = self._of_owner.get(owner, 0) + by
        if not self._of_owner[owner]:
            del self._of_owner[owner]
            self._gone_of_owner.pop(owner, None)

    def _longest_gone_of(self, owner: str) -> str | None:
        gone = self._gone_of_owner.get(owner)
        return None if gone is None else gone.longest()

    def _forget(self, agent_id: str | None) -> None:
        if agent_id is not None:
            self.drop(agent_id)
