"""Claims: a task goes to a worker that can still be told, the longest waiting first."""

from __future__ import annotations

import asyncio
import dataclasses
import random

import pytest

from gateway.app.gateway import Gateway
from gateway.domain.access import LOCAL_OPERATOR
from gateway.domain.errors import Conflict, NotFound
from gateway.domain.settings import Settings
from gateway.domain.timestamps import seconds_of
from tests.execution.conftest import OpenWorld
from tests.execution.hands import (
    TIMEOUT_S,
    TIMER_S,
    Hand,
    again,
    hand,
)
from tests.execution.world import SlowLog, World, another_node
from tests.stores.contract import at_once


async def test_the_claim_that_waited_longest_is_served_first(here: World) -> None:
    workers = [await hand(here) for _ in range(8)]
    waiting = []
    for worker in workers:
        waiting.append(asyncio.create_task(worker.claim(wait=3)))
        await here.passing(0.01)
    for _ in workers:
        await here.submit("writer")
    await asyncio.gather(*waiting)
    assert [e["agent_id"] for e in here.said("task_started")] == [w.agent_id for w in workers]
    for worker in workers:
        await worker.tell("task.complete", result=1)


async def test_a_lost_worker_gets_nothing_until_it_is_heard_again(here: World) -> None:
    worker = await hand(here)
    waiting = asyncio.create_task(worker.claim(wait=30))
    await here.passing(TIMEOUT_S + 1)
    await here.submit("writer")
    await here.passing(1)
    assert here.said("task_started") == []
    await worker.beat()
    assert worker.status == "healthy"
    await here.until(waiting.done)
    # Its claim has waited all the time, and is looked at again at once.
    assert (await waiting)["attempt"] == 1
    assert here.engine.clock.monotonic() < TIMEOUT_S + 3
    await worker.tell("task.complete", result=1)


@pytest.mark.parametrize("seed", range(5))
async def test_a_claim_whose_time_is_over_has_taken_nothing(
    open_world: OpenWorld, seed: int
) -> None:
    """A task that is taken while the wait ends is told, or no worker would know of it."""
    chance = random.Random(seed)
    here = await open_world(seed=seed, wrap=lambda log: SlowLog(log, chance))
    worker = await hand(here)
    for _ in range(30):
        waiting = asyncio.create_task(worker.claim(wait=1))
        await here.passing(1 - chance.random() * 0.02)
        task_id = await here.submit("writer")
        if await waiting is None:
            await worker.claim()
        assert worker.claimed["task_id"] == task_id
        await worker.tell("task.complete", result=1)


@pytest.mark.parametrize("seed", range(5))
async def test_a_claim_that_is_cancelled_has_taken_nothing(
    open_world: OpenWorld, seed: int
) -> None:
    """An attempt that had begun by then is for another worker, at once and without a failure."""
    chance = random.Random(seed)
    here = await open_world(seed=seed, wrap=lambda log: SlowLog(log, chance))
    gone, there = await hand(here), await hand(here)
    for _ in range(30):
        waiting = asyncio.create_task(gone.claim(wait=20))
        await here.passing(0.1)
        task_id = await here.submit("writer")
        await here.passing(chance.random() * 0.012)
        waiting.cancel()
        await asyncio.wait({waiting})
        if not waiting.cancelled():
            await gone.tell("task.complete", result=1)
            continue
        claim = await there.claim(wait=1)
        assert claim["task_id"] == task_id
        await there.tell("task.complete", result=1)
    assert here.said("lease_changed", action="released")
    assert here.said("agent_error") == []


async def test_a_claim_of_what_is_there_waits_for_nothing_on_the_log_in_memory(
    here: World,
) -> None:
    """So nothing can be cancelled between its start and its answer."""
    worker = await hand(here)
    task_id = await here.submit("writer")
    claim = at_once(worker.claim())
    assert claim["task_id"] == task_id
    await worker.tell("task.complete", result=1)


