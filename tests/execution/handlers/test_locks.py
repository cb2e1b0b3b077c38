"""The operations on locks as a door calls them: defaults, rights, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.access import Caller
from gateway.domain.errors import InvalidParams, NotPermitted
from tests.execution.world import World

ANN = Caller("ann", frozenset({"agent"}))


async def test_a_lock_lasts_a_minute_unless_the_caller_says_otherwise(here: World) -> None:
    lock = await here.call("lock.acquire", ANN, resource_key="k", holder="a")
    assert lock == {
        "lock_id": lock["lock_id"],
        "resource_key": "k",
        "holder": "a",
        "term": 1,
        "state": "held",
        "expires_at": lock["expires_at"],
        "renewed": False,
    }
    await here.passing(59.9)
    assert here.state.locks.count == 1
    await here.passing(0.2)
    assert here.state.locks.count == 0


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"holder": "a"}, "resource_key"),
        ({"resource_key": "k"}, "holder"),
        ({"resource_key": "*", "holder": "a"}, "resource_key"),
        ({"resource_key": "k", "holder": "a", "ttl": 0}, "ttl"),
        ({"resource_key": "k", "holder": "a", "ttl": 3601}, "ttl"),
        ({"resource_key": "k", "holder": "a", "ttl": "1"}, "ttl"),
        ({"resource_key": "k", "holder": "a", "forever": True}, "forever"),
    ],
)
async def test_wrong_parameters_are_refused_with_their_field(
    here: World, params: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidParams) as refused:
        await here.call("lock.acquire", ANN, **params)
    assert refused.value.field == field
    assert here.state.locks.count == 0


async def test_locks_need_the_scope_of_agents(here: World) -> None:
    with pytest.raises(NotPermitted):
        await here.call(
            "lock.acquire", Caller("bob", frozenset({"tasks:write"})), resource_key="k", holder="a"
        )
