"""
Policies: how the tasks of each agent are treated, in this process or in a worker.

A declaration in this process wins over what a worker says of an agent of the same name; of the
workers, those of the agent's owner are asked (``domain.workforce``). The setting ``max_attempts``
fills in where an agent names none.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator

from gateway.attempts.agents import Agents
from gateway.domain.access import GATEWAY, LOCAL_OPERATOR
from gateway.domain.agent import AgentPolicy
from gateway.domain.holds import Hold, of_user
from gateway.domain.names import similar_to
from gateway.domain.task import Task
from gateway.execution.record.state import State

__all__ = ["Policies"]


class Policies:
    """
    The policies of all agents that this node knows, by name.

    Args:
        agents: The agents that are declared in this process.
        state: Knows what workers say of theirs.
        max_attempts: The setting, for agents that name none.
    """

    def __init__(self, agents: Agents, state: State, *, max_attempts: int) -> None:
        self._agents = agents
        self._state = state
        self._max_attempts = max_attempts
        # Asked for at every step of a task.
        self._filled_in = functools.lru_cache(maxsize=1024)(self._fill_in)

    def of(self, name: str) -> AgentPolicy:
        """Give the policy of an agent; for an agent that is not known, the defaults."""
        declared = self._agents.get(name)
        policy = self._state.workers.policy(name) if declared is None else declared.policy
        if policy is None:
            return AgentPolicy(name, max_attempts=self._max_attempts)
        if policy.max_attempts:
            return policy
        return self._filled_in(policy)

    def _fill_in(self, policy: AgentPolicy) -> AgentPolicy:
        return dataclasses.replace(policy, max_attempts=self._max_attempts)

    def of_task(self, task: Task) -> AgentPolicy:
        """Give the policy for ``task``; a task that names no agent goes by its capability."""
        return self.of(task.agent_name or task.capability or "unknown")

    def upstream_of(self, policy: AgentPolicy) -> str:
        """
        Name what an agent calls, as it is held: its upstream, else the agent itself.

        What a user's own agents say of an upstream holds that user's agents alone.
        """
        owner = self.owner(policy.name)
        if owner in (None, GATEWAY.user_id, LOCAL_OPERATOR.user_id):
            return policy.budget
        return of_user(policy.budget, owner)

    def hold(self, policy: AgentPolicy) -> Hold | None:
        """Give the hold of what an agent calls, also one that is over; None: none is known."""
        holds = self._state.holds
        return holds.get(self.upstream_of(policy)) if holds else None

    def served(self, task: Task) -> bool:
        """Whether there is a worker now that could do a task."""
        if self._agents.get(task.agent_name) is not None:
            return True
        workers = self._state.workers
        able = workers.values() if task.agent_name is None else workers.serving(task.agent_name)
        return any(
            worker.takes_work and worker.can_do(task.agent_name, task.capability) for worker in able
        )

    def similar(self, task: Task) -> list[str]:
        """Give names of agents that are known and look like the one that a task names."""
        if task.agent_name is None:
            return []
        here = (declared.policy.name for declared in self._agents)
        return similar_to(task.agent_name, itertools.chain(here, self._state.workers.agents()))

    def behind(self, breaker: str) -> Iterator[AgentPolicy]:
        """Give the agents that share a breaker, those of this process first."""
        for declared in self._agents:
            if declared.policy.breaker == breaker:
                yield declared.policy
        for policy in self._state.workers.behind(breaker):
            if self._agents.get(policy.name) is None:
                yield policy

    def features(self) -> Iterator[str]:
        """Give what users lose while any of the agents is away."""
        for declared in self._agents:
            yield from declared.policy.features
        for worker in self._state.workers.values():
            if worker.status != "offline":
                for policy in worker.agents.values():
                    yield from policy.features

    def owner(self, agent_name: str) -> str | None:
        """Give the user that an agent belongs to; None: nobody serves it."""
        if self._agents.get(agent_name) is not None:
            return GATEWAY.user_id
        return self._state.workers.owner(agent_name)

    def owner_of_breaker(self, breaker: str) -> str | None:
        """Give the user whose agents share a breaker; None: no agent has it."""
        first = next(self.behind(breaker), None)
        return None if first is None else self.owner(first.name)
