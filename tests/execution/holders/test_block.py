"""`gateway.attempt`: code that runs elsewhere, supervised like any other attempt."""

from __future__ import annotations

import asyncio
import contextlib
import math
import pathlib
import random
from typing import Any

import pytest

from gateway import Task
from gateway.attempts.attempt import END_WAIT_S
from gateway.attempts.reporter import RETRY_S
from gateway.domain.errors import (
    AttemptOver,
    InvalidParams,
    Rejected,
    TooLarge,
    Unavailable,
)
from gateway.errors import RateLimited, ServiceUnavailable
from tests.execution.conftest import OpenWorld
from tests.execution.hands import (
    ends,
)
from tests.execution.kept import Cluster, until_killed
from tests.execution.world import AwayLog, SlowLog, World, away_world


async def test_a_block_that_ends_well_is_a_task_that_succeeded(here: World) -> None:
    async with here.gateway.attempt("search", user_id="ann", input={"q": 1}) as task:
        assert (task.user_id, task.agent_name, task.attempt) == ("ann", "search", 1)
        assert task.input == {"q": 1}
        task.append("some")
        task.result = {"hits": 3}
    (finished,) = here.said("task_finished")
    assert (finished["outcome"], finished["result"]) == ("succeeded", {"hits": 3})
    assert finished["user_id"] == "ann"
    assert here.state.tasks[task.task_id].preserved.text == "some"


async def test_what_the_block_raises_is_told_and_raised_on(here: World) -> None:
    error = ServiceUnavailable("secret")
    with pytest.raises(ServiceUnavailable) as raised:  # noqa: PT012 - the block is the point
        async with here.gateway.attempt("search", user_id="ann") as task:
            task.preserve("step", 1)
            raise error
    assert raised.value is error
    assert here.types()[-5:] == [
        "partial_result_preserved",
        "agent_error",
        "task_dead_lettered",
        "dead_letter_changed",
        "task_finished",
    ]
    assert here.said("agent_error")[0]["error_code"] == "upstream_unavailable"
    assert here.said("recovery_attempt") == []


async def test_a_block_that_takes_too_long_ends_with_a_timeout(here: World) -> None:
    with pytest.raises(TimeoutError):
        async with here.gateway.attempt("search", timeout=5.0):
            await here.passing(100)
    (error,) = here.said("agent_error")
    assert (error["error_type"], error["cause"]) == ("timeout", "timeout")
    assert here.said("task_started")[0]["limit"] == 5


@pytest.mark.parametrize("limit", [299.0, 300.0, 301.0, 3600.0])
async def test_a_long_limit_is_the_attempts_own(here: World, limit: float) -> None:
    """It is the agent's failure, and counts; the caller's deadline does not come before it."""
    with pytest.raises(TimeoutError):
        async with here.gateway.attempt("search", timeout=limit):
            await here.passing(10_000)
    assert here.said("agent_error")[0]["error_code"] == "task_timeout"
    assert here.said("task_finished")[0]["duration"] == limit


async def test_a_timeout_of_the_blocks_own_is_not_its_limit(here: World) -> None:
    with pytest.raises(TimeoutError):
        async with here.gateway.attempt("search", timeout=50.0), asyncio.timeout(5):
            await here.passing(100)
    assert here.said("agent_error")[0]["cause"] == "exception"


