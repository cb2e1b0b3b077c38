"""Claims that lock: task and lock are taken together or not at all, and end together."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.domain.access import LOCAL_OPERATOR, Caller
from gateway.domain.errors import (
    Conflict,
    LockHeld,
    NotFound,
    NotPermitted,
    RateLimitedRequest,
    StaleTerm,
)
from gateway.execution.holders.locks import HELD_MAX_TASK
from gateway.ports import Draft
from tests.execution.conftest import OpenWorld
from tests.execution.hands import SCOPES, TIMER_S, Hand, hand, registered
from tests.execution.kept import Cluster, until_killed
from tests.execution.world import SlowLog, World, another_node

KEY = "file:1"


def held(here: World) -> dict[str, str]:
    """The locks that are held: resource → holder."""
    now = here.engine.clock.wall()
    locks = here.state.locks.by_key.values()
    return {lock.resource_key: lock.holder for lock in locks if lock.held(now)}


async def claimed(here: World, **params: Any) -> tuple[Hand, str]:
    worker, task_id = await hand(here), await here.submit("writer")
    await worker.claim(**{"resource_key": KEY, **params})
    return worker, task_id


@pytest.mark.requirement("MESH-06", "MESH-W12")
async def test_a_claim_takes_the_task_and_the_lock_in_one_append(here: World) -> None:
    worker, task_id = await claimed(here)
    lock = here.state.locks.by_key[KEY]
    assert worker.claimed["lock"] == {"lock_id": lock.lock_id, "resource_key": KEY, "term": 1}
    assert (lock.holder, lock.owner, lock.task_id) == (worker.agent_id, "worker", task_id)
    assert here.types()[-2:] == ["lock_changed", "task_started"]
    first, second = here.entries[-2:]
    assert second.offset == first.offset + 1
    (told,) = here.said("lock_changed")
    assert (told["task_id"], told["expires_at"]) == (task_id, None)
    await worker.tell("task.complete", result=1)


@pytest.mark.requirement("MESH-07", "MESH-W12")
@pytest.mark.parametrize("named", [False, True])
async def test_a_claim_whose_lock_is_held_takes_nothing(here: World, named: bool) -> None:
    first, _ = await claimed(here, lease_ttl=20)
    task_id = await here.submit("writer")
    other = await hand(here)
    before = len(here.entries)
    await here.passing(2)
    with pytest.raises(LockHeld) as refused:
        await other.claim(resource_key=KEY, **({"task_id": task_id} if named else {}))
    assert refused.value.data() == {
        "code": "lock_held",
        "field": "resource_key",
        "holder": first.agent_id,
        "retry_after": 18.0,
    }
    assert here.state.tasks[task_id].status == "pending"
    assert here.state.held_by(other.agent_id) == []
    assert len(here.entries) == before
    assert held(here) == {KEY: first.agent_id}
    await first.tell("task.complete", result=1)
    await other.claim(resource_key=KEY)
    assert other.claimed["lock"]["term"] == 2
    await other.tell("task.complete", result=1)


@pytest.mark.requirement("MESH-07")
async def test_a_claim_of_a_task_that_cannot_be_taken_leaves_no_lock(here: World) -> None:
    worker, task_id = await claimed(here, resource_key="mine")
    other, stranger = await hand(here), await hand(here, "another")
    refusals: list[tuple[Hand, str, type[Exception]]] = [
        (other, task_id, Conflict),
        (stranger, await here.submit("writer"), Conflict),
        (other, "unknown", NotFound),
    ]
    await worker.tell("task.fail", message="later", error_type="rate_limit", retry_after=9)
    refusals.append((other, task_id, Conflict))
    for by, asked, error in refusals[1:]:
        with pytest.raises(error):
            await by.claim(task_id=asked, resource_key=KEY)
    assert held(here) == {}
    assert KEY not in here.state.locks.by_key


ENDINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "completed": ("task.complete", {"result": 1}),
    "failed for now": ("task.fail", {"message": "no", "error_type": "rate_limit"}),
    "failed for good": ("task.fail", {"message": "no", "error_type": "invalid_input"}),
    "given back": ("task.release", {}),
}


@pytest.mark.requirement("MESH-W13")
@pytest.mark.parametrize("ending", ENDINGS)
async def test_the_lock_ends_in_the_append_that_takes_the_task_from_its_holder(
    here: World, ending: str
) -> None:
    worker, task_id = await claimed(here)
    before = len(here.entries)
    operation, params = ENDINGS[ending]
    await worker.tell(operation, **params)
    news = here.events[before:]
    assert (news[0]["type"], news[0]["state"]) == ("lock_changed", "released")
    assert here.state.tasks[task_id].holder is None
    assert held(here) == {}
    assert here.state.locks.of_task(task_id) == []


@pytest.mark.requirement("MESH-W13")
@pytest.mark.parametrize("loss", ["lease", "silence", "goodbye", "cancel", "limit"])
async def test_the_lock_ends_when_its_holder_is_lost(here: World, loss: str) -> None:
    session = "one" if loss == "silence" else None
    worker = await hand(
        here, session=session, agents=[{"name": "writer", "timeout": 3.0, "max_attempts": 1}]
    )
    task_id = await here.submit("writer", max_attempts=1)
    await worker.claim(resource_key=KEY, lease_ttl=2 if loss == "lease" else 60)
    assert held(here) == {KEY: worker.agent_id}
    match loss:
        case "lease":
            await here.passing(2 + TIMER_S)
        case "silence":
            await here.passing(6)
        case "goodbye":
            await here.call("agent.remove", worker.caller, **worker.proof)
        case "cancel":
            await here.call("task.cancel", task_id=task_id)
        case "limit":
            await worker.beat_for(5)
    assert here.state.tasks[task_id].holder is None
    assert held(here) == {}
    with pytest.raises((StaleTerm, NotFound)):
        await worker.tell("task.complete", result=1)


async def test_a_renewed_lease_keeps_its_lock(here: World) -> None:
    worker, _ = await claimed(here, lease_ttl=3)
    for _ in range(5):
        await here.passing(2)
        await worker.tell("task.heartbeat")
        assert held(here) == {KEY: worker.agent_id}
    await worker.tell("task.complete", result=1)


@pytest.mark.requirement("MESH-W11")
async def test_to_claim_again_is_the_same_claim_with_the_same_lock(here: World) -> None:
    worker, task_id = await claimed(here)
    first = worker.claimed
    again = await worker.claim(task_id=task_id, resource_key=KEY)
    assert (again["term"], again["attempt"], again["lock"]) == (1, 1, first["lock"])
    # Without the key it is told what it holds, and with another one it has that as well.
    assert (await worker.claim(task_id=task_id))["lock"] == first["lock"]
    more = await worker.claim(task_id=task_id, resource_key="file:2")
    assert more["lock"]["resource_key"] == "file:2"
    assert held(here) == {KEY: worker.agent_id, "file:2": worker.agent_id}
    await worker.tell("task.complete", result=1)
    assert held(here) == {}


async def test_a_second_lock_that_is_held_costs_the_holder_nothing(here: World) -> None:
    worker, task_id = await claimed(here)
    other, _ = await claimed(here, resource_key="file:2")
    with pytest.raises(LockHeld):
        await worker.claim(task_id=task_id, resource_key="file:2")
    assert held(here) == {KEY: worker.agent_id, "file:2": other.agent_id}
    await worker.tell("task.complete", result=1)
    await other.tell("task.complete", result=1)


async def test_two_tasks_of_one_worker_exclude_each_other(here: World) -> None:
    worker, _ = await claimed(here)
    task_id = await here.submit("writer")
    with pytest.raises(LockHeld) as refused:
        await worker.claim(resource_key=KEY)
    assert refused.value.holder == worker.agent_id
    assert here.state.tasks[task_id].status == "pending"
    await worker.tell("task.complete", result=1)


async def test_a_lock_that_the_worker_had_becomes_the_tasks(here: World) -> None:
    worker = await hand(here)
    asked = {"resource_key": KEY, "holder": worker.agent_id, "ttl": 1.0}
    mine = await here.call("lock.acquire", worker.caller, **asked)
    task_id = await here.submit("writer")
    claim = await worker.claim(resource_key=KEY)
    assert claim["lock"] == {"lock_id": mine["lock_id"], "resource_key": KEY, "term": 1}
    await here.passing(5)
    assert here.state.locks.by_key[KEY].task_id == task_id
    # As a lock it is held with the lease: to acquire or renew it changes nothing.
    again = await here.call("lock.acquire", worker.caller, **asked)
    assert (again["lock_id"], again["expires_at"], again["renewed"]) == (
        mine["lock_id"],
        None,
        True,
    )
    proof = {"lock_id": mine["lock_id"], "holder": worker.agent_id, "term": 1}
    assert (await here.call("lock.renew", worker.caller, **proof))["expires_at"] is None
    await worker.tell("task.complete", result=1)
    assert held(here) == {}


async def test_the_holder_may_give_the_lock_back_before_the_task(here: World) -> None:
    worker, task_id = await claimed(here)
    lock = worker.claimed["lock"]
    proof = {"lock_id": lock["lock_id"], "holder": worker.agent_id, "term": lock["term"]}
    await here.call("lock.release", worker.caller, **proof)
    assert held(here) == {}
    assert here.state.tasks[task_id].holder == worker.agent_id
    other, _ = await claimed(here)
    await worker.tell("task.complete", result=1)
    # What the next holder has is not given back by the end of the first one's task.
    assert held(here) == {KEY: other.agent_id}
    await other.tell("task.complete", result=1)


async def test_the_name_of_a_worker_is_no_other_users_to_lock_with(here: World) -> None:
    worker = await hand(here)
    stranger = Caller("stranger", SCOPES)
    with pytest.raises(NotPermitted) as refused:
        await here.call("lock.acquire", stranger, resource_key=KEY, holder=worker.agent_id)
    assert refused.value.field == "holder"


async def test_a_task_holds_a_bounded_number_of_locks(here: World) -> None:
    worker, task_id = await claimed(here, resource_key="k0")
    for number in range(1, HELD_MAX_TASK):
        await worker.claim(task_id=task_id, resource_key=f"k{number}")
    with pytest.raises(RateLimitedRequest, match="the most"):
        await worker.claim(task_id=task_id, resource_key="one-too-many")
    assert len(held(here)) == HELD_MAX_TASK
    await worker.tell("task.complete", result=1)
    assert held(here) == {}


@pytest.mark.requirement("MESH-W4")
async def test_claims_that_wait_for_a_lock_get_it_in_their_order(here: World) -> None:
    first, _ = await claimed(here)
    workers = [await hand(here) for _ in range(3)]
    waiting = []
    for worker in workers:
        await here.submit("writer")
        waiting.append(asyncio.create_task(worker.claim(resource_key=KEY, wait=20)))
        await here.passing(0.1)
    assert not any(claim.done() for claim in waiting)
    await first.tell("task.complete", result=1)
    for term, (worker, claim) in enumerate(zip(workers, waiting, strict=True), 2):
        assert (await claim)["lock"]["term"] == term
        await here.passing(1)
        assert sum(claim.done() for claim in waiting) == term - 1
        await worker.tell("task.complete", result=1)


async def test_a_claim_that_waited_for_a_lock_in_vain_is_told_who_has_it(here: World) -> None:
    first, _ = await claimed(here)
    second = await hand(here)
    await here.submit("writer")
    began = here.engine.clock.monotonic()
    with pytest.raises(LockHeld) as refused:
        await second.claim(resource_key=KEY, wait=3)
    assert here.engine.clock.monotonic() - began == pytest.approx(3, abs=0.01)
    assert refused.value.holder == first.agent_id
    await first.tell("task.complete", result=1)


@pytest.mark.requirement("MESH-07", "MESH-W9")
@pytest.mark.parametrize("seed", range(5))
async def test_of_workers_on_two_nodes_that_claim_with_one_lock_one_has_task_and_lock(
    open_world: OpenWorld, seed: int
) -> None:
    here = await open_world(seed=seed, wrap=lambda log: SlowLog(log, random.Random(seed)))
    async with another_node(here) as there:
        workers = [await hand(node) for node in (here, there) for _ in range(5)]
        for _ in workers:
            await here.submit("writer")
        for _ in range(10):
            answers = await asyncio.gather(
                *(worker.claim(resource_key=KEY) for worker in workers), return_exceptions=True
            )
            assert sum(isinstance(answer, LockHeld) for answer in answers) == len(workers) - 1
            (won,) = [worker for worker in workers if here.state.held_by(worker.agent_id)]
            assert held(here) == {KEY: won.agent_id}
            await won.tell("task.complete", result=1)
            assert held(here) == {}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("meanwhile", ["task.retry", "lock.release", "task.cancel"])
async def test_a_claim_looks_again_when_its_task_or_its_lock_has_changed_meanwhile(
    named: bool, meanwhile: str
) -> None:
    """That need not have been another worker's claim, and a task that waits is not passed over."""
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        caller, proof = await registered(node)
        made = await node.engine.call("task.create", {"agent": "writer"}, LOCAL_OPERATOR)
        task = {"task_id": made["task_id"]}
        await node.engine.call("task.claim", proof, caller)
        failed = {**proof, **task, "term": 1, "message": "no", "error_type": "timeout"}
        await node.engine.call("task.fail", failed, caller)
        await cluster.passing(2)
        about = {"resource_key": KEY, "holder": proof["agent_id"]}
        mine = await node.engine.call("lock.acquire", about, caller)
        of_mine = {name: mine[name] for name in ("lock_id", "holder", "term")}

        async def change(drafts: Sequence[Draft]) -> None:
            if drafts[-1].type == "task_started":
                node.log.before = None
                about = of_mine if meanwhile == "lock.release" else task
                await node.engine.call(meanwhile, about, LOCAL_OPERATOR)

        node.log.before = change
        asked = {**proof, **(task if named else {}), "resource_key": KEY}
        if meanwhile != "task.cancel":
            claim = await node.engine.call("task.claim", asked, caller)
            assert (claim["task_id"], claim["term"]) == (task["task_id"], 2)
            assert claim["lock"]["term"] == mine["term"] + (meanwhile == "lock.release")
        elif named:
            with pytest.raises(Conflict, match="has ended: cancelled"):
                await node.engine.call("task.claim", asked, caller)
        else:
            assert await node.engine.call("task.claim", asked, caller) is None


