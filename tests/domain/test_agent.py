"""The policy of an agent: its bounds, its breaker and its retry budget."""

from __future__ import annotations

import math

import pytest

from gateway.domain.agent import TIMEOUT_MAX_S, AgentPolicy
from gateway.domain.errors import ConfigurationError


@pytest.mark.parametrize("timeout_s", [0.001, 30.0, TIMEOUT_MAX_S])
def test_a_timeout_within_its_bounds_is_taken(timeout_s: float) -> None:
    assert AgentPolicy("writer", timeout_s=timeout_s).timeout_s == timeout_s


@pytest.mark.parametrize(
    "timeout_s", [0, -1, -math.inf, math.nan, math.inf, math.nextafter(TIMEOUT_MAX_S, math.inf)]
)
def test_a_timeout_out_of_bounds_is_refused_with_the_name_of_the_agent(timeout_s: float) -> None:
    with pytest.raises(ConfigurationError, match="agent writer: timeout"):
        AgentPolicy("writer", timeout_s=timeout_s)


def test_no_attempts_are_as_the_settings_say_and_fewer_are_refused() -> None:
    assert AgentPolicy("writer", max_attempts=0).max_attempts == 0
    with pytest.raises(ConfigurationError, match="agent writer: max_attempts"):
        AgentPolicy("writer", max_attempts=-1)


@pytest.mark.parametrize(
    ("declared", "breaker", "scope"),
    [("", "writer", "agent"), ("writer", "writer", "agent"), ("model", "model", "upstream")],
)
def test_an_agent_has_a_breaker_of_its_own_unless_it_names_another(
    declared: str, breaker: str, scope: str
) -> None:
    policy = AgentPolicy("writer", breaker=declared)
    assert (policy.breaker, policy.breaker_scope) == (breaker, scope)


@pytest.mark.parametrize(
    ("upstream", "budget"), [(None, "writer"), ("", "writer"), ("model", "model")]
)
def test_agents_of_one_upstream_share_its_retry_budget(upstream: str | None, budget: str) -> None:
    assert AgentPolicy("writer", upstream=upstream).budget == budget
