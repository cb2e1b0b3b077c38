"""What is appended without an answer: tries that land, and beginnings that have to be undone."""

from __future__ import annotations

import asyncio
import random

import pytest

from gateway import Task
from gateway.attempts.tries import Tries
from gateway.domain.errors import Unavailable
from gateway.execution.record.in_doubt import IN_DOUBT_MAX, InDoubt
from gateway.ports import Draft
from tests.execution.conftest import OpenWorld
from tests.execution.hands import hand
from tests.execution.world import LateLog, SlowLog, World


def event(event_id: str) -> Draft:
    body = b'{"event_id":"%s"}' % event_id.encode()
    return Draft("task/t1", "task_progress", (), operators_only=False, body=body)


# --- tries -----------------------------------------------------------------------------------


def test_a_try_has_landed_when_the_log_shows_it() -> None:
    """On a log in memory that is before the append returns."""
    in_doubt, tries = InDoubt(), Tries()
    in_doubt.trying([event("e1"), event("e2")], tries)
    assert not in_doubt.seen("e3")
    assert not tries.landed
    assert not in_doubt.seen("e2")
    assert tries.landed


def test_a_try_that_was_taken_ends_the_wait_for_all_earlier_ones() -> None:
    in_doubt, tries, others = InDoubt(), Tries(), Tries()
    in_doubt.trying([event("e0")], others)
    in_doubt.trying([event("e1")], tries)
    in_doubt.trying([event("e2")], tries)
    in_doubt.taken(tries)
    assert in_doubt
    in_doubt.seen("e1")
    assert not tries.landed
    in_doubt.taken(others)
    assert not in_doubt


# --- beginnings ------------------------------------------------------------------------------


def test_a_beginning_without_an_answer_is_undone_once() -> None:
    in_doubt = InDoubt()
    in_doubt.beginning(event("e1"))
    assert not in_doubt.seen("e2")
    assert in_doubt.seen("e1")
    assert not in_doubt.seen("e1")


def test_at_the_bound_the_oldest_in_doubt_is_dropped() -> None:
    in_doubt = InDoubt()
    for number in range(IN_DOUBT_MAX + 1):
        in_doubt.beginning(event(f"e{number}"))
    assert not in_doubt.seen("e0")
    assert in_doubt.seen("e1")
    assert in_doubt.seen(f"e{IN_DOUBT_MAX}")


# --- in a gateway ----------------------------------------------------------------------------


async def late_world(open_world: OpenWorld) -> tuple[World, LateLog]:
    logs: list[LateLog] = []

    def wrap(log: object) -> LateLog:
        logs.append(LateLog(log))  # type: ignore[arg-type]
        return logs[0]

    return await open_world(wrap=wrap), logs[0]


async def test_a_claim_that_turns_up_after_its_worker_was_refused_is_given_back(
    open_world: OpenWorld,
) -> None:
    """At once, and not when its lease ends: the worker is well and knows nothing of it."""
    here, log = await late_world(open_world)
    worker = await hand(here)
    task_id = await here.submit("writer")
    log.late = True
    with pytest.raises(Unavailable):
        await worker.claim()
    await log.arrive()
    claim = await worker.claim(wait=1)
    assert (claim["task_id"], claim["term"]) == (task_id, 2)
    await worker.tell("task.complete", result=1)
    assert here.said("agent_error") == []


async def test_an_attempt_of_this_process_that_turns_up_is_made(open_world: OpenWorld) -> None:
    here, log = await late_world(open_world)

    @here.gateway.agent("echo")
    async def echo(task: Task) -> str:
        return "done"

    log.late = True
    with pytest.raises(Unavailable):
        await here.submit("echo", idempotency_key="k")
    await log.arrive()
    task_id = await here.submit("echo", idempotency_key="k")
    assert (await here.done(task_id)).result == "done"

    log.late = True
    second = asyncio.ensure_future(here.submit("echo"))
    await here.passing(1)
    await log.arrive()
    with pytest.raises(Unavailable):
        await second
    await here.until(lambda: len(here.said("task_finished")) == 2, within=5)
    assert {event["outcome"] for event in here.said("task_finished")} == {"succeeded"}


async def test_an_attempt_that_began_without_an_answer_is_begun_again(
    open_world: OpenWorld,
) -> None:
    here, log = await late_world(open_world)
    begun = asyncio.Event()

    @here.gateway.agent("echo")
    async def echo(task: Task) -> str:
        begun.set()
        return "done"

    # What is asked for arrives, what follows from it does not.
    here.engine.log.follow(lambda entry: setattr(log, "late", entry.type == "task_submitted"))
    task_id = await here.submit("echo")
    await here.until(lambda: log.under_way)
    assert not begun.is_set()
    await log.arrive()
    task = await here.done(task_id)
    assert (task.result, task.term) == ("done", 2)
    assert here.said("agent_error") == []


@pytest.mark.parametrize("at", ["task_submitted", "task_started"])
async def test_a_block_that_could_not_begin_leaves_no_task_open(
    open_world: OpenWorld, at: str
) -> None:
    """No other process could do it, so waiting for its deadline would be waiting for nothing."""
    here, log = await late_world(open_world)
    before = {"task_submitted": None, "task_started": "task_submitted"}[at]
    log.late = before is None
    here.engine.log.follow(lambda entry: setattr(log, "late", entry.type == before))
    with pytest.raises(Unavailable):
        async with here.gateway.attempt("search", user_id="ann"):
            raise AssertionError("it was let in")
    await here.passing(3)
    await log.arrive()
    await here.until(lambda: here.said("task_finished"), within=5)
    (finished,) = here.said("task_finished")
    assert (finished["outcome"], finished["reason"]) == ("failed", "store_away")
    assert here.state.breaker("search", "agent").consecutive == 0


async def test_a_caller_that_is_cancelled_while_its_block_begins_leaves_no_task_open(
    open_world: OpenWorld,
) -> None:
    here = await open_world(wrap=lambda log: SlowLog(log, random.Random(1)))
    for step in range(12):

        async def ask() -> None:
            async with here.gateway.attempt("search"):
                await here.passing(100)

        asking = asyncio.ensure_future(ask())
        await here.passing(step * 0.001)
        asking.cancel()
        await asyncio.wait({asking})
    await here.passing(1)
    assert here.state.live == {}
