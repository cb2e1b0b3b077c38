"""The workforce: whose each agent is, as which it is treated, and how many workers are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import workforce as workforce_module
from gateway.domain.access import GATEWAY
from gateway.domain.agent import AgentPolicy
from gateway.domain.worker import Worker
from gateway.domain.workforce import Workforce

MINE, NEWER, FOREIGN = (
    AgentPolicy("search", timeout_s=1.0, breaker="model"),
    AgentPolicy("search", timeout_s=2.0),
    AgentPolicy("search", timeout_s=3.0, breaker="trap"),
)


def worker(agent_id: str, *agents: AgentPolicy, owner: str = "ann", at: float = 0.0) -> Worker:
    return Worker(
        agent_id=agent_id,
        handle="h",
        agents={policy.name: policy for policy in agents},
        capabilities=(),
        domain=None,
        type=None,
        secret_digest="d",
        owner=owner,
        by_socket=False,
        registered_at=at,
    )


def crew(*workers: Worker) -> Workforce:
    known = Workforce()
    for one in workers:
        known.add(one)
    return known


def breakers(known: Workforce, *names: str) -> list[list[str]]:
    return [[policy.name for policy in known.behind(name)] for name in names]


def test_an_agent_is_its_first_owners_and_treated_as_that_owners_newest_worker_says() -> None:
    known = crew(worker("w1", MINE, at=1), worker("w2", FOREIGN, owner="eve", at=2))
    assert (known.owner("search"), known.policy("search")) == ("ann", MINE)
    known.add(worker("w3", NEWER, at=3))
    assert known.policy("search") == NEWER
    assert breakers(known, "model", "search", "trap") == [[], ["search"], []]


def test_an_agent_is_the_next_owners_when_no_worker_of_the_first_is_known() -> None:
    known = crew(worker("w1", MINE, at=1), worker("w2", FOREIGN, owner="eve", at=2))
    known.drop("w1")
    assert (known.owner("search"), known.policy("search")) == ("eve", FOREIGN)
    assert breakers(known, "model", "trap") == [[], ["search"]]
    known.drop("w2")
    assert (known.owner("search"), known.policy("search"), len(known)) == (None, None, 0)
    assert breakers(known, "trap") == [[]]


def test_what_the_gateway_serves_is_the_gateways_whoever_came_first() -> None:
    known = crew(worker("w1", FOREIGN, owner="eve", at=1))
    known.add(worker("node", MINE, owner=GATEWAY.user_id, at=2))
    assert (known.owner("search"), known.policy("search")) == (GATEWAY.user_id, MINE)


def test_a_worker_that_comes_again_serves_what_it_says_last() -> None:
    other = AgentPolicy("writer")
    known = crew(worker("w1", MINE, other, at=1), worker("w1", NEWER, at=2))
    assert (known.owner("writer"), known.policy("search"), len(known)) == (None, NEWER, 1)
    known.add(worker("w1", NEWER, owner="bob", at=3))
    assert known.owner("search") == "bob"
    known.drop("w1")
    assert known.owner("search") is None


def test_at_a_bound_the_one_that_is_gone_for_longest_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workforce_module, "WORKERS_MAX", 3)
    monkeypatch.setattr(workforce_module, "WORKERS_PER_USER_MAX", 2)
    one, two = worker("w1", MINE), worker("w2", MINE)
    known = crew(one, two, worker("b1", owner="bob"))
    assert [known.full_for(user) for user in ("ann", "bob", "cy")] == [True, True, True]

    def leave(worker: Worker, at: float) -> None:
        worker.status, worker.worse_since = "offline", at
        known.changed(worker)

    leave(two, 5.0)
    leave(one, 6.0)
    assert [known.full_for(user) for user in ("ann", "bob", "cy")] == [False, False, False]
    known.add(worker("w3", NEWER, at=9))
    assert sorted(known) == ["b1", "w1", "w3"]
    known.add(worker("b2", owner="bob"))
    assert sorted(known) == ["b1", "b2", "w3"]
    assert known.owner("search") == "ann"


def left_after(before: Mapping[str, Worker], comes: Worker, most: int, most_each: int) -> set[str]:
    """Who is known when a worker comes, found by looking at all of them."""
    left = {**before, comes.agent_id: comes}
    for bound, owners in ((most, {one.owner for one in left.values()}), (most_each, {comes.owner})):
        mine = [one for one in left.values() if one.owner in owners]
        gone = sorted((one.worse_since or 0.0, one.agent_id) for one in mine if one.gone)
        if len(mine) > bound and gone:
            del left[gone[0][1]]
    return set(left)


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "add", "go", "go", "come", "drop"]), st.integers(0, 9)),
        max_size=80,
    )
)
def test_whatever_came_and_went_the_one_that_is_gone_for_longest_is_forgotten(
    moves: list[tuple[str, int]],
) -> None:
    with pytest.MonkeyPatch.context() as bounds:
        bounds.setattr(workforce_module, "WORKERS_MAX", 6)
        bounds.setattr(workforce_module, "WORKERS_PER_USER_MAX", 3)
        known = Workforce()
        for at, (move, number) in enumerate(moves):
            agent_id = f"w{number}"
            if move == "add":
                comes = worker(agent_id, MINE, owner=f"u{number % 3}", at=at)
                expected = left_after(known, comes, 6, 3)
                known.add(comes)
                assert set(known) == expected
            elif agent_id in known and move == "drop":
                known.drop(agent_id)
            elif agent_id in known:
                it = known[agent_id]
                it.status = "offline" if move == "go" else "healthy"
                it.worse_since = (it.worse_since or at) if move == "go" else None
                known.changed(it)


def test_it_reads_like_a_mapping() -> None:
    known = crew(worker("w1", MINE))
    assert "w1" in known
    assert known["w1"].agent_id == "w1"
    assert known.get("w2") is None
    expected: dict[str, Any] = {"w1": known["w1"]}
    assert dict(known) == expected
