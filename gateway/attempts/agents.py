"""The agents that are declared in this process: what they do, and how they are treated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gateway.domain.agent import AgentPolicy
from gateway.domain.errors import ConfigurationError
from gateway.domain.task import Task

__all__ = ["Agents", "Declared", "Function"]

Function = Callable[..., Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Declared:
    """
    One agent of this process.

    Attributes:
        policy: Its limits.
        function: What does the work: async function, async generator or plain function.
        fallback: What answers when it cannot; None: nothing does.
        cleanup: Called with the task after each of its attempts, sync or async.
    """

    policy: AgentPolicy
    function: Function
    fallback: Function | None = None
    cleanup: tuple[Function, ...] = ()

    def registration(self) -> dict[str, Any]:
        """Describe the agent as ``agent.register`` takes it."""
        policy = self.policy
        item: dict[str, Any] = {
            "name": policy.name,
            "timeout": policy.timeout_s,
            "fallback": self.fallback is not None,
            "features": list(policy.features),
            "upstream": policy.upstream,
            "breaker": policy.breaker,
        }
        if policy.max_attempts:
            item["max_attempts"] = policy.max_attempts
        return item


class Agents:
    """
    Declared agents by name, in the order of their declaration.

    Attributes:
        max_attempts: Of whoever is declared without; set when the settings are known, which
            is after the agents' module was imported.
    """

    def __init__(self) -> None:
        self.max_attempts = 3
        self._declared: dict[str, Declared] = {}
        self._elsewhere: dict[str, AgentPolicy] = {}

    def __iter__(self) -> Iterator[Declared]:
        return iter(self._declared.values())

    def declare(self, declared: Declared) -> None:
        """
        Add an agent.

        Raises:
            ConfigurationError: If the name is taken.
        """
        name = declared.policy.name
        if name in self._declared:
            raise ConfigurationError(f"an agent named {name!r} is declared already")
        self._declared[name] = declared

    def get(self, name: str | None) -> Declared | None:
        """Give the agent of that name; None: it is not declared here."""
        return None if name is None else self._declared.get(name)

    def policy(self, name: str) -> AgentPolicy:
        """How tasks of that name are treated; by the defaults when nobody has declared it."""
        declared = self._declared.get(name)
        if declared is not None:
            policy = declared.policy
        else:
            policy = self._elsewhere.get(name) or AgentPolicy(name)
        if policy.max_attempts:
            return policy
        return dataclasses.replace(policy, max_attempts=self.max_attempts)

    def learn(self, policies: Iterable[AgentPolicy]) -> None:
        """Take note of agents that workers do; what is declared here goes before."""
        for policy in policies:
            self._elsewhere[policy.name] = policy

    def policy_for(self, task: Task) -> AgentPolicy:
        """How ``task`` is treated; a task that no agent has taken yet goes by its capability."""
        return self.policy(task.agent_name or task.capability or "unknown")

    def capable_of(self, capability: str) -> str | None:
        """Name the first agent with a capability; None: nobody has it."""
        for declared in self._declared.values():
            if capability in declared.policy.capabilities:
                return declared.policy.name
        return None

    def behind(self, breaker: str) -> list[AgentPolicy]:
        """The agents that share a breaker, here and elsewhere."""
        here = [declared.policy for declared in self._declared.values()]
        elsewhere = [p for name, p in self._elsewhere.items() if name not in self._declared]
        return [policy for policy in (*here, *elsewhere) if policy.breaker == breaker]
