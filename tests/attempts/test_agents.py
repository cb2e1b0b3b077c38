"""The agents of a process: by name, in order, each name once."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.attempts.agents import Agents, Declared, Home, find_at_home, home_of
from gateway.domain.agent import AgentPolicy
from gateway.domain.errors import ConfigurationError


def declared(name: str, **policy: Any) -> Declared:
    return Declared(AgentPolicy(name, **policy), lambda task: None)


def test_agents_come_in_the_order_of_their_declaration() -> None:
    agents = Agents()
    for name in ("b", "a", "c"):
        agents.declare(declared(name))
    assert [agent.policy.name for agent in agents] == ["b", "a", "c"]


def test_a_name_is_declared_once() -> None:
    agents = Agents()
    first = declared("echo")
    agents.declare(first)
    with pytest.raises(ConfigurationError, match="'echo' is declared already"):
        agents.declare(declared("echo"))
    assert agents.get("echo") is first


@pytest.mark.parametrize("name", [None, "", "other"])
def test_an_agent_of_another_name_is_not_found(name: str | None) -> None:
    agents = Agents()
    agents.declare(declared("echo"))
    assert agents.get(name) is None


def test_of_two_agents_with_a_capability_the_first_is_named() -> None:
    agents = Agents()
    agents.declare(declared("plain"))
    agents.declare(declared("first", capabilities=("search", "write")))
    agents.declare(declared("second", capabilities=("write",)))
    assert agents.capable_of("write") == "first"
    assert agents.capable_of("sing") is None


def test_a_registration_leaves_out_the_attempts_that_the_gateways_setting_decides() -> None:
    assert "max_attempts" not in declared("echo").registration()
    assert declared("echo", max_attempts=1).registration()["max_attempts"] == 1


def test_a_registration_says_whether_there_is_a_fallback_and_not_which() -> None:
    policy = AgentPolicy("echo", timeout_s=5.0, upstream="model", breaker="shared")
    agent = Declared(policy, lambda task: None, fallback=lambda task: None)
    assert agent.registration() == {
        "name": "echo",
        "timeout": 5.0,
        "fallback": True,
        "features": [],
        "upstream": "model",
        "breaker": "shared",
    }


def top(task: object) -> None:
    """A function that another process can import."""


def test_another_process_finds_a_function_by_its_modules_and_its_name() -> None:
    home = home_of("echo", top, declared_in="tests.elsewhere")
    assert home == Home("echo", f"{__name__}:top", (__name__, "tests.elsewhere"))


def test_what_another_process_could_not_import_is_refused_where_it_is_declared() -> None:
    def closure(task: object) -> None: ...

    with pytest.raises(ConfigurationError, match=r"closure is declared in a function.*declare it"):
        home_of("echo", closure, declared_in=__name__)
    with pytest.raises(ConfigurationError, match=r"top is declared in __main__.*declare it"):
        home_of("echo", top, declared_in="__main__")


def test_an_agent_is_found_where_it_is_declared_and_by_its_own_function() -> None:
    home = home_of("found", top, declared_in=__name__)
    agents = Agents()
    agents.declare(Declared(AgentPolicy("found"), top, home=home))
    assert find_at_home(home) == (agents, agents.get("found"))
    with pytest.raises(ConfigurationError, match="does not declare"):
        find_at_home(home_of("lost", top, declared_in=__name__))
