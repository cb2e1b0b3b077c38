"""Leases: renewed, given back, taken away; a higher term for each new holder."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from gateway.domain.access import LOCAL_OPERATOR
from gateway.domain.errors import StaleTerm
from gateway.domain.own_failures import agent_lost
from gateway.ports import Draft
from tests.execution.conftest import OpenWorld
from tests.execution.hands import TIMEOUT_S, hand, registered
from tests.execution.kept import Cluster, until_killed
from tests.execution.world import SlowLog, World


async def test_beats_renew_a_lease_at_a_third_of_it(here: World) -> None:
    """Not each beat is an entry: one in each third of the lease is."""
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim(lease_ttl=9)
    for _ in range(20):
        await here.passing(1)
        await worker.tell("task.heartbeat")
    renewed = here.said("lease_changed", action="renewed")
    assert len(renewed) == 6
    assert all(event["term"] == 1 for event in renewed)
    assert here.said("agent_error") == []
    await worker.tell("task.complete", result=1)


async def test_a_report_renews_as_a_beat_does(here: World) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim(lease_ttl=3)
    for done in range(10):
        await here.passing(1)
        await worker.tell("task.update", progress=done / 10)
    assert here.said("agent_error") == []
    await worker.tell("task.complete", result=1)


@pytest.mark.parametrize("seed", range(5))
async def test_a_lease_that_was_renewed_at_the_last_moment_is_not_taken_away(
    open_world: OpenWorld, seed: int
) -> None:
    """A timer that meets the renewal looks again at when the lease ends."""
    chance = random.Random(seed)
    # A worker that loses so many leases and beats all the while would be quarantined.
    here = await open_world(seed=seed, wrap=lambda log: SlowLog(log, chance), quarantine_below=0)
    worker = await hand(here)
    kept = 0
    for _ in range(40):
        await here.submit("writer", max_attempts=10)
        await worker.claim(lease_ttl=1)
        await here.passing(1 - chance.random() * 0.01)
        try:
            await worker.tell("task.heartbeat", lease_ttl=1)
        except StaleTerm:
            continue
        kept += 1
        await here.passing(0.5)
        await worker.tell("task.complete", result=1)
    assert 0 < kept < 40


async def test_a_release_spends_no_attempt_and_is_no_failure(here: World) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer", max_attempts=1)
    for term in (1, 2, 3):
        assert (await worker.claim())["term"] == term
        await worker.tell("task.release")
        with pytest.raises(StaleTerm):
            await worker.tell("task.complete", result=1)
    assert here.said("agent_error") == []
    await worker.claim()
    await worker.tell("task.complete", result="done")
    assert (await here.done(task_id)).result == "done"


async def test_a_task_that_keeps_losing_its_worker_is_in_the_dead_letters_with_every_error(
    here: World,
) -> None:
    task_id = await here.submit("writer", {"question": "x"}, max_attempts=3)
    seen = []
    for number in range(3):
        worker = await hand(here, session=f"session {number}")
        seen.append((await worker.claim())["input"])
        await here.passing(TIMEOUT_S + 0.1)
    task = await here.done(task_id)
    assert task.status == "dead_lettered"
    assert seen == [{"question": "x"}] * 3
    (letter,) = here.said("task_dead_lettered")
    assert letter["severity"] == "critical"
    assert letter["reason"] == "attempts_exhausted"
    assert [error["attempt"] for error in letter["errors"]] == [1, 2, 3]
    assert {error["error_code"] for error in letter["errors"]} == {"heartbeat_lost"}
    assert len(here.said("task_finished", task_id=task_id)) == 1


async def test_lost_workers_do_not_open_the_breaker(here: World) -> None:
    for number in range(6):
        worker = await hand(here, session=f"session {number}")
        await here.submit("writer", max_attempts=1)
        await worker.claim()
        await here.passing(TIMEOUT_S + 0.1)
    assert len(here.said("agent_error")) == 6
    assert here.said("circuit_breaker_triggered") == []


@pytest.mark.parametrize("seed", range(6))
async def test_whichever_workers_die_each_task_ends_once_and_no_stale_word_is_in_the_log(
    open_world: OpenWorld, seed: int
) -> None:
    """Workers that die, hang, come back and speak too late; the world checks the recording."""
    chance = random.Random(seed)
    here = await open_world(seed=seed, wrap=lambda log: SlowLog(log, chance), retry_base=0.1)

    async def life(number: int) -> None:
        session = f"session {number}" if chance.random() < 0.5 else None
        worker = await hand(here, session=session)
        while not all_ended():
            claim = await worker.claim(wait=chance.choice((0, 1, 5)), lease_ttl=8)
            await worker.beat()
            if claim is None:
                await here.passing(0.5)
                continue
            try:
                for _ in range(chance.randrange(4)):
                    await here.passing(chance.choice((0.1, 1, 6, 9)))
                    await worker.tell("task.update", progress=0.5, text="word ")
                match chance.randrange(8):
                    case 0:
                        await worker.tell("task.fail", message="no", error_type="rate_limit")
                    case 1:
                        await worker.tell("task.release")
                    case 2 if session is not None:
                        await here.engine.session_closed(session)
                        return
                    case 3:
                        return
                    case 4:
                        await here.passing(20)  # it hangs, and then speaks
                        await worker.tell("task.complete", result=number)
                    case _:
                        await worker.tell("task.complete", result=number)
            except StaleTerm:
                continue

    tasks = [await here.submit("writer", timeout=200.0) for _ in range(20)]

    def all_ended() -> bool:
        return not here.state.live

    async def births() -> None:
        for number in range(40):
            if all_ended():
                return
            lives.append(asyncio.create_task(life(number)))
            await here.passing(chance.choice((0, 1, 10)))

    lives: list[asyncio.Task[None]] = []
    await births()
    await here.until(all_ended, within=400)
    await asyncio.gather(*lives)
    ends = [event["task_id"] for event in here.said("task_finished")]
    assert sorted(ends) == sorted(tasks), f"seed {seed}"


# --- the decisions themselves --------------------------------------------------------------------


@pytest.mark.parametrize(("after_s", "renewals"), [(2.99, 0), (3.01, 1), (8.99, 1)])
async def test_a_lease_is_renewed_from_a_third_of_its_length_on(
    here: World, after_s: float, renewals: int
) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim(lease_ttl=9)
    began = here.engine.clock.wall()
    await here.passing(after_s)
    task = await here.engine.parts.leases.renew(worker.claimed["task_id"], 1)
    assert len(here.said("lease_changed", action="renewed")) == renewals
    ends_at = began + 9 + (after_s if renewals else 0)
    assert task.lease_expires_at == pytest.approx(ends_at, abs=0.001)
    await worker.tell("task.complete", result=1)


async def test_a_length_that_a_holder_asks_for_applies_at_once_and_to_this_renewal(
    here: World,
) -> None:
    worker = await hand(here, agents=[{"name": "writer", "timeout": 1000}])
    await here.submit("writer")
    await worker.claim(lease_ttl=9)
    await here.passing(0.1)
    (task,) = here.state.live.values()
    for asked, length_s in (({"lease_ttl": 30}, 30), ({}, 9)):
        await worker.tell("task.heartbeat", **asked)
        assert task.lease_expires_at == pytest.approx(here.engine.clock.wall() + length_s)
        await worker.beat_for(length_s - 1)
    await worker.tell("task.complete", result=1)


async def test_beats_with_a_length_are_an_entry_only_where_they_move_the_end_by_a_third(
    here: World,
) -> None:
    worker = await hand(here, agents=[{"name": "writer", "timeout": 1000}])
    await here.submit("writer")
    await worker.claim(lease_ttl=30)
    for _ in range(100):
        await worker.tell("task.heartbeat", lease_ttl=30)
    assert len(here.said("lease_changed", action="renewed")) <= 1
    # Lengths that go up and down are an entry each, and have to wait for their turn.
    began = here.engine.clock.wall()
    for number in range(40):
        await worker.tell("task.heartbeat", lease_ttl=(10, 60)[number % 2])
    assert here.engine.clock.wall() - began == pytest.approx(4, abs=0.2)
    await worker.tell("task.complete", result=1)


async def test_a_claim_that_is_asked_for_again_and_again_is_one_entry(here: World) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer")
    await worker.claim(task_id=task_id, lease_ttl=30, resource_key="file")
    head = here.engine.log.head
    for _ in range(50):
        await worker.claim(task_id=task_id, lease_ttl=30, resource_key="file")
    assert here.engine.log.head == head
    await worker.tell("task.complete", result=1)


async def test_a_beat_without_a_length_never_shortens_what_another_beat_was_promised() -> None:
    """It is on its way when the other comes, and is decided again after it."""
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        caller, proof = await registered(node)
        await node.engine.call("task.create", {"agent": "writer"}, LOCAL_OPERATOR)
        claim = await node.engine.call("task.claim", {**proof, "lease_ttl": 9}, caller)
        about = {**proof, "task_id": claim["task_id"], "term": claim["term"]}
        await cluster.passing(4)
        promised: list[str] = []

        async def beat(drafts: Sequence[Draft]) -> None:
            if drafts[-1].type != "lease_changed":
                return
            node.log.before = None
            asked = {**about, "lease_ttl": 30}
            answer = await node.engine.call("task.heartbeat", asked, caller)
            promised.append(answer["lease_expires_at"])

        node.log.before = beat
        answer = await node.engine.call("task.heartbeat", about, caller)
        assert [answer["lease_expires_at"]] == promised


async def test_an_attempt_of_this_process_has_no_lease_to_renew(here: World) -> None:
    async with here.gateway.attempt("search") as task:
        term = here.state.tasks[task.task_id].term
        before = len(here.events)
        await here.engine.parts.leases.renew(task.task_id, term, ttl_s=5.0)
        assert len(here.events) == before
        assert here.state.tasks[task.task_id].lease_expires_at is None


async def test_each_new_holder_has_a_higher_term_and_older_terms_change_nothing(
    here: World,
) -> None:
    leases = here.engine.parts.leases
    task_id = await here.submit("writer", max_attempts=10)
    for term in range(1, 5):
        worker = await hand(here)
        assert (await worker.claim())["term"] == term
        before = len(here.events)
        for old in range(term):
            for act in (
                leases.renew(task_id, old, ttl_s=9.0),
                leases.release(task_id, old),
                leases.lose(task_id, old, agent_lost("heartbeat_lost")),
            ):
                with pytest.raises(StaleTerm):
                    await act
        assert len(here.events) == before
        if term < 4:
            await worker.tell("task.release")
    await worker.tell("task.complete", result=1)


async def test_a_lease_that_ends_later_by_now_is_not_lost(here: World) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer")
    await worker.claim(lease_ttl=9)
    task = here.state.tasks[task_id]
    ended_at = task.lease_expires_at
    await here.passing(5)
    await worker.tell("task.heartbeat")
    lost = agent_lost("lease_expired")
    with pytest.raises(StaleTerm, match="renewed"):
        await here.engine.parts.leases.lose(task_id, 1, lost, ends_at=ended_at)
    assert here.said("agent_error") == []
    await here.engine.parts.leases.lose(task_id, 1, lost, ends_at=task.lease_expires_at)
    assert here.said("agent_error")[0]["error_code"] == "lease_expired"
    await here.call("task.cancel", task_id=task_id)
