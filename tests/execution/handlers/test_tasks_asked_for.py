"""Orders as users ask for them: refused with the field, for users that may ask, listed in pages."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.access import Caller
from gateway.domain.errors import InvalidParams, NotPermitted, TooLarge
from tests.execution.world import World

ANN = Caller("ann", frozenset({"events:read", "tasks:write"}))


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"agent": "two words"}, "agent"),
        ({"priority": 11}, "priority"),
        ({"priority": -1}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"timeout": 0}, "timeout"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"user_id": "*"}, "user_id"),
        ({"input": float("nan")}, "input"),
        ({"capability": "x"}, "agent"),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused_with_its_field(
    here: World, given: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidParams) as refused:
        await here.call("task.create", **{"agent": "echo", **given})
    assert refused.value.field == field
    assert here.events == []


async def test_an_input_over_the_bound_is_refused(here: World) -> None:
    await here.call("task.create", agent="nobody", input="x" * (262_144 - 2))
    with pytest.raises(TooLarge) as refused:
        await here.call("task.create", agent="nobody", input="x" * (262_144 - 1))
    assert refused.value.field == "input"


async def test_only_operators_ask_in_the_name_of_other_users(here: World) -> None:
    await here.call("task.create", agent="nobody", user_id="bob")
    with pytest.raises(NotPermitted):
        await here.call("task.create", ANN, agent="nobody", user_id="bob")
    mine = await here.call("task.create", ANN, agent="nobody")
    assert here.state.tasks[mine["task_id"]].user_id == "ann"
    listed = await here.call("task.list", ANN)
    assert [task["task_id"] for task in listed["items"]] == [mine["task_id"]]
    with pytest.raises(NotPermitted):
        await here.call("task.list", ANN, user_id="bob")


async def test_tasks_are_listed_in_pages_newest_first(here: World) -> None:
    ids = [await here.submit("nobody") for _ in range(7)]
    found: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = await here.call("task.list", limit=3, **cursor)
        found += [task["task_id"] for task in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert found == ids[::-1]