async def test_a_caller_that_is_cancelled_cancels_the_task(here: World) -> None:
    async def ask() -> None:
        async with here.gateway.attempt("search") as task:
            task.append("some")
            await here.passing(100)

    asking = asyncio.ensure_future(ask())
    await here.passing(1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    (finished,) = here.said("task_finished")
    assert (finished["outcome"], finished["severity"]) == ("cancelled", "info")
    assert here.state.breakers["search"].consecutive == 0


async def test_an_open_breaker_lets_no_block_in(here: World) -> None:
    for _ in range(5):
        with pytest.raises(RateLimited):
            async with here.gateway.attempt("search"):
                raise RateLimited
    assert len(here.said("circuit_breaker_triggered")) == 1
    entered = False
    with pytest.raises(Rejected) as rejected:
        async with here.gateway.attempt("search", user_id="ann"):
            entered = True
    assert not entered
    assert rejected.value.code == "circuit_breaker_open"
    assert here.said("request_rejected")[0]["user_id"] == "ann"


async def test_a_fallback_does_not_run_instead_of_a_block(here: World) -> None:
    """The caller's own code cannot be replaced: it is refused like any other."""

    async def stand_in(task: Task) -> str:
        return "stand-in"

    @here.gateway.agent("search", fallback=stand_in, max_attempts=1)
    async def search(task: Task) -> None:
        raise RateLimited

    for _ in range(5):
        await here.run("search")
    with pytest.raises(Rejected):
        async with here.gateway.attempt("search"):
            raise AssertionError("it was let in")


async def test_a_block_whose_agent_has_a_fallback_ends_with_its_own_failure(here: World) -> None:
    """No caller waits for the fallback's answer: the exception has told it."""

    async def stand_in(task: Task) -> str:
        return "stand-in"

    @here.gateway.agent("search", fallback=stand_in, max_attempts=1)
    async def search(task: Task) -> None:
        raise RateLimited

    with pytest.raises(RateLimited):
        async with here.gateway.attempt("search") as task:
            raise RateLimited
    await here.passing(10)
    assert here.state.tasks[task.task_id].status == "dead_lettered"
    with pytest.raises(ValueError, match="no"):
        async with here.gateway.attempt("search") as task:
            raise ValueError("no")
    await here.passing(10)
    assert here.state.tasks[task.task_id].status == "failed"


async def test_a_full_queue_does_not_keep_a_block_out(open_world: OpenWorld) -> None:
    """It does not wait in the queue."""
    here = await open_world(queue_limit=1)
    await here.submit("nobody")
    async with here.gateway.attempt("search"):
        pass
    assert here.said("task_finished")[0]["outcome"] == "succeeded"


async def test_a_gateway_that_leaves_lets_no_block_in(here: World) -> None:
    await here.engine.drain()
    with pytest.raises(Rejected) as rejected:
        async with here.gateway.attempt("search"):
            raise AssertionError("it was let in")
    assert rejected.value.code == "draining"


async def test_a_block_cleans_up(here: World) -> None:
    folders: list[pathlib.Path] = []

    def close(task: Task) -> None:
        pass

    @here.gateway.agent("search", cleanup=[close])
    async def search(task: Task) -> None:
        pass

    with pytest.raises(KeyError):  # noqa: PT012 - the block is the point
        async with here.gateway.attempt("search") as task:
            folders.append(task.temp_dir())
            raise KeyError("x")
    assert not folders[0].exists()
    assert here.said("resource_cleanup")[0]["resources_cleaned"] == ["close", "temp_files"]


async def test_a_result_that_is_too_large_fails_the_task(here: World) -> None:
    async with here.gateway.attempt("search") as task:
        task.result = bytes(256 * 1024)
    assert here.said("task_finished")[0]["outcome"] == "failed"


async def test_a_block_whose_task_was_cancelled_is_told_when_it_speaks(here: World) -> None:
    """What it says after the end reaches no reader, and it learns of that."""
    with pytest.raises(AttemptOver):  # noqa: PT012 - the block is the point
        async with here.gateway.attempt("search") as task:
            await here.call("task.cancel", task_id=task.task_id)
            task.append("more")
    (finished,) = here.said("task_finished")
    assert finished["outcome"] == "cancelled"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"agent": "two words"}, "agent"),
        ({"agent": ""}, "agent"),
        ({"user_id": "*"}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"timeout": -1.0}, "timeout"),
        ({"timeout": math.inf}, "timeout"),
        ({"timeout": math.nan}, "timeout"),
        ({"input": {1, 2}}, "input"),
    ],
)
async def test_what_a_block_is_declared_with_is_checked(
    here: World, options: dict[str, Any], field: str
) -> None:
    """Above all, no block is everybody's ("*")."""
    with pytest.raises(InvalidParams) as refused:
        async with here.gateway.attempt(**{"agent": "search", **options}):
            raise AssertionError("it was let in")
    assert refused.value.field == field
    assert here.events == []


async def test_an_input_over_the_bound_is_refused(here: World) -> None:
    with pytest.raises(TooLarge):
        async with here.gateway.attempt("search", input="x" * 262_144):
            raise AssertionError("it was let in")


async def test_a_block_gets_the_grace_of_a_drain(open_world: OpenWorld) -> None:
    here = await open_world(drain_grace=10.0)

    async def ask() -> None:
        async with here.gateway.attempt("search") as task:
            await here.passing(5)
            task.result = "done"

    asking = asyncio.ensure_future(ask())
    await here.passing(1)
    await here.engine.drain()
    await asking
    assert here.said("task_finished")[0]["outcome"] == "succeeded"


async def test_a_block_on_a_durable_log_gets_the_grace_of_a_drain() -> None:
    cluster = Cluster(drain_grace=10.0)
    node = cluster.node()
    async with until_killed(node.engine):

        async def block() -> None:
            async with node.gateway.attempt("search", user_id="ann") as task:
                await cluster.passing(1)
                task.result = "done"

        running = asyncio.ensure_future(block())
        await cluster.passing(0.1)
        await node.engine.drain()
        await running
    assert ends(cluster) == [("succeeded", None)]


async def test_blocks_stand_beside_and_in_each_other(here: World) -> None:
    async def ask(number: int) -> None:
        with contextlib.suppress(RateLimited):
            async with here.gateway.attempt("outer"), here.gateway.attempt("inner") as inner:
                inner.append(str(number))
                await here.passing(number % 3)
                if number % 10 == 0:
                    raise RateLimited

    await asyncio.gather(*(ask(number) for number in range(30)))
    assert len(here.said("task_finished")) == 60
    assert len(here.said("task_finished", outcome="succeeded")) == 54


