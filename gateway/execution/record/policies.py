"""
Policies: how the tasks of each agent are treated, in this process or in a worker.

A declaration in this process wins over what a worker says of an agent of the same name. The
setting ``max_attempts`` fills in where an agent names none.
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
    The policies of all agents that this node knows, by name.

    Args:
        agents: The agents that are declared in this process.
        max_attempts: The setting, for agents that name none.
    """

    def __init__(self, agents: Agents, *, max_attempts: int) -> None:
        self._agents = agents
        self._max_attempts = max_attempts
        self._learnt: dict[str, AgentPolicy] = {}
        # Policies as they were declared or learnt, and with the setting filled in.
        self._filled_in: dict[str, tuple[AgentPolicy, AgentPolicy]] = {}

    def of(self, name: str) -> AgentPolicy:
        """Give the policy of an agent; for an agent that is not known, the defaults."""
        declared = self._agents.get(name)
        policy = self._learnt.get(name) if declared is None else declared.policy
        if policy is None:
            return AgentPolicy(name, max_attempts=self._max_attempts)
        if policy.max_attempts:
            return policy
        known = self._filled_in.get(name)
        if known is None or known[0] is not policy:
            filled_in = dataclasses.replace(policy, max_attempts=self._max_attempts)
            known = self._filled_in[name] = policy, filled_in
        return known[1]

    def of_task(self, task: Task) -> AgentPolicy:
        """Give the policy for ``task``; a task that names no agent goes by its capability."""
        return self.of(task.agent_name or task.capability or "unknown")

    def learn(self, policies: Iterable[AgentPolicy]) -> None:
        """Take note of the agents of a worker; the newest policy of a name counts."""
        for policy in policies:
            self._learnt[policy.name] = policy

    def behind(self, breaker: str) -> list[AgentPolicy]:
        """Give the agents that share a breaker, those of this process first."""
        here = [declared.policy for declared in self._agents]
        elsewhere = [p for name, p in self._learnt.items() if self._agents.get(name) is None]
        return [policy for policy in (*here, *elsewhere) if policy.breaker == breaker]
