"""What becomes of pieces: kept for the next attempt, bounded, and never silently lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway import Task
from gateway.domain.preserved import EVICTED_MAX
from gateway.errors import RateLimited
from gateway.execution.record.state import State
from tests.execution.conftest import OpenWorld
from tests.execution.world import World, consistent


async def test_the_next_attempt_finds_what_the_last_one_left(here: World) -> None:
    @here.gateway.agent("stepper")
    async def stepper(task: Task) -> Any:
        task.plan("a", "b", "c")
        if task.attempt == 1:
            task.preserve("a", {"x": 1})
            task.append("so far")
            raise RateLimited
        return [dict(task.preserved.steps), task.preserved.text]

    task = await here.run("stepper")
    assert task.result == [{"a": {"x": 1}}, "so far"]
    (kept,) = here.said("partial_result_preserved")
    assert kept["preserved_data"] == {"a": {"x": 1}}
    assert kept["preserved_text"] == "so far"
    assert kept["lost_data"] == ["b", "c"]
    assert kept["progress"] == pytest.approx(1 / 3)
    assert (kept["truncated"], kept["evicted"]) == (False, [])
    canonical = json.dumps(
        {"data": kept["preserved_data"], "text": kept["preserved_text"]},
        sort_keys=True,
        separators=(",", ":"),
    )
    assert kept["sha256"] == hashlib.sha256(canonical.encode()).hexdigest()
    said = here.types(task.task_id)
    assert said[said.index("partial_result_preserved") + 1] == "agent_error"


async def test_pieces_that_wait_when_the_limit_hits_are_kept(here: World) -> None:
    """Ten pieces a second are told; what was said after the last one counts, too."""

    @here.gateway.agent("slow", timeout=1.0, max_attempts=1)
    async def slow(task: Task) -> None:
        for number in range(200):
            task.preserve(f"step {number}", number)
        task.append("text")
        task.progress(0.7)
        await here.passing(100)

    task = await here.run("slow")
    assert task.preserved.steps == {f"step {number}": number for number in range(200)}
    assert task.preserved.text == "text"
    assert here.said("partial_result_preserved")[0]["progress"] == 0.7


@pytest.mark.parametrize(
    "text", ['"' * 300_000, "\x00" * 300_000, "\n\\" * 150_000, "€" * 100_000, "x" * 300_000]
)
async def test_text_over_the_bound_is_cut_and_says_so(here: World, text: str) -> None:
    """Quotes and newlines take more room in an event than in memory; the task still ends."""

    @here.gateway.agent("long", max_attempts=1)
    async def long(task: Task) -> None:
        task.append(text)
        raise RateLimited

    task = await here.run("long")
    assert task.status == "dead_lettered"
    (kept,) = here.said("partial_result_preserved")
    assert kept["truncated"]
    assert text.startswith(kept["preserved_text"])
    assert 262_144 - 6 < kept["size"] <= 262_144


async def test_no_text_follows_a_cut(here: World) -> None:
    """Text that came later would stand behind a hole that no reader sees."""

    @here.gateway.agent("long", max_attempts=1, timeout=1000.0)
    async def long(task: Task) -> None:
        task.preserve("big", "x" * 262_100)
        await here.passing(1)
        task.append("€" * 20)
        await here.passing(1)
        task.append("a")
        await here.passing(1)
        raise RateLimited

    await here.run("long")
    (kept,) = here.said("partial_result_preserved")
    assert set(kept["preserved_text"]) == {"€"}


async def test_a_generator_of_many_small_items_still_ends(here: World) -> None:
    """Thirty thousand numbers are few bytes of data and many of JSON."""

    @here.gateway.agent("many", max_attempts=1)
    async def many(task: Task) -> AsyncIterator[int]:
        for number in range(20_000):
            yield number % 10
        raise RateLimited

    task = await here.run("many")
    assert task.status == "dead_lettered"
    (kept,) = here.said("partial_result_preserved")
    assert kept["truncated"]
    assert len(kept["evicted"]) == EVICTED_MAX
    assert kept["size"] <= 262_144


async def test_the_longest_plan_and_the_longest_names_still_fit(here: World) -> None:
    @here.gateway.agent("wordy", max_attempts=1)
    async def wordy(task: Task) -> None:
        task.plan(*(f"{number}" + "\x01" * 3 for number in range(256)))
        for number in range(100):
            task.preserve(f"{number}".ljust(128, "\x01"), "x" * 262_144 if number > 50 else 1)
        raise RateLimited

    @here.gateway.agent("filled", max_attempts=1)
    async def filled(task: Task) -> None:
        task.plan(*map(str, range(256)))
        task.preserve("x", "x" * 262_000)
        for number in range(100):
            task.preserve(f"{number}".ljust(128, "\x01"), "x" * 200)
        raise RateLimited

    # The first is refused where it says too much, which is the agent's own failure.
    assert (await here.run("wordy")).status == "failed"
    assert (await here.run("filled")).status == "dead_lettered"


async def test_a_step_that_does_not_fit_is_named(open_world: OpenWorld) -> None:
    here = await open_world(partial_bytes_task=200)

    @here.gateway.agent("stepper", max_attempts=1)
    async def stepper(task: Task) -> None:
        task.preserve("a", "x" * 100)
        task.preserve("b", "x" * 100)
        task.preserve("c", 1)
        raise RateLimited

    task = await here.run("stepper")
    (kept,) = here.said("partial_result_preserved")
    assert set(kept["preserved_data"]) == {"a", "c"}
    assert (kept["truncated"], kept["evicted"]) == (True, ["b"])
    partial = await here.call("task.partial", task_id=task.task_id)
    assert partial["evicted"] == ["b"]


async def test_over_a_users_bound_the_parts_of_the_task_that_ended_first_go_first(
    open_world: OpenWorld,
) -> None:
    """One user's parts never push out another's."""
    here = await open_world(partial_bytes_task=150, partial_bytes_user=300)

    @here.gateway.agent("keeper", max_attempts=1)
    async def keeper(task: Task) -> None:
        task.preserve("part", "x" * 100)
        raise RateLimited

    @here.gateway.agent("running", timeout=1000.0)
    async def running(task: Task) -> None:
        task.preserve("part", "x" * 100)
        await here.passing(100)

    other = await here.run("keeper", user_id="bob")
    live = await here.submit("running", user_id="ann")
    await here.passing(1)
    finished = [await here.run_later("keeper", user_id="ann") for _ in range(3)]
    parts = [await here.call("task.partial", task_id=task_id) for task_id in finished]
    assert [bool(part["preserved_data"]) for part in parts] == [False, False, True]
    assert [part["evicted"] for part in parts] == [["part"], ["part"], []]
    assert parts[0]["truncated"]
    tasks = here.state.tasks
    assert tasks[live].preserved.steps
    assert tasks[other.task_id].preserved.steps
    consistent(here)


async def test_over_the_bound_of_all_users_the_parts_of_the_task_that_ended_first_go_first(
    open_world: OpenWorld,
) -> None:
    here = await open_world(partial_bytes_task=150, partial_bytes_user=150, partial_bytes_all=300)

    @here.gateway.agent("keeper", max_attempts=1)
    async def keeper(task: Task) -> None:
        task.preserve("part", "x" * 100)
        raise RateLimited

    tasks = [await here.run("keeper", user_id=user) for user in ("ann", "bob", "cy", "dee")]
    assert [bool(task.preserved.steps) for task in tasks] == [False, False, True, True]
    assert here.state._bytes_all <= 300


async def test_parts_are_let_go_of_some_time_after_the_end(open_world: OpenWorld) -> None:
    here = await open_world(partial_ttl=100)

    @here.gateway.agent("keeper", max_attempts=1)
    async def keeper(task: Task) -> None:
        task.preserve("part", 1)
        raise RateLimited

    task = await here.run("keeper")
    await here.passing(99)
    assert task.preserved.steps
    await here.passing(60)
    assert not task.preserved.steps
    assert here.state._bytes_all == 0
    assert task.task_id in here.state.tasks


async def test_finished_tasks_are_known_for_a_day(here: World) -> None:
    @here.gateway.agent("echo")
    async def echo(task: Task) -> None:
        task.preserve("part", 1)

    task = await here.run("echo", idempotency_key="k")
    state: State = here.state
    state.expire(here.engine.clock.wall() + 86_000)
    assert task.task_id in state.tasks
    state.expire(here.engine.clock.wall() + 86_401)
    assert (state.tasks, list(state.keys), state.preserving) == ({}, [], {})
