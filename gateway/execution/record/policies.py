"""
Policies: how the tasks of each agent are treated, whether this process runs it or a worker does.

An agent that is declared here keeps what is declared here, whatever a worker says of the same
name. The setting for ``max_attempts`` fills in where an agent names none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from gateway.attempts.agents import Agents
from gateway.domain.agent import AgentPolicy
from gateway.domain.task import Task

__all__ = ["Policies"]


class Policies:
    """
    Limits of agents, by name.

    Args:
        agents: Those that are declared in this process.
        max_attempts: Of agents that name none.
    """

    def __init__(self, agents: Agents, *, max_attempts: int) -> None:
        self._agents = agents
        self._max_attempts = max_attempts
        self._learnt: dict[str, AgentPolicy] = {}

    def of(self, name: str) -> AgentPolicy:
        """Give the policy of an agent; the defaults for one that is not known."""
        declared = self._agents.get(name)
        policy = self._learnt.get(name) if declared is None else declared.policy
        policy = policy or AgentPolicy(name)
        if policy.max_attempts:
            return policy
        return dataclasses.replace(policy, max_attempts=self._max_attempts)

    def of_task(self, task: Task) -> AgentPolicy:
        """Give the policy for ``task``; one that no agent has taken yet goes by its capability."""
        return self.of(task.agent_name or task.capability or "unknown")

    def learn(self, policies: Iterable[AgentPolicy]) -> None:
        """Take note of the agents of a worker."""
        for policy in policies:
            self._learnt[policy.name] = policy

    def behind(self, breaker: str) -> list[AgentPolicy]:
        """Give the agents that share a breaker; those of this process come first."""
        here = [declared.policy for declared in self._agents]
        elsewhere = [p for name, p in self._learnt.items() if self._agents.get(name) is None]
        return [policy for policy in (*here, *elsewhere) if policy.breaker == breaker]