async def test_of_fifty_workers_that_claim_one_task_one_has_it(open_world: OpenWorld) -> None:
    here = await open_world(wrap=lambda log: SlowLog(log, random.Random(7)))
    workers = [await hand(here) for _ in range(50)]
    task_id = await here.submit("writer")
    answers = await asyncio.gather(
        *(worker.claim(task_id=task_id) for worker in workers), return_exceptions=True
    )
    won = [worker for worker in workers if worker.claimed]
    assert len(won) == 1
    assert sum(isinstance(answer, Conflict) for answer in answers) == 49
    # To claim it again is the same claim.
    again = await won[0].claim(task_id=task_id)
    assert (again["term"], again["attempt"]) == (1, 1)
    assert sum(bool(here.state.held_by(worker.agent_id)) for worker in workers) == 1
    await won[0].tell("task.complete", result=1)


@pytest.mark.parametrize("seed", range(5))
async def test_a_worker_that_claims_a_task_twice_at_once_has_one_claim(
    open_world: OpenWorld, seed: int
) -> None:
    """The second asks before the store has taken the first; that is not another worker."""
    chance = random.Random(seed)
    here = await open_world(seed=seed, wrap=lambda log: SlowLog(log, chance))
    worker = await hand(here)
    task_id = await here.submit("writer")
    claims = await asyncio.gather(*(worker.claim(task_id=task_id) for _ in range(10)))
    assert {(claim["task_id"], claim["term"], claim["attempt"]) for claim in claims} == {
        (task_id, 1, 1)
    }
    await worker.tell("task.complete", result=1)


async def test_a_blocks_task_cannot_be_claimed(here: World) -> None:
    worker = await hand(here, "loop")
    async with here.gateway.attempt("loop", user_id="42"):
        (task,) = here.state.live.values()
        assert await worker.claim() is None
        with pytest.raises(Conflict):
            await worker.claim(task_id=task.task_id)


async def test_a_claim_goes_on_with_what_the_lost_worker_has_told(here: World) -> None:
    first, second = await hand(here), await hand(here)
    await here.submit("writer", {"question": "x"})
    await first.claim(lease_ttl=2)
    await first.tell("task.update", plan=["one", "two"], step="one", data={"a": 1}, text="so ")
    await here.passing(2 + TIMER_S)
    claim = await second.claim()
    assert claim["preserved"] == {"steps": {"one": {"a": 1}}, "text": "so "}
    assert claim["input"] == {"question": "x"}
    (kept,) = here.said("partial_result_preserved")
    assert kept["lost_data"] == ["two"]
    await second.tell("task.complete", result=1)


async def test_a_workers_fallback_serves_while_the_breaker_is_open(here: World) -> None:
    worker = await hand(here, agents=[{"name": "writer", "fallback": True, "max_attempts": 1}])
    for _ in range(5):
        await here.submit("writer")
        await worker.claim()
        await worker.tell("task.fail", message="no", error_type="service_unavailable")
        # Its last resort is the fallback, which is its work as well.
        assert (await worker.claim())["mode"] == "fallback"
        await worker.tell("task.complete", result="stand-in")
    assert len(here.said("circuit_breaker_triggered")) == 1
    task_id = await here.submit("writer")
    assert (await worker.claim())["mode"] == "fallback"
    await worker.tell("task.complete", result="stand-in")
    (finished,) = here.said("task_finished", task_id=task_id)
    assert finished["degraded"] is True
    assert finished["served_by"] == "writer-fallback"
    # No attempt was spent on the open breaker.
    assert here.said("agent_error", task_id=task_id) == []


async def test_a_worker_that_reconnects_gets_nothing_on_its_old_connection(
    here: World,
) -> None:
    """From here the old one may look open for a minute, and its claim waits first in the row."""
    worker = await hand(here, session="lost")
    lost = asyncio.create_task(worker.claim(wait=20))
    await here.passing(1)
    assert await again(worker, "new") == []
    task_id = await here.submit("writer")
    claim = await worker.claim(wait=1)
    assert claim["task_id"] == task_id
    await worker.tell("task.complete", result=1)
    assert await lost is None


