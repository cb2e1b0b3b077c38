"""Dead letters: added with the end, retried once, discarded, and let go of at their bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gateway import Gateway, Task
from gateway.domain import dead_letter as dead_letter_module
from gateway.domain.access import LOCAL_OPERATOR
from gateway.domain.dead_letter import AGE_MAX_S
from gateway.domain.errors import Conflict, NotFound, Rejected
from gateway.errors import NotRetryable, RateLimited
from gateway.execution.record import state
from gateway.ports import Draft
from tests.execution.conftest import OpenWorld
from tests.execution.hands import hand
from tests.execution.kept import Cluster, Node, until_killed
from tests.execution.world import World, another_node

# How long a task is kept after its end here: a day of timers takes 10 s to play.
KEPT_S = 60.0
INPUT = {"word": "é", "list": [1, 2.5, None, {"deep": True}]}


def declare(gateway: Gateway) -> None:
    """An agent that fails, and is told by the input when not to."""

    @gateway.agent("broken", max_attempts=1)
    async def broken(task: Task, **given: Any) -> str:
        if given.get("well"):
            return "well"
        raise RateLimited


async def died(here: World, **options: Any) -> str:
    """Let a task become a dead letter; gives its id."""
    if here.gateway.agents.get("broken") is None:
        declare(here.gateway)
    return (await here.run("broken", INPUT, user_id="ann", **options)).task_id


async def listed(here: World, **params: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await here.call("dead_letter.list", **params))["items"]
    return items


def changes(here: World, action: str) -> list[dict[str, Any]]:
    return here.said("dead_letter_changed", action=action)


# --- a task is given up ----------------------------------------------------------------------


@pytest.mark.requirement("WEFT-07", "WEFT-W11", "WEFT-W12", "MESH-W7")
async def test_attempts_that_are_used_up_are_a_letter_with_every_error_and_the_same_input(
    here: World,
) -> None:
    given: list[Any] = []

    @here.gateway.agent("flaky", max_attempts=3)
    async def flaky(task: Task, **input: Any) -> None:
        given.append(input)
        raise RateLimited

    task = await here.run("flaky", INPUT, user_id="ann")
    (letter,) = await listed(here)
    assert letter.pop("died_at") == here.said("task_finished")[0]["timestamp"]
    errors = letter.pop("errors")
    assert letter == {
        "task_id": task.task_id,
        "agent_name": "flaky",
        "user_id": "ann",
        "input": INPUT,
        "reason": "attempts_exhausted",
        "attempts": 3,
    }
    assert given == [INPUT] * 3
    assert [error["attempt"] for error in errors] == [1, 2, 3]
    assert {error["error_code"] for error in errors} == {"upstream_rate_limit"}
    assert errors == here.said("task_dead_lettered")[0]["errors"]


async def test_a_letter_is_noted_in_the_append_that_ends_its_task(here: World) -> None:
    task_id = await died(here)
    assert here.types(task_id)[-3:] == [
        "task_dead_lettered",
        "dead_letter_changed",
        "task_finished",
    ]
    (added,) = changes(here, "added")
    assert (added["reason"], added["retried_as"]) == ("attempts_exhausted", None)


async def test_nobody_takes_it_is_a_letter_too(open_world: OpenWorld) -> None:
    here = await open_world(queue_timeout=20.0)
    task_id = (await here.call("task.create", agent="nowhere", input=INPUT))["task_id"]
    await here.done(task_id)
    (letter,) = await listed(here)
    assert (letter["task_id"], letter["reason"]) == (task_id, "no_worker")
    assert (letter["attempts"], letter["errors"], letter["input"]) == (0, [], INPUT)


async def test_a_fallback_that_fails_as_well_is_a_letter_with_both_errors(here: World) -> None:
    async def stand_in(task: Task) -> None:
        raise NotRetryable

    @here.gateway.agent("helped", max_attempts=1, fallback=stand_in)
    async def helped(task: Task) -> None:
        raise RateLimited

    await here.run("helped")
    (letter,) = await listed(here)
    assert (letter["reason"], len(letter["errors"])) == ("fallback_failed", 2)


async def test_what_is_not_tried_again_is_no_letter(here: World) -> None:
    @here.gateway.agent("bad")
    async def bad(task: Task) -> None:
        raise NotRetryable

    assert (await here.run("bad")).status == "failed"
    assert await listed(here) == []
    assert here.said("dead_letter_changed") == []


# --- retry -----------------------------------------------------------------------------------


@pytest.mark.requirement("WEFT-21", "WEFT-W12")
async def test_a_retry_is_a_new_task_with_the_same_order_and_the_letter_names_it(
    here: World,
) -> None:
    task_id = await died(here, priority=2, timeout=70.0)
    answer = await here.call("dead_letter.retry", task_id=task_id)
    assert (answer["retry_of"], answer["status"]) == (task_id, "pending")
    again = here.state.tasks[answer["task_id"]]
    assert (again.input, again.user_id, again.priority) == (INPUT, "ann", 2)
    assert (again.timeout_s, again.max_attempts) == (70.0, 1)
    assert again.causation_id == here.said("task_finished", task_id=task_id)[0]["event_id"]
    (retried,) = changes(here, "retried")
    assert (retried["task_id"], retried["retried_as"]) == (task_id, again.task_id)
    assert (retried["reason"], retried["detail"]) == ("operator", {"by": "local"})
    at = [event["type"] for event in here.events].index("task_submitted", 1)
    assert here.types()[at - 1] == "dead_letter_changed"
    assert (await listed(here))[-1]["retried_as"] == again.task_id
    await here.done(again.task_id)


@pytest.mark.requirement("WEFT-21", "WEFT-W13")
async def test_a_retry_that_fails_again_is_a_letter_of_its_own(here: World) -> None:
    first = await died(here)
    second = (await here.call("dead_letter.retry", task_id=first))["task_id"]
    began = here.engine.clock.wall()
    await here.done(second)
    assert here.engine.clock.wall() - began < 120
    letters = await listed(here)
    assert [letter["task_id"] for letter in letters] == [second, first]
    assert [letter.get("retried_as") for letter in letters] == [None, second]
    assert [len(letter["errors"]) for letter in letters] == [1, 1]
    third = (await here.call("dead_letter.retry", task_id=second))["task_id"]
    await here.done(third)
    assert len(await listed(here)) == 3


@pytest.mark.requirement("WEFT-W13")
async def test_retries_at_once_make_one_task(here: World) -> None:
    task_id = await died(here)
    answers = await asyncio.gather(
        *(here.call("dead_letter.retry", task_id=task_id) for _ in range(5))
    )
    (made,) = {answer["task_id"] for answer in answers}
    assert len(here.said("task_submitted", retry_of=task_id)) == 1
    await here.done(made)
    assert (await here.call("dead_letter.retry", task_id=task_id))["task_id"] == made


@pytest.mark.requirement("WEFT-W13")
async def test_retries_at_once_on_two_nodes_make_one_task() -> None:
    """The second has looked at the letter before the first has told that it was retried."""
    cluster = Cluster()
    one, other = cluster.node(declare), cluster.node(declare)
    async with until_killed(one.engine), until_killed(other.engine):
        task_id = await died_on(one)
        first: list[Any] = []

        async def overtake(drafts: Sequence[Draft]) -> None:
            one.log.before = None
            first.append(await retry_on(other, task_id))

        one.log.before = overtake
        second = await retry_on(one, task_id)
        assert [answer["task_id"] for answer in first] == [second["task_id"]]
        await one.engine.parts.ends.of(second["task_id"])
    assert len(cluster.said("task_submitted", retry_of=task_id)) == 1
    assert len(cluster.said("dead_letter_changed", action="retried")) == 1


async def test_a_retry_that_loses_a_race_against_its_discarding_makes_nothing() -> None:
    """The append is based on the letter, not on a look at it."""
    cluster = Cluster(retry_base=0.01)
    one, other = cluster.node(declare), cluster.node()
    async with until_killed(one.engine), until_killed(other.engine):
        task_id = await died_on(one)

        async def discard(drafts: Sequence[Draft]) -> None:
            one.log.before = None
            await other.engine.call("dead_letter.discard", {"task_id": task_id}, LOCAL_OPERATOR)

        one.log.before = discard
        with pytest.raises(NotFound):
            await retry_on(one, task_id)
    assert cluster.said("task_submitted", retry_of=task_id) == []


async def test_what_is_told_of_the_task_after_its_end_does_not_keep_its_letter(here: World) -> None:
    """What was cleaned up is on the same subject of the log."""

    @here.gateway.agent("untidy", max_attempts=1)
    async def untidy(task: Task) -> None:
        task.temp_dir()
        raise RateLimited

    task_id = (await here.run("untidy")).task_id
    assert here.types(task_id)[-2:] == ["task_finished", "resource_cleanup"]
    await here.done((await here.call("task.retry", task_id=task_id))["task_id"])
    await here.call("dead_letter.discard", task_id=task_id)
    assert len(await listed(here)) == 1


async def test_a_retry_of_the_ended_task_takes_its_letter_with_it(here: World) -> None:
    task_id = await died(here)
    made = (await here.call("task.retry", task_id=task_id))["task_id"]
    assert (await listed(here))[-1]["retried_as"] == made
    assert changes(here, "retried")[0]["reason"] == "operator"
    assert (await here.call("dead_letter.retry", task_id=task_id))["task_id"] == made
    await here.done(made)


async def test_a_retry_of_the_ended_task_needs_no_letter(here: World) -> None:
    task_id = await died(here)
    await here.call("dead_letter.discard", task_id=task_id)
    made = await here.call("task.retry", task_id=task_id)
    assert made["retry_of"] == task_id
    assert changes(here, "retried") == []
    await here.done(made["task_id"])


async def test_a_retry_of_the_ended_task_needs_no_letter_that_is_discarded_meanwhile() -> None:
    """The task is there all the same, so that it cannot be told that there is none."""
    cluster = Cluster(retry_base=0.01)
    node = cluster.node(declare)
    async with until_killed(node.engine):
        about = {"task_id": await died_on(node)}

        async def discard(drafts: Sequence[Draft]) -> None:
            node.log.before = None
            await node.engine.call("dead_letter.discard", about, LOCAL_OPERATOR)

        node.log.before = discard
        made = await node.engine.call("task.retry", about, LOCAL_OPERATOR)
    (again,) = cluster.said("task_submitted", retry_of=about["task_id"])
    assert again["task_id"] == made["task_id"]
    assert cluster.said("dead_letter_changed", action="retried") == []


async def test_a_retry_while_the_breaker_is_open_is_refused_and_can_be_made_later(
    open_world: OpenWorld,
) -> None:
    here = await open_world(breaker_threshold=1, breaker_cooldown=30.0)
    task_id = await died(here)
    with pytest.raises(Rejected) as refused:
        await here.call("dead_letter.retry", task_id=task_id)
    assert refused.value.code == "circuit_breaker_open"
    assert "retried_as" not in (await listed(here))[0]
    await here.passing(31)
    await here.done((await here.call("dead_letter.retry", task_id=task_id))["task_id"])


async def test_a_retry_whose_task_is_not_kept_any_more_says_so(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "FINISHED_AGE_S", KEPT_S)
    task_id = await died(here)
    made = (await here.call("dead_letter.retry", task_id=task_id))["task_id"]
    await here.done(made)
    await here.passing(KEPT_S + 60)
    with pytest.raises(Conflict, match=f"retried as {made}") as refused:
        await here.call("dead_letter.retry", task_id=task_id)
    assert refused.value.field == "task_id"


@pytest.mark.requirement("WEFT-07")
async def test_a_letter_outlives_its_task_and_is_retried_all_the_same(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "FINISHED_AGE_S", KEPT_S)
    worker = await hand(here)
    task_id = await here.submit("writer", INPUT, user_id="ann", max_attempts=1)
    await worker.claim()
    await worker.tell("task.fail", message="no", error_type="rate_limit")
    await here.passing(KEPT_S + 60)
    with pytest.raises(NotFound):
        await here.call("task.get", task_id=task_id)
    assert [letter["input"] for letter in await listed(here)] == [INPUT]
    made = (await here.call("dead_letter.retry", task_id=task_id))["task_id"]
    assert here.state.tasks[made].input == INPUT
    await here.call("task.cancel", task_id=made)


# --- discard ---------------------------------------------------------------------------------


@pytest.mark.requirement("WEFT-21")
async def test_a_discarded_letter_is_gone_and_that_is_recorded(here: World) -> None:
    first, second = await died(here), await died(here)
    gone = await here.call("dead_letter.discard", task_id=first)
    assert (gone["task_id"], gone["input"]) == (first, INPUT)
    assert [letter["task_id"] for letter in await listed(here)] == [second]
    (discarded,) = changes(here, "discarded")
    assert (discarded["task_id"], discarded["reason"]) == (first, "operator")
    assert discarded["detail"] == {"by": "local"}
    for operation in ("dead_letter.discard", "dead_letter.retry"):
        with pytest.raises(NotFound) as refused:
            await here.call(operation, task_id=first)
        assert refused.value.field == "task_id"
    assert len(changes(here, "discarded")) == 1


async def test_of_two_that_discard_at_once_one_is_told_that_it_is_gone(here: World) -> None:
    async with another_node(here) as there:
        task_id = await died(here)
        answers = await asyncio.gather(
            *(node.call("dead_letter.discard", task_id=task_id) for node in (here, there)),
            return_exceptions=True,
        )
    refused = [answer for answer in answers if not isinstance(answer, Mapping)]
    assert [type(answer) for answer in refused] == [NotFound]
    assert len(changes(here, "discarded")) == 1


# --- bounds ----------------------------------------------------------------------------------


async def test_at_the_bound_the_oldest_goes_and_that_is_recorded(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_module, "KEPT_MAX", 2)
    died_so = [await died(here) for _ in range(5)]
    await here.passing(1)
    assert [letter["task_id"] for letter in await listed(here)] == died_so[:-3:-1]
    gone = changes(here, "discarded")
    assert [event["task_id"] for event in gone] == died_so[:3]
    assert {event["reason"] for event in gone} == {"too_many"}
    assert all("detail" not in event for event in gone)


async def test_a_node_that_is_overtaken_while_it_trims_records_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dead_letter_module, "KEPT_MAX", 1)
    cluster = Cluster()
    one, other = cluster.node(declare), cluster.node()
    overtaken: list[str] = []

    async def overtake(drafts: Sequence[Draft]) -> None:
        if [draft.type for draft in drafts] == ["dead_letter_changed"]:
            one.log.before = None
            await other.engine.parts.dead_letters.trim()
            overtaken.append("once")

    async with until_killed(one.engine), until_killed(other.engine):
        oldest = await died_on(one)
        one.log.before = overtake
        newest = await died_on(one)
        await cluster.passing(60)
        assert overtaken == ["once"]
        for node in (one, other):
            assert list(node.state.dead_letters.by_task) == [newest]
    (gone,) = cluster.said("dead_letter_changed", action="discarded")
    assert gone["task_id"] == oldest
    assert "action failed" not in caplog.text


async def test_a_letter_is_let_go_of_after_seven_days(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_module, "AGE_MAX_S", 1000.0)
    assert AGE_MAX_S == 7 * 86400
    task_id = await died(here)
    await here.passing(999)
    assert [letter["task_id"] for letter in await listed(here)] == [task_id]
    await here.passing(1)
    assert await listed(here) == []
    await here.passing(31)
    assert here.state.dead_letters.by_task == {}
    (gone,) = changes(here, "discarded")
    assert (gone["task_id"], gone["reason"]) == (task_id, "too_old")


# --- over a restart --------------------------------------------------------------------------


async def died_on(node: Node) -> str:
    task_id = (await node.gateway.submit("broken", INPUT, user_id="ann")).task_id
    await node.engine.parts.ends.of(task_id)
    return task_id


async def retry_on(node: Node, task_id: str) -> Any:
    return await node.engine.call("dead_letter.retry", {"task_id": task_id}, LOCAL_OPERATOR)


async def listed_on(node: Node) -> Any:
    return (await node.engine.call("dead_letter.list", {}, LOCAL_OPERATOR))["items"]


@pytest.mark.requirement("WEFT-07")
async def test_letters_outlive_the_gateway_and_the_entries_that_told_of_them() -> None:
    cluster = Cluster(log_events=40, retry_base=0.01, breaker_threshold=1000, breaker_rate=1)
    first = cluster.node(declare)
    async with until_killed(first.engine):
        dead = await died_on(first)
        retried = await died_on(first)
        made = (await retry_on(first, retried))["task_id"]
        before = await listed_on(first)
        while cluster.shared.oldest <= cluster.entries[-1].offset - 40 * 16 or not [
            kept for kept in cluster.snapshots if kept.offset >= first.state.tasks[made].sequence
        ]:
            await first.gateway.submit("broken", {"well": True})
            await cluster.passing(1)
        assert {letter["task_id"] for letter in before} <= set(first.state.dead_letters.by_task)
    second = cluster.node(declare)
    async with until_killed(second.engine):
        after = {letter["task_id"]: letter for letter in await listed_on(second)}
        assert after[dead] == next(letter for letter in before if letter["task_id"] == dead)
        assert after[retried]["retried_as"] == made
        again = await retry_on(second, dead)
        assert second.state.tasks[again["task_id"]].input == INPUT
        await second.engine.parts.ends.of(again["task_id"])
