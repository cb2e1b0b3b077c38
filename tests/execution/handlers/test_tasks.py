"""The operations on tasks: rights first, then the state of the world; a refusal changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import Task
from gateway.domain.access import Caller
from gateway.domain.errors import Conflict, InvalidParams, NotFound, NotPermitted, Unavailable
from gateway.domain.timestamps import seconds_of
from tests.execution.hands import hand
from tests.execution.world import World

SCOPES = frozenset({"events:read", "tasks:write"})
ANN, BOB = Caller("ann", SCOPES), Caller("bob", SCOPES)
READER = Caller("monitoring", frozenset({"events:read:all"}))

# Every operation on one task.
ON_ONE = ("task.get", "task.partial", "task.cancel", "task.retry")


# --- rights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ON_ONE)
async def test_anothers_task_is_not_there_for_a_caller(here: World, name: str) -> None:
    """The answer is the same as for an id that does not exist, so that ids tell nothing."""
    task_id = await here.submit("writer", user_id="ann")
    before = len(here.events)
    for caller, asked in ((BOB, task_id), (ANN, "unknown")):
        with pytest.raises(NotFound) as refused:
            await here.call(name, caller, task_id=asked)
        assert str(refused.value) == f"there is no task {asked}"
        assert refused.value.field == "task_id"
    assert len(here.events) == before
    await here.call("task.cancel", ANN, task_id=task_id)


async def test_a_caller_that_reads_all_sees_every_task_and_makes_none(here: World) -> None:
    ids = [await here.submit("writer", user_id=user) for user in ("ann", "bob")]
    listed = await here.call("task.list", READER)
    assert [task["task_id"] for task in listed["items"]] == ids[::-1]
    listed = await here.call("task.list", READER, user_id="bob")
    assert [task["task_id"] for task in listed["items"]] == ids[1:]
    with pytest.raises(NotPermitted):
        await here.call("task.create", READER, agent="writer")


@pytest.mark.parametrize("name", ["task.cancel", "task.retry"])
async def test_to_see_a_task_is_not_to_change_it(here: World, name: str) -> None:
    caller = Caller("bob", frozenset({"events:read:all", "tasks:write"}))
    task_id = await here.submit("writer", user_id="ann")
    with pytest.raises(NotPermitted) as refused:
        await here.call(name, caller, task_id=task_id)
    assert refused.value.field == "task_id"
    assert here.state.tasks[task_id].status == "pending"


async def test_who_may_make_a_task_may_see_and_cancel_it_and_no_other(here: World) -> None:
    caller = Caller("bob", frozenset({"tasks:write"}))
    others = await here.submit("writer", user_id="ann")
    task_id = (await here.call("task.create", caller, agent="writer"))["task_id"]
    for name in ("task.get", "task.partial", "task.cancel"):
        with pytest.raises(NotFound):
            await here.call(name, caller, task_id=others)
        assert (await here.call(name, caller, task_id=task_id))["task_id"] == task_id


async def test_a_caller_makes_tasks_in_its_own_name_unless_it_is_an_operator(here: World) -> None:
    mine = await here.call("task.create", ANN, agent="writer", user_id="ann")
    assert here.state.tasks[mine["task_id"]].user_id == "ann"
    with pytest.raises(NotPermitted) as refused:
        await here.call("task.create", BOB, agent="writer", user_id="ann")
    assert refused.value.field == "user_id"
    other = await here.call("task.create", agent="writer", user_id="bob")
    assert here.state.tasks[other["task_id"]].user_id == "bob"


# --- create --------------------------------------------------------------------------------------


async def test_a_task_that_no_worker_can_do_now_is_taken_with_a_warning(here: World) -> None:
    @here.gateway.agent("mine", capabilities=["flying"])
    async def mine(task: Task) -> None:
        pass

    worker = await hand(here, capabilities=["diving"])
    asked: list[tuple[dict[str, Any], bool]] = [
        ({"agent": "mine"}, True),
        ({"agent": "writer"}, True),
        ({"agent": "another"}, False),
        ({"capability": "flying"}, True),
        ({"capability": "diving"}, True),
        ({"capability": "digging"}, False),
    ]
    for params, served in asked:
        answer = await here.call("task.create", **params)
        assert (answer.get("warning") is None) is served, params
        assert answer["status"] in ("pending", "running")
    # A worker that has said goodbye does nothing more.
    await here.call("agent.remove", worker.caller, **worker.proof)
    assert (await here.call("task.create", agent="writer"))["warning"] == "no_worker"


@pytest.mark.parametrize("params", [{}, {"agent": "a", "capability": "b"}])
async def test_a_task_names_an_agent_or_a_capability(here: World, params: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams, match="one of them") as refused:
        await here.call("task.create", **params)
    assert refused.value.field == "agent"
    assert here.events == []


async def test_the_answer_to_create_gives_the_position_at_which_the_task_is_there(
    here: World,
) -> None:
    answer = await here.call("task.create", ANN, agent="writer")
    position = f"{answer['position']['epoch']}:{answer['position']['offset']}"
    shown = await here.call("task.get", ANN, task_id=answer["task_id"], min_position=position)
    assert shown["status"] == "pending"


# --- list ----------------------------------------------------------------------------------------


async def test_a_list_is_of_one_status_and_one_agent_if_they_are_named(here: World) -> None:
    first = await here.submit("writer", user_id="ann")
    second = await here.submit("painter", user_id="ann")
    await here.call("task.cancel", ANN, task_id=first)

    async def listed(**params: Any) -> list[str]:
        answer = await here.call("task.list", ANN, **params)
        return [task["task_id"] for task in answer["items"]]

    assert await listed() == [second, first]
    assert await listed(status="cancelled") == [first]
    assert await listed(agent="painter") == [second]
    assert await listed(agent="painter", status="cancelled") == []


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7])
async def test_pages_of_a_list_go_on_while_new_tasks_come(here: World, limit: int) -> None:
    ids = [await here.submit("writer", user_id="ann") for _ in range(6)]
    found: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        answer = await here.call("task.list", ANN, limit=limit, **cursor)
        assert len(answer["items"]) <= limit
        found += [task["task_id"] for task in answer["items"]]
        if answer["next"] is None:
            break
        cursor = {"cursor": answer["next"]}
        await here.submit("writer", user_id="ann")
    assert found == ids[::-1]


async def test_a_page_of_large_tasks_ends_at_a_mebibyte(here: World) -> None:
    worker = await hand(here)
    ids = []
    for _ in range(7):
        ids.append(await here.submit("writer", user_id="ann"))
        await worker.claim()
        await worker.tell("task.complete", result="x" * 250_000)
    pages, params = [], {"user_id": "ann", "agent": "writer", "status": "succeeded", "limit": 100}
    while True:
        answer = await here.call("task.list", ANN, **params)
        pages.append([task["task_id"] for task in answer["items"]])
        if answer["next"] is None:
            break
        params["cursor"] = answer["next"]
    assert [len(page) for page in pages] == [4, 3]
    assert [task_id for page in pages for task_id in page] == ids[::-1]
    first = await here.call("event.list", ANN, topic="user:ann", type="task_finished")
    assert len(first["items"]) == 4
    rest = await here.call(
        "event.list", ANN, topic="user:ann", type="task_finished", cursor=first["next"]
    )
    assert [e["task_id"] for e in first["items"] + rest["items"]] == ids


async def test_a_cursor_that_no_list_gave_is_refused(here: World) -> None:
    with pytest.raises(InvalidParams) as refused:
        await here.call("task.list", ANN, cursor="x")
    assert refused.value.field == "cursor"


# --- get, partial --------------------------------------------------------------------------------


async def test_a_reader_ahead_of_this_node_waits_a_second_and_is_told_to_come_back(
    here: World,
) -> None:
    task_id = await here.submit("writer", user_id="ann")
    await here.until(lambda: here.said("task_waiting"))
    epoch, head = here.engine.log.epoch, here.engine.log.head
    for name in ("task.get", "task.partial"):
        await here.call(name, ANN, task_id=task_id, min_position=f"{epoch}:{head}")
        before = here.engine.clock.monotonic()
        with pytest.raises(Unavailable) as refused:
            await here.call(name, ANN, task_id=task_id, min_position=f"{epoch}:{head + 1}")
        assert refused.value.retry_after
        assert here.engine.clock.monotonic() - before == pytest.approx(1.0)
        with pytest.raises(InvalidParams, match="another log"):
            await here.call(name, ANN, task_id=task_id, min_position=f"another:{head}")


async def test_what_is_preserved_of_a_task_is_shown_with_what_is_lost(here: World) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer", user_id="ann")
    await worker.claim()
    await worker.tell(
        "task.update", plan=["one", "two"], progress=0.5, step="one", data={"a": 1}, text="so far"
    )
    partial = await here.call("task.partial", ANN, task_id=task_id)
    assert seconds_of(partial.pop("expires_at")) > here.engine.clock.wall()
    assert len(partial.pop("sha256")) == 64
    assert partial == {
        "task_id": task_id,
        "preserved_data": {"one": {"a": 1}},
        "preserved_text": "so far",
        "lost_data": ["two"],
        "progress": 0.5,
        "size": here.state.tasks[task_id].preserved.size,
        "truncated": False,
        "evicted": [],
    }
    await worker.tell("task.complete", result=1)


async def test_a_task_is_shown_with_its_whole_trail(here: World) -> None:
    """Each attempt with its holder, its times and its error; what was asked, and what is kept."""
    first, second = await hand(here), await hand(here)
    task_id = await here.submit("writer", {"q": 1}, user_id="ann", max_attempts=3)
    began = here.engine.clock.wall()
    await first.claim()
    await here.passing(2)
    await first.tell("task.update", step="one", data={"a": 1}, text="so far", progress=0.5)
    await first.tell("task.fail", message="no", error_type="rate_limit", retry_after=3)
    await here.passing(4)
    await second.claim()
    shown = await here.call("task.get", ANN, task_id=task_id)
    assert (shown["input"], shown["status"], shown["attempt"]) == ({"q": 1}, "running", 2)
    assert shown["preserved"] == {"text": "so far", "steps": {"one": {"a": 1}}}
    assert shown["lease"]["agent_id"] == second.agent_id
    one, two = shown["attempts"]
    assert (one["attempt"], one["agent_id"]) == (1, first.agent_id)
    assert (two["attempt"], two["agent_id"], two["ended_at"]) == (2, second.agent_id, None)
    assert (one["error"]["error_type"], "error" in two) == ("rate_limit", False)
    times = [seconds_of(at) - began for at in (one["started_at"], one["ended_at"])]
    assert times == pytest.approx([0, 2.2], abs=0.01)  # two pieces have their pace
    assert seconds_of(two["started_at"]) - began == pytest.approx(6.2, abs=0.01)
    # A list leaves out what may be large.
    (listed,) = (await here.call("task.list", ANN))["items"]
    assert {"input", "preserved"} & listed.keys() == set()
    await second.tell("task.complete", result=1)
    shown = await here.call("task.get", ANN, task_id=task_id)
    assert seconds_of(shown["attempts"][1]["ended_at"]) >= seconds_of(two["started_at"])


# --- cancel --------------------------------------------------------------------------------------


@pytest.mark.parametrize("caller", [ANN, None])
async def test_a_task_is_cancelled_in_the_name_of_its_owner_or_of_an_operator(
    here: World, caller: Caller | None
) -> None:
    task_id = await here.submit("writer", user_id="ann")
    as_caller = () if caller is None else (caller,)
    shown = await here.call("task.cancel", *as_caller, task_id=task_id)
    assert shown["status"] == "cancelled"
    by = "operator" if caller is None else "user"
    assert here.said("task_finished")[0]["reason"] == f"cancelled_by_{by}"


# --- retry ---------------------------------------------------------------------------------------


async def test_a_retry_hurries_a_task_that_waits_and_repeats_one_that_has_failed(
    here: World,
) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer", user_id="ann", max_attempts=2)
    await worker.claim()
    await worker.tell("task.fail", message="no", error_type="rate_limit", retry_after=100)
    assert await worker.claim() is None
    hurried = await here.call("task.retry", ANN, task_id=task_id)
    assert (hurried["task_id"], "retry_of" in hurried) == (task_id, False)
    assert (await worker.claim())["attempt"] == 2
    with pytest.raises(Conflict):
        await here.call("task.retry", ANN, task_id=task_id)
    await worker.tell("task.fail", message="no", error_type="rate_limit")
    again = await here.call("task.retry", ANN, task_id=task_id)
    assert again["retry_of"] == task_id != again["task_id"]
    await worker.beat_for(100)  # what was not asked for now waits as its upstream has asked
    await worker.claim()
    await worker.tell("task.complete", result=1)
    with pytest.raises(Conflict, match="nothing to retry"):
        await here.call("task.retry", ANN, task_id=again["task_id"])


@pytest.mark.parametrize("dead", [False, True])
async def test_a_retry_of_priority_0_needs_the_right_to_that(here: World, dead: bool) -> None:
    """An operator made the first one; else each retry would make another one that passes all."""
    worker = await hand(here)
    task_id = await here.submit("writer", user_id="ann", priority=0, max_attempts=1)
    if dead:
        await worker.claim()
        await worker.tell("task.fail", message="no", error_type="timeout")
    else:
        await here.call("task.cancel", ANN, task_id=task_id)
    assert (task_id in here.state.dead_letters.by_task) is dead
    with pytest.raises(NotPermitted, match="tasks:critical") as refused:
        await here.call("task.retry", ANN, task_id=task_id)
    assert refused.value.field == "task_id"
    assert list(here.state.tasks) == [task_id]
    critical = Caller("ann", ANN.scopes | {"tasks:critical"})
    again = await here.call("task.retry", critical, task_id=task_id)
    assert here.state.tasks[again["task_id"]].priority == 0


async def test_a_title_is_the_callers_and_comes_back_with_the_task(here: World) -> None:
    made = await here.call("task.create", agent="nobody", title="The weekly report")
    task = await here.call("task.get", task_id=made["task_id"])
    assert task["title"] == "The weekly report"
    await here.call("task.cancel", task_id=made["task_id"])
    again = await here.call("task.retry", task_id=made["task_id"])
    assert (await here.call("task.get", task_id=again["task_id"]))["title"] == "The weekly report"
    (first, *_) = (await here.call("task.list"))["items"]
    assert first["title"] == "The weekly report"
    with pytest.raises(InvalidParams) as refused:
        await here.call("task.create", agent="nobody", title="x" * 201)
    assert refused.value.field == "title"
