"""The agents that are declared in this process: their functions, and the policy of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from gateway.attempts.demands import NONE, Demands
from gateway.domain.agent import AgentPolicy
from gateway.domain.errors import ConfigurationError
from gateway.domain.taught import Taught

__all__ = ["Agents", "Declared", "Function"]

Function = Callable[..., Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Declared:
    """
    One agent of this process.

    Attributes:
        policy: Its limits.
        function: Does the work: an async function, an async generator or a plain function.
        fallback: Answers when ``function`` cannot; None: there is none.
        cleanup: Called with the task after each attempt, sync or async.
        demands: What it may raise, and what its results and pauses have to be like.
    """

    policy: AgentPolicy
    function: Function
    fallback: Function | None = None
    cleanup: tuple[Function, ...] = ()
    demands: Demands = NONE

    def registration(self) -> dict[str, Any]:
        """
        Describe the agent as ``agent.register`` takes it.

        An agent without ``max_attempts`` leaves it out, and the gateway's setting holds.
        """
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
    The declared agents by name, in the order of their declaration.

    Attributes:
        taught: What the program said about exceptions of its own.
    """

    def __init__(self) -> None:
        self._declared: dict[str, Declared] = {}
        self.taught = Taught()

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
        """Give the agent of that name; None: no agent of that name is declared here."""
        return None if name is None else self._declared.get(name)

    def capable_of(self, capability: str) -> str | None:
        """Name the first declared agent with a capability; None: there is none."""
        for declared in self._declared.values():
            if capability in declared.policy.capabilities:
                return declared.policy.name
        return None
