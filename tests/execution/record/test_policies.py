"""How agents are treated: what is declared here wins, what a worker says counts next."""

from __future__ import annotations

from gateway import Task
from gateway.domain.access import GATEWAY
from gateway.domain.agent import AgentPolicy
from gateway.errors import RateLimited
from gateway.execution.record.policies import Policies
from tests.execution.conftest import OpenWorld
from tests.execution.record.room import Room


def policies(*declared: AgentPolicy, max_attempts: int = 3) -> Policies:
    return Room(*declared, max_attempts=max_attempts).policies


def test_an_unknown_agent_has_the_defaults_and_the_settings_attempts() -> None:
    policy = policies(max_attempts=4).of("search")
    assert policy == AgentPolicy("search", max_attempts=4)
    assert (policy.breaker, policy.budget, policy.fallback) == ("search", "search", None)


def test_an_agent_that_names_its_attempts_keeps_them() -> None:
    known = policies(AgentPolicy("search", max_attempts=1), AgentPolicy("writer"), max_attempts=4)
    assert known.of("search").max_attempts == 1
    assert known.of("writer").max_attempts == 4


def test_a_workers_agent_is_treated_as_the_worker_says() -> None:
    room = Room()
    room.worker(AgentPolicy("search", timeout_s=5.0), AgentPolicy("writer", timeout_s=6.0))
    room.worker(AgentPolicy("search", timeout_s=7.0))
    known = room.policies
    assert (known.of("search").timeout_s, known.of("writer").timeout_s) == (7.0, 6.0)
    assert (known.owner("search"), known.owner("painter")) == ("ann", None)


def test_what_is_declared_here_wins_over_what_a_worker_says() -> None:
    room = Room(AgentPolicy("search", timeout_s=5.0))
    room.worker(AgentPolicy("search", timeout_s=7.0, breaker="model"))
    known = room.policies
    assert (known.of("search").timeout_s, known.of("search").breaker) == (5.0, "search")
    assert list(known.behind("model")) == []
    assert known.owner("search") == known.owner_of_breaker("search") == GATEWAY.user_id


def test_agents_behind_a_breaker_are_named_those_of_this_process_first() -> None:
    room = Room(AgentPolicy("writer", breaker="model"), AgentPolicy("other"))
    room.worker(AgentPolicy("reader", breaker="model"), AgentPolicy("search", breaker="index"))
    known = room.policies
    assert [policy.name for policy in known.behind("model")] == ["writer", "reader"]
    assert [policy.name for policy in known.behind("other")] == ["other"]
    assert list(known.behind("nothing")) == []
    owners = [known.owner_of_breaker(breaker) for breaker in ("model", "index", "nothing")]
    assert owners == [GATEWAY.user_id, "ann", None]


async def test_a_task_goes_by_its_agent_and_else_by_its_capability() -> None:
    room = Room(AgentPolicy("search", timeout_s=5.0))
    assert room.policies.of_task(await room.task("search")).timeout_s == 5.0
    by_capability = await room.task(None, capability="flying")
    assert room.policies.of_task(by_capability).name == "flying"
    by_capability.capability = None
    assert room.policies.of_task(by_capability).name == "unknown"


async def test_a_declared_number_of_attempts_is_the_settings_unless_said(
    open_world: OpenWorld,
) -> None:
    here = await open_world(max_attempts=2)

    @here.gateway.agent("flaky")
    async def flaky(task: Task) -> None:
        raise RateLimited

    assert (await here.run("flaky")).attempt == 2
    assert (await here.run("flaky", max_attempts=1)).attempt == 1
