"""One holder at a time, a higher term for the next, and an end that needs no witness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from gateway.domain.access import Caller
from gateway.domain.errors import (
    Conflict,
    LockHeld,
    NotFound,
    NotPermitted,
    RateLimitedRequest,
)
from gateway.domain.lock import view
from gateway.execution.holders import locks
from gateway.ports import Draft
from tests.execution.conftest import OpenWorld
from tests.execution.kept import Cluster, until_killed
from tests.execution.world import World, another_node

ANN = Caller("ann", frozenset({"agent"}))
BOB = Caller("bob", frozenset({"agent"}))


async def acquire(here: World, holder: str = "a", caller: Caller = ANN, **more: Any) -> Any:
    asked = {"resource_key": "file:1", "holder": holder, "ttl": 10.0} | more
    return await here.call("lock.acquire", caller, **asked)


def proof(lock: Any) -> dict[str, Any]:
    return {name: lock[name] for name in ("lock_id", "holder", "term")}


@pytest.mark.requirement("MESH-03")
async def test_a_lock_that_is_held_is_refused_with_its_holder_and_the_time_left(
    here: World,
) -> None:
    first = await acquire(here)
    await here.passing(4)
    with pytest.raises(LockHeld) as held:
        await acquire(here, "b")
    assert held.value.data() == {
        "code": "lock_held",
        "field": "resource_key",
        "holder": "a",
        "retry_after": 6.0,
    }
    assert here.state.locks.by_key["file:1"].lock_id == first["lock_id"]


@pytest.mark.requirement("MESH-02")
async def test_the_holder_that_acquires_again_has_the_same_lock_for_longer(here: World) -> None:
    first = await acquire(here)
    await here.passing(4)
    again = await acquire(here)
    assert (again["lock_id"], again["term"], again["renewed"]) == (first["lock_id"], 1, True)
    assert again["expires_at"] > first["expires_at"]
    await here.passing(9)
    with pytest.raises(LockHeld):
        await acquire(here, "b")


@pytest.mark.requirement("MESH-01", "MESH-02", "MESH-W3")
async def test_a_lock_that_runs_out_is_told_and_the_next_holder_has_a_new_id_and_term(
    here: World,
) -> None:
    first = await acquire(here)
    began = here.engine.clock.wall()
    await here.until(lambda: here.said("lock_expired"))
    assert here.engine.clock.wall() - began == pytest.approx(10.0, abs=0.05)
    (told,) = here.said("lock_expired")
    assert {told[name] for name in ("lock_id", "holder")} == {first["lock_id"], "a"}
    second = await acquire(here, "b", BOB)
    assert second["lock_id"] != first["lock_id"]
    assert (second["term"], second["renewed"]) == (2, False)


@pytest.mark.requirement("MESH-04", "MESH-W10")
async def test_a_lock_that_ran_out_is_not_revived_though_no_timer_came_by(here: World) -> None:
    """As after SIGSTOP: the holder wakes up first."""
    lock = await acquire(here)
    here.stopped_for(10.0)
    with pytest.raises(Conflict) as late:
        await here.call("lock.renew", ANN, **proof(lock))
    assert late.value.code == "lock_expired"


async def test_a_lock_that_ran_out_unseen_is_told_before_the_next_holder_has_it(
    here: World,
) -> None:
    await acquire(here)
    here.stopped_for(10.0)
    second = await acquire(here, "b", BOB)
    assert second["term"] == 2
    assert here.types()[-2:] == ["lock_expired", "lock_changed"]
    await here.passing(5)
    assert len(here.said("lock_expired")) == 1


@pytest.mark.requirement("MESH-04")
async def test_only_its_holder_renews_a_lock(here: World) -> None:
    lock = await acquire(here)
    await here.passing(9)
    renewed = await here.call("lock.renew", ANN, **proof(lock), ttl=20)
    assert (renewed["lock_id"], renewed["term"], renewed["renewed"]) == (lock["lock_id"], 1, True)
    for wrong in ({"holder": "b"}, {"term": 2}):
        for operation in ("lock.renew", "lock.release"):
            with pytest.raises(LockHeld) as held:
                await here.call(operation, ANN, **(proof(lock) | wrong))
            # These do not take the name of the resource.
            assert held.value.field == next(iter(wrong))
    with pytest.raises(NotPermitted):
        await here.call("lock.renew", BOB, **proof(lock))
    with pytest.raises(NotFound):
        await here.call("lock.renew", ANN, **(proof(lock) | {"lock_id": "none"}))
    await here.passing(19)
    with pytest.raises(LockHeld):
        await acquire(here, "b")


@pytest.mark.requirement("MESH-05")
async def test_a_lock_that_was_released_is_free_and_stays_released(here: World) -> None:
    lock = await acquire(here)
    assert (await here.call("lock.release", ANN, **proof(lock)))["state"] == "released"
    assert (await here.call("lock.release", ANN, **proof(lock)))["state"] == "released"
    with pytest.raises(Conflict):
        await here.call("lock.renew", ANN, **proof(lock))
    assert (await acquire(here, "b", BOB))["term"] == 2
    await here.passing(20)
    with pytest.raises(NotFound):
        await here.call("lock.release", ANN, **proof(lock))


@pytest.mark.requirement("MESH-05")
async def test_a_lock_that_expired_stays_expired(here: World) -> None:
    lock = await acquire(here)
    await here.passing(11)
    with pytest.raises(Conflict) as late:
        await here.call("lock.release", ANN, **proof(lock))
    assert late.value.code == "lock_expired"
    assert here.state.locks.by_key["file:1"].state == "expired"


@pytest.mark.requirement("MESH-W15")
async def test_the_name_of_a_holder_belongs_to_the_user_that_uses_it(here: World) -> None:
    lock = await acquire(here)
    with pytest.raises(NotPermitted) as refused:
        await acquire(here, "a", BOB, resource_key="file:2")
    assert refused.value.field == "holder"
    await here.call("lock.release", ANN, **proof(lock))
    assert (await acquire(here, "a", BOB, resource_key="file:2"))["term"] == 1


async def test_nobody_holds_a_lock_under_the_name_of_the_gateway_itself(here: World) -> None:
    """Every ``task.get`` shows it; what it held would be taken for the gateway's."""

    @here.gateway.agent("writer")
    async def write(task: Any) -> None:
        await here.passing(1)

    done = await here.run("writer")
    own = done.attempts[-1].agent_id
    with pytest.raises(NotPermitted) as refused:
        await acquire(here, own)
    assert refused.value.field == "holder"
    assert not here.state.locks.by_key