async def test_a_claim_and_its_lock_outlive_the_gateway_and_end_together() -> None:
    cluster = Cluster()
    first = cluster.node()
    async with until_killed(first.engine):
        caller, proof = await registered(first)
        order = {"agent": "writer", "user_id": "ann"}
        task = await first.engine.call("task.create", order, Caller("ann", frozenset({"admin"})))
        asked = {**proof, "resource_key": KEY, "lease_ttl": 5}
        claim = await first.engine.call("task.claim", asked, caller)
        await first.engine.parts.watch.save()
    second = cluster.node()
    async with until_killed(second.engine):
        (lock,) = second.state.locks.of_task(task["task_id"])
        assert (lock.lock_id, lock.state) == (claim["lock"]["lock_id"], "held")
        # Nobody renews the lease: it begins afresh once, and ends with its lock.
        await cluster.passing(11)
        assert second.state.tasks[task["task_id"]].holder is None
        assert second.state.locks.by_key[KEY].state == "released"


async def test_a_lock_that_was_left_is_freed_by_the_second_look(here: World) -> None:
    """As a node of another version may leave one: its task ends, and the lock is not given back."""
    worker, task_id = await claimed(here, lease_ttl=600)
    drafts, lock = here.engine.parts.lifecycle._drafts, here.state.locks.by_key[KEY]
    task = here.state.tasks[task_id]
    await here.engine.parts.intake.append([drafts.lease_changed(task, "released", None)])
    assert held(here) == {KEY: worker.agent_id}
    began = here.engine.clock.monotonic()
    await here.until(lambda: not held(here))
    # Not at the first look: the rest of the append that it is in may still be on its way.
    assert 30 <= here.engine.clock.monotonic() - began <= 61
    assert here.state.locks.by_key[KEY].lock_id == lock.lock_id
    # What is held in order is left alone.
    second = await hand(here, agents=[{"name": "writer", "timeout": 1000.0}])
    await second.claim(resource_key=KEY, lease_ttl=600)
    await second.beat_for(100)
    assert held(here) == {KEY: second.agent_id}
    await second.tell("task.complete", result=1)