async def test_a_worker_that_reconnects_to_another_node_gets_nothing_from_the_first(
    here: World,
) -> None:
    """The connection that it has lost may look open from there for a minute."""
    async with another_node(here) as there:
        worker = await hand(here, session="lost")
        lost = asyncio.create_task(worker.claim(wait=20))
        await here.passing(1)
        back = dataclasses.replace(worker, here=there)
        assert await again(back, "new") == []
        task_id = await there.submit("writer")
        await here.passing(1)
        claim = await back.claim(wait=1)
        assert claim["task_id"] == task_id
        await back.tell("task.complete", result=1)
        assert await lost is None


async def test_another_registration_over_the_same_connection_costs_no_claim(here: World) -> None:
    worker = await hand(here, session="one")
    waiting = asyncio.create_task(worker.claim(wait=20))
    await here.passing(1)
    await again(worker, "one")
    task_id = await here.submit("writer")
    assert (await waiting)["task_id"] == task_id
    await worker.tell("task.complete", result=1)


async def test_a_worker_that_drains_is_given_nothing_more(here: World) -> None:
    worker, other = await hand(here), await hand(here)
    waiting = asyncio.create_task(worker.claim(wait=2))
    await here.passing(1)
    await worker.beat(status="draining")
    await here.submit("writer")
    assert await waiting is None
    assert await other.claim() is not None
    await other.tell("task.complete", result=1)
    await worker.beat(status="idle")
    await here.submit("writer")
    assert await worker.claim() is not None
    await worker.tell("task.complete", result=1)


async def test_a_worker_that_comes_back_is_told_what_it_holds_and_goes_on_or_gives_it_back(
    here: World,
) -> None:
    """It need not know: a claim whose answer was lost, or a crash. Nothing waits for a lease."""
    worker = await hand(here, session="one")
    assert await again(worker, "one") == []
    task_id = await here.submit("writer")
    first = await worker.claim()
    assert await again(worker, "two") == [{"task_id": task_id, "term": 1}]
    same = await worker.claim(task_id=task_id)
    assert (same["term"], same["attempt"]) == (first["term"], first["attempt"])
    await worker.tell("task.release")
    assert await again(worker, "three") == []
    other = await hand(here)
    assert (await other.claim())["task_id"] == task_id
    await other.tell("task.complete", result=1)


# --- more than one loop -------------------------------------------------------------------------


def test_a_gateway_that_runs_on_another_loop_serves_claims_that_meet_there_too() -> None:
    """Tests of an application enter its lifespan once each, on a loop of their own."""
    gateway = Gateway(Settings(drain_grace=0.001))

    async def two_claims_at_once() -> None:
        async with gateway._life(None):
            assert gateway.engine is not None
            call = gateway.engine.call
            answer = await call("agent.register", {"handle": "writer"}, LOCAL_OPERATOR)
            proof = {name: answer[name] for name in ("agent_id", "agent_secret")}
            for _ in range(2):
                await gateway.submit("writer")
            claims = [call("task.claim", proof, LOCAL_OPERATOR) for _ in range(2)]
            assert len({claim["task_id"] for claim in await asyncio.gather(*claims)}) == 2

    for _ in range(2):
        asyncio.run(two_claims_at_once())


# --- which task, and why not ---------------------------------------------------------------------


async def test_the_most_urgent_task_that_a_worker_can_do_is_taken_first(here: World) -> None:
    worker = await hand(here, capabilities=["flying"])
    await here.submit("other", priority=0)
    for priority in (5, 1, 9, 1):
        await here.submit("writer", priority, priority=priority)
    flying = (await here.call("task.create", capability="flying", priority=3))["task_id"]
    taken = []
    while (claim := await worker.claim()) is not None:
        taken.append(claim["task_id"] if claim["task_id"] == flying else claim["input"])
        await worker.tell("task.complete", result=1)
    assert taken == [1, 1, flying, 5, 9]
    (left,) = here.state.live
    await here.call("task.cancel", task_id=left)