async def test_a_user_has_a_share_of_the_locks(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "HELD_MAX_USER", 3)
    mine = [await acquire(here, resource_key=f"k{number}") for number in range(3)]
    await acquire(here, resource_key="k0")  # renewed
    for name in ("a", "another"):
        with pytest.raises(RateLimitedRequest, match="3 at the most") as refused:
            await acquire(here, name, resource_key="k3")
        assert refused.value.retry_after
    await acquire(here, "b", BOB, resource_key="k3")
    await here.call("lock.release", ANN, **proof(mine[0]))
    await acquire(here, resource_key="k4")
    await here.passing(20)
    assert here.state.locks.held_by("ann") == 0


async def test_of_two_users_that_take_one_name_at_once_the_first_has_it() -> None:
    """They lock different resources, so that neither append is in the way of the other."""
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        name = {"holder": "a"}

        async def first(drafts: Sequence[Draft]) -> None:
            node.log.before = None
            await node.engine.call("lock.acquire", {"resource_key": "file:1", **name}, ANN)

        node.log.before = first
        with pytest.raises(NotPermitted):
            await node.engine.call("lock.acquire", {"resource_key": "file:2", **name}, BOB)
        held = [lock for lock in node.state.locks.by_key.values() if lock.state == "held"]
        assert [(lock.resource_key, lock.owner) for lock in held] == [("file:1", "ann")]
        again = await node.engine.call("lock.acquire", {"resource_key": "file:2", **name}, ANN)
        assert again["term"] == 2


@pytest.mark.requirement("MESH-03", "MESH-W9")
async def test_of_two_nodes_that_ask_at_once_one_gets_the_lock(open_world: OpenWorld) -> None:
    here = await open_world()
    async with another_node(here) as there:
        for round in range(20):
            key = f"file:{round}"
            await acquire(here, "a", resource_key=key)
            with pytest.raises(LockHeld):
                await acquire(there, "b", resource_key=key)


@pytest.mark.requirement("WEFT-11")
async def test_what_was_written_is_told_though_another_holder_was_quicker_than_the_answer() -> None:
    """On a store that is further away the next entries are read before a writer goes on."""
    cluster = Cluster()
    first, second = cluster.node(), cluster.node()
    asked = {"resource_key": "file:1", "holder": "a", "ttl": 10.0}
    async with until_killed(first.engine), until_killed(second.engine):

        async def pass_on(_: Any) -> None:
            """Another holder has it, before the first hears of its write."""
            first.log.after = None
            (lock,) = second.state.locks.by_key.values()
            if lock.state == "held":
                await second.engine.call("lock.release", proof(view(lock)), ANN)
            await second.engine.call("lock.acquire", asked | {"holder": "b"}, ANN)

        first.log.after = pass_on
        with pytest.raises(Conflict) as lost:
            await first.engine.call("lock.acquire", asked, ANN)
        assert lost.value.code == "lock_expired"
        (lock,) = first.state.locks.by_key.values()
        await first.engine.call("lock.release", proof(view(lock)), ANN)
        lock = await first.engine.call("lock.acquire", asked, ANN)
        first.log.after = pass_on
        with pytest.raises(Conflict) as lost:
            await first.engine.call("lock.renew", proof(lock), ANN)
        assert lost.value.code == "lock_expired"
        (lock,) = first.state.locks.by_key.values()
        await first.engine.call("lock.release", proof(view(lock)), ANN)
        lock = await first.engine.call("lock.acquire", asked, ANN)
        first.log.after = pass_on
        released = await first.engine.call("lock.release", proof(lock), ANN)
        assert (released["lock_id"], released["state"]) == (lock["lock_id"], "released")


async def test_locks_and_their_terms_outlive_the_gateway() -> None:
    cluster = Cluster()
    first = cluster.node()
    asked = {"resource_key": "file:1", "holder": "a", "ttl": 10.0}
    async with until_killed(first.engine):
        await first.engine.call("lock.acquire", asked | {"resource_key": "file:2"}, ANN)
        lock = await first.engine.call("lock.acquire", asked, ANN)
        await first.engine.call("lock.release", proof(lock), ANN)
        lock = await first.engine.call("lock.acquire", asked, ANN)
        assert lock["term"] == 2
    second = cluster.node()
    async with until_killed(second.engine):
        await second.engine.parts.watch.until_ready()
        with pytest.raises(LockHeld):
            await second.engine.call("lock.acquire", asked | {"holder": "b"}, BOB)
        await cluster.passing(11)
        assert second.state.locks.count == 0
        after = await second.engine.call("lock.acquire", asked | {"holder": "b"}, BOB)
        assert after["term"] == 3