# --- a block that ends while the store is away ---------------------------------------------------


async def ended_away(here: World, log: AwayLog, *, fails: bool = False) -> tuple[str, float]:
    """End a block while the store is away; gives its task's id, and how long its end took."""
    with contextlib.suppress(RateLimited):
        async with here.gateway.attempt("search", user_id="ann") as task:
            log.away = True
            task.append("some")
            task.result = "found"
            ended_at = here.engine.clock.monotonic()
            if fails:
                raise RateLimited
    return task.task_id, here.engine.clock.monotonic() - ended_at


@pytest.mark.parametrize("fails", [False, True])
async def test_a_block_goes_on_at_a_bound_and_its_task_ends_when_the_store_is_back(
    open_world: OpenWorld, fails: bool
) -> None:
    """An endpoint that has its answer must not hang for as long as the store is away."""
    here, log = await away_world(open_world)
    task_id, took_s = await ended_away(here, log, fails=fails)
    assert took_s == pytest.approx(END_WAIT_S, abs=0.01)
    task, blocks = here.state.tasks[task_id], here.engine.parts.blocks
    await here.passing(120)  # whoever looks for orphans has looked
    assert task.live
    assert (blocks.has(task_id), blocks.busy) == (True, 1)
    log.away = False
    back_at = here.engine.clock.wall()
    await here.until(lambda: not task.live)
    assert task.finished_at is not None
    assert task.finished_at - back_at <= RETRY_S + 0.01
    assert task.preserved.text == "some"
    if fails:
        assert (task.last_error or {})["error_type"] == "rate_limit"
    else:
        assert (task.status, task.result) == ("succeeded", "found")
    await here.passing(1)
    assert (blocks.has(task_id), blocks.busy) == (False, 0)


async def test_a_block_is_cleaned_up_before_it_goes_on_and_that_is_told_later(
    open_world: OpenWorld,
) -> None:
    here, log = await away_world(open_world)
    async with here.gateway.attempt("search", user_id="ann") as task:
        log.away = True
        folder = task.temp_dir()
    assert not folder.exists()
    log.away = False
    await here.passing(5)
    assert here.types()[-2:] == ["task_finished", "resource_cleanup"]


async def test_a_block_that_is_cancelled_at_its_end_leaves_the_end_to_be_told(
    open_world: OpenWorld,
) -> None:
    here, log = await away_world(open_world)
    asking = asyncio.ensure_future(ended_away(here, log))
    await here.passing(1)
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()
    log.away = False
    await here.passing(5)
    assert here.said("task_finished")[0]["outcome"] == "succeeded"


async def test_a_process_that_leaves_while_the_store_is_away_does_not_wait_for_it(
    open_world: OpenWorld,
) -> None:
    here, log = await away_world(open_world)
    await ended_away(here, log)
    here.engine.parts.attempts.clear()
    await here.passing(0.1)
    assert here.engine.parts.blocks.busy == 0
    log.away = False
    await here.passing(60)
    assert here.said("task_finished")[0]["reason"] == "store_away", "its orphan was found"


# --- a block that does not begin -----------------------------------------------------------------


async def test_a_block_that_the_store_does_not_let_begin_ends_its_task_when_it_is_back(
    open_world: OpenWorld,
) -> None:
    here, log = await away_world(open_world)
    here.engine.log.follow(lambda entry: setattr(log, "away", entry.type == "task_submitted"))
    with pytest.raises(Unavailable):
        async with here.gateway.attempt("search", user_id="ann"):
            raise AssertionError("it was let in")
    assert here.engine.parts.blocks.busy == 0
    log.away = False
    await here.passing(5)
    (finished,) = here.said("task_finished")
    assert (finished["outcome"], finished["reason"]) == ("failed", "store_away")


async def test_a_caller_that_is_cancelled_while_its_block_begins_leaves_nothing_open(
    open_world: OpenWorld,
) -> None:
    here = await open_world(wrap=lambda log: SlowLog(log, random.Random(1)))

    async def ask() -> None:
        async with here.gateway.attempt("search"):
            await here.passing(100)

    for step in range(12):
        asking = asyncio.ensure_future(ask())
        await here.passing(step * 0.001)
        asking.cancel()
        await asyncio.wait({asking})
    await here.passing(1)
    assert here.state.live == {}
    assert here.engine.parts.blocks.busy == 0


async def test_a_process_that_leaves_ends_the_tasks_of_its_blocks(here: World) -> None:
    blocks = here.engine.parts.blocks
    used_before = blocks.used
    with pytest.raises(AttemptOver):  # noqa: PT012 - the block is the point
        async with here.gateway.attempt("search") as task:
            assert (used_before, blocks.used) == (False, True)
            assert blocks.has(task.task_id)
            assert not blocks.has("another")
            await blocks.give_up()
            assert here.said("task_finished")[0]["reason"] == "shutdown"
            task.append("more")
    assert not blocks.has(task.task_id)