@pytest.mark.parametrize("wait_s", [0, 1, 5])
async def test_a_claim_that_finds_nothing_waits_as_long_as_it_asked_to(
    here: World, wait_s: int
) -> None:
    worker = await hand(here)
    before = here.engine.clock.monotonic()
    assert await worker.claim(wait=wait_s) is None
    assert here.engine.clock.monotonic() - before == pytest.approx(wait_s, abs=0.01)
    assert here.engine.parts.claims.waiting == 0


async def test_a_certain_task_that_cannot_be_taken_is_refused_with_the_reason(
    here: World,
) -> None:
    worker, other = await hand(here), await hand(here, "another")

    async def refused(task_id: str, by: Hand = worker) -> Conflict:
        with pytest.raises(Conflict) as conflict:
            await by.claim(task_id=task_id)
        return conflict.value

    with pytest.raises(NotFound):
        await worker.claim(task_id="unknown")
    task_id = await here.submit("writer", max_attempts=3)
    assert "not for this worker" in str(await refused(task_id, other))
    await worker.claim(task_id=task_id)
    assert (await refused(task_id, await hand(here))).code == "task_claimed"
    await worker.tell("task.fail", message="later", error_type="rate_limit", retry_after=7)
    waits = await refused(task_id)
    assert waits.retry_after == pytest.approx(7, abs=0.1)
    await here.call("task.cancel", task_id=task_id)
    assert "has ended: cancelled" in str(await refused(task_id))


async def test_a_certain_task_of_an_open_breaker_is_held_back(here: World) -> None:
    worker = await hand(here)
    waiting = await here.submit("writer", priority=9)
    for _ in range(5):
        await here.submit("writer", max_attempts=1)
        await worker.claim()
        await worker.tell("task.fail", message="no", error_type="service_unavailable")
    with pytest.raises(Conflict, match="breaker"):
        await worker.claim(task_id=waiting)
    assert await worker.claim() is None
    await here.call("task.cancel", task_id=waiting)


async def test_a_paused_gateway_gives_nothing_and_gives_again_when_it_goes_on(
    here: World,
) -> None:
    claims, worker = here.engine.parts.claims, await hand(here)
    first, second = await here.submit("writer"), await here.submit("writer")
    await worker.claim(task_id=first)
    claims.pause()
    assert await worker.claim() is None
    with pytest.raises(Conflict, match="stops"):
        await worker.claim(task_id=second)
    # What a worker holds goes on.
    assert (await worker.claim(task_id=first))["term"] == 1
    await worker.tell("task.complete", result=1)
    waiting = asyncio.create_task(worker.claim(wait=20))
    await here.passing(1)
    claims.resume()
    assert (await waiting)["task_id"] == second
    await worker.tell("task.complete", result=1)


async def test_a_claim_describes_the_task_and_the_lease(here: World) -> None:
    worker = await hand(here, agents=[{"name": "writer", "timeout": 12, "max_attempts": 4}])
    task_id = await here.submit("writer", {"a": 1}, user_id="ann")
    claim = await worker.claim(lease_ttl=9)
    assert seconds_of(claim.pop("lease_expires_at")) == here.engine.clock.wall() + 9
    assert claim == {
        "task_id": task_id,
        "traceparent": None,
        "alone": False,
        "agent_id": worker.agent_id,
        "agent_name": "writer",
        "user_id": "ann",
        "term": 1,
        "attempt": 1,
        "max_attempts": 4,
        "mode": "primary",
        "state": "active",
        "limit": 12,
        "input": {"a": 1},
        "preserved": {"steps": {}, "text": ""},
        "lock": None,
        "piece": 0,
    }
    await worker.tell("task.complete", result=1)
