"""The agents that are declared in this process: their functions, and the policy of each."""

from __future__ import annotations

import dataclasses
import importlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from gateway.attempts.demands import NONE, Demands
from gateway.domain.agent import AgentPolicy
from gateway.domain.errors import ConfigurationError
from gateway.domain.taught import Taught

__all__ = ["Agents", "Declared", "Function", "Home", "find_at_home", "home_of"]

Function = Callable[..., Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Home:
    """
    Where another process finds the declaration of an agent.

    Attributes:
        agent: The agent's name.
        function: Its module and qualified name, to know it by.
        modules: The modules to import, which declare it.
    """

    agent: str
    function: str
    modules: tuple[str, ...]


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
        home: Where the process of each attempt finds it; None: attempts run in this process.
    """

    policy: AgentPolicy
    function: Function
    fallback: Function | None = None
    cleanup: tuple[Function, ...] = ()
    demands: Demands = NONE
    home: Home | None = None

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
        _KNOWN.add(self)

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


# All agents that are declared in this process, whatever gateway has them.
_KNOWN: weakref.WeakSet[Agents] = weakref.WeakSet()


def home_of(agent: str, function: Function, *, declared_in: str) -> Home:
    """
    Say where another process finds a function that is being declared as an agent.

    Args:
        declared_in: The name of the module that declares it.

    Raises:
        ConfigurationError: If another process could not find it.
    """
    remedy = 'isolation="process" imports it by name: declare it at the top of a module of its own'
    name = getattr(function, "__qualname__", type(function).__qualname__)
    modules = tuple(dict.fromkeys((getattr(function, "__module__", declared_in), declared_in)))
    if "__main__" in modules:
        raise ConfigurationError(f"agent {agent}: {name} is declared in __main__, and {remedy}")
    if "<locals>" in name:
        raise ConfigurationError(f"agent {agent}: {name} is declared in a function, and {remedy}")
    return Home(agent, f"{modules[0]}:{name}", modules)


def find_at_home(home: Home) -> tuple[Agents, Declared]:
    """
    Import what declares an agent, and give the agent.

    Raises:
        ConfigurationError: If it is not declared there. What the import raises goes through.
    """
    for module in home.modules:
        importlib.import_module(module)
    for agents in _KNOWN:
        declared = agents.get(home.agent)
        if declared is not None and declared.home == home:
            return agents, declared
    raise ConfigurationError(
        f"agent {home.agent}: importing {' and '.join(home.modules)} does not declare "
        f'{home.function}; isolation="process" needs that: declare it at the top of its module'
    )
