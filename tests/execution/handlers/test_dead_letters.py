"""The operations on dead letters as a door calls them: pages, filters, rights, what is refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway import Task
from gateway.domain.access import Caller
from gateway.domain.errors import InvalidParams, NotFound, NotPermitted, Unavailable
from gateway.errors import RateLimited
from gateway.execution.handlers.params import PAGE_BYTES_MAX
from tests.execution.conftest import OpenWorld
from tests.execution.world import World

OPERATIONS = ("dead_letter.list", "dead_letter.retry", "dead_letter.discard")
ANN = Caller("ann", frozenset({"events:read:all", "events:write", "tasks:write", "agent"}))

# Of an input, in bytes.
LARGE = 64 * 1024


@pytest.fixture
async def here(open_world: OpenWorld) -> World:
    """A world in which a task that no worker takes is soon a letter."""
    return await open_world(queue_timeout=5.0)


async def dead(here: World, number: int = 1, input: Any = None, **asked: Any) -> list[str]:
    """Make so many letters, a second apart; gives their ids, the newest first."""
    made = []
    for _ in range(number):
        answer = await here.call("task.create", agent="nowhere", input=input, **asked)
        made.append(answer["task_id"])
        await here.passing(1)
    await here.passing(5)
    return made[::-1]


def ids(page: Any) -> list[str]:
    return [letter["task_id"] for letter in page["items"]]


@pytest.mark.requirement("WEFT-21")
async def test_letters_are_listed_newest_first_in_pages(here: World) -> None:
    newest_first = await dead(here, 5)
    assert ids(await here.call("dead_letter.list")) == newest_first
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    for size in (2, 2, 1):
        page = await here.call("dead_letter.list", limit=2, **cursor)
        assert len(page["items"]) == size
        seen += ids(page)
        cursor = {"cursor": page["next"]}
    assert (seen, page["next"]) == (newest_first, None)


async def test_a_page_goes_on_where_it_ended_whatever_was_added_or_discarded(here: World) -> None:
    newest_first = await dead(here, 4)
    page = await here.call("dead_letter.list", limit=2)
    await here.call("dead_letter.discard", task_id=newest_first[1])
    await dead(here)
    rest = await here.call("dead_letter.list", cursor=page["next"])
    assert ids(page) + ids(rest) == newest_first


@pytest.mark.requirement("WEFT-21")
@pytest.mark.parametrize(
    ("filter", "number"),
    [
        ({"agent": "nowhere"}, 3),
        ({"agent": "elsewhere"}, 1),
        ({"agent": "unknown"}, 0),
        ({"user_id": "ann"}, 2),
        ({"user_id": "ann", "agent": "elsewhere"}, 1),
        ({"reason": "no_worker"}, 4),
        ({"reason": "attempts_exhausted"}, 0),
    ],
)
async def test_letters_are_filtered(here: World, filter: dict[str, str], number: int) -> None:
    await dead(here, 2)
    await dead(here, user_id="ann")
    await here.call("task.create", agent="elsewhere", user_id="ann")
    await here.passing(6)
    assert len((await here.call("dead_letter.list", **filter))["items"]) == number
    page = await here.call("dead_letter.list", **filter, limit=1)
    assert (page["next"] is None) == (number <= 1)


async def test_a_page_ends_at_its_bytes_and_the_next_goes_on(here: World) -> None:
    large = "x" * (LARGE - 2)
    newest_first = await dead(here, PAGE_BYTES_MAX // LARGE + 2, input=large)
    page = await here.call("dead_letter.list", limit=500)
    size = len(orjson.dumps(page["items"]))
    assert PAGE_BYTES_MAX - 2 * LARGE < size <= PAGE_BYTES_MAX
    rest = await here.call("dead_letter.list", limit=500, cursor=page["next"])
    assert (ids(page) + ids(rest), rest["next"]) == (newest_first, None)


async def test_without_letters_the_list_is_empty(here: World) -> None:
    assert await here.call("dead_letter.list") == {"items": [], "next": None}


async def test_letters_are_for_operators(here: World) -> None:
    (task_id,) = await dead(here, user_id="ann")
    for operation in OPERATIONS:
        params = {} if operation == "dead_letter.list" else {"task_id": task_id}
        with pytest.raises(NotPermitted, match="scope admin"):
            await here.call(operation, ANN, **params)
    assert len((await here.call("dead_letter.list"))["items"]) == 1


@pytest.mark.parametrize("operation", OPERATIONS[1:])
async def test_what_is_no_letter_is_not_found(here: World, operation: str) -> None:
    task_id = (await here.call("task.create", agent="nowhere"))["task_id"]
    for unknown in ("none", task_id):
        with pytest.raises(NotFound) as refused:
            await here.call(operation, task_id=unknown)
        assert refused.value.field == "task_id"
        assert "dead_letter.list shows" in refused.value.message
    await here.call("task.cancel", task_id=task_id)


@pytest.mark.parametrize(
    ("operation", "params", "field"),
    [
        ("dead_letter.list", {"limit": 0}, "limit"),
        ("dead_letter.list", {"limit": 501}, "limit"),
        ("dead_letter.list", {"cursor": "next"}, "cursor"),
        ("dead_letter.list", {"reason": ""}, "reason"),
        ("dead_letter.list", {"agent": "*"}, "agent"),
        ("dead_letter.list", {"status": "dead"}, "status"),
        ("dead_letter.retry", {}, "task_id"),
        ("dead_letter.retry", {"task_id": 1}, "task_id"),
        ("dead_letter.retry", {"task_id": "t", "reset": True}, "reset"),
        ("dead_letter.discard", {"task_id": "a b"}, "task_id"),
    ],
)
async def test_wrong_parameters_are_refused_with_their_field(
    here: World, operation: str, params: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidParams) as refused:
        await here.call(operation, **params)
    assert refused.value.field == field


async def test_a_reader_may_name_a_position_that_the_list_has_to_know(here: World) -> None:
    await dead(here)
    head = here.engine.log.head
    assert len((await here.call("dead_letter.list", min_position=str(head)))["items"]) == 1
    with pytest.raises(Unavailable):
        await here.call("dead_letter.list", min_position=str(head + 1))


async def test_a_retry_is_answered_as_task_retry_is(here: World) -> None:
    (task_id,) = await dead(here)
    answer = await here.call("dead_letter.retry", task_id=task_id)
    (told,) = here.said("task_waiting", task_id=answer["task_id"])
    assert answer == {
        "task_id": answer["task_id"],
        "status": "pending",
        "position": {"epoch": here.engine.log.epoch, "offset": told["offset"]},
        "retry_of": task_id,
        "warning": "no_worker",
        "similar": [],
    }
    await here.call("task.cancel", task_id=answer["task_id"])


async def test_a_task_that_is_tried_again_keeps_its_title(here: World) -> None:
    @here.gateway.agent("failing", max_attempts=1)
    async def fail(task: Task) -> None:
        raise RateLimited

    made = await here.call("task.create", agent="failing", title="The weekly report")
    await here.done(made["task_id"])
    again = await here.call("dead_letter.retry", task_id=made["task_id"])
    assert (await here.call("task.get", task_id=again["task_id"]))["title"] == "The weekly report"
