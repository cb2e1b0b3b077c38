"""
The workforce: all workers that are known, and whose each agent is.

An agent's name, its limits and its breaker belong to the user that registered it first, for as
long as a worker of that user is known which serves it. What the gateway declares itself is the
gateway's; others may serve it, and change nothing about it.
"""

from __future__ import annotations

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


class Workforce(Mapping[str, Worker]):
    """Workers by agent_id, those that have gone included for a while."""

    def __init__(self) -> None:
        self._by_id: dict[str, Worker] = {}
        self._served: dict[str, _Served] = {}
        # Breaker → the agents that share it.
        self._behind: dict[str, dict[str, None]] = {}
        self._of_owner: dict[str, int] = {}

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
        if len(self) > WORKERS_MAX:
            self._forget_one(self._by_id.values())
        if self._of_owner[worker.owner] > WORKERS_PER_USER_MAX:
            self._forget_one(one for one in self._by_id.values() if one.owner == worker.owner)

    def drop(self, agent_id: str) -> None:
        """Forget a worker."""
        worker = self._by_id.pop(agent_id)
        self._count(worker.owner, -1)
        self._leave(worker, worker.agents)

    def full_for(self, owner: str) -> bool:
        """Whether no more workers of that user are taken: as many are there, and none is gone."""
        if self._of_owner.get(owner, 0) >= WORKERS_PER_USER_MAX:
            mine = (worker for worker in self._by_id.values() if worker.owner == owner)
            return not any(worker.gone for worker in mine)
        return len(self) >= WORKERS_MAX and not any(w.gone for w in self._by_id.values())

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

    def _forget_one(self, workers: Iterable[Worker]) -> None:
        gone = [worker for worker in workers if worker.gone]
        if gone:
            self.drop(min(gone, key=lambda worker: worker.worse_since or 0.0).agent_id)
