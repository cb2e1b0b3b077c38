"""Presence: which workers are heard, what silence means, and when it takes their tasks."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Sequence

import pytest

from gateway.domain.errors import NotFound, StaleTerm
from gateway.ports import Draft
from tests.execution.conftest import OpenWorld
from tests.execution.hands import (
    MISSED_S,
    OFFLINE_S,
    TIMEOUT_S,
    changes,
    hand,
    passed,
    registered,
)
from tests.execution.kept import Cluster, until_killed
from tests.execution.world import SlowLog, World, away_world


async def test_silence_makes_a_worker_worse_step_by_step_and_each_at_its_time(here: World) -> None:
    worker = await hand(here)
    (registered,) = here.said("agent_registered")
    for limit_s, before, after in (
        (MISSED_S, "healthy", "suspect"),
        (TIMEOUT_S, "suspect", "unhealthy"),
        (OFFLINE_S, "unhealthy", "offline"),
    ):
        now = here.engine.clock.monotonic()
        await here.passing(limit_s - 0.01 - now)
        assert worker.status == before
        await here.passing(0.02)
        assert worker.status == after
    told = here.said("agent_status_changed")
    assert [round(passed(event, registered), 1) for event in told] == [3.3, 5.0, 15.0]
    assert [event["severity"] for event in told] == ["warning", "error", "error"]
    assert len({event["error_id"] for event in told}) == 1
    await here.passing(1000)
    assert len(here.said("agent_status_changed")) == 3


@pytest.mark.parametrize("silent_s", [MISSED_S + 0.1, TIMEOUT_S + 0.1, OFFLINE_S + 0.1])
async def test_the_next_beat_makes_a_worker_well_again_and_ends_its_failure(
    here: World, silent_s: float
) -> None:
    worker = await hand(here)
    await here.passing(silent_s)
    assert worker.status != "healthy"
    assert (await worker.beat())["status"] == "healthy"
    (recovered,) = here.said("system_recovered", scope="agent")
    assert recovered["error_id"] == here.said("agent_status_changed")[0]["error_id"]
    assert changes(here, worker)[-1] == ("healthy", "heartbeat")
    await worker.beat_for(30)
    assert worker.status == "healthy"
    # And it is watched as before.
    await here.passing(OFFLINE_S + 0.1)
    assert changes(here, worker)[-1] == ("offline", "heartbeat_lost")


async def test_beats_in_time_change_nothing_and_are_not_in_the_log(here: World) -> None:
    worker = await hand(here)
    await worker.beat_for(60, every=MISSED_S - 0.05)
    assert here.types() == ["agent_registered"]


@pytest.mark.parametrize("busy", ["idle", "busy", "draining"])
async def test_no_last_word_keeps_a_silent_worker_well(here: World, busy: str) -> None:
    worker = await hand(here)
    await worker.beat(status=busy)
    await here.passing(OFFLINE_S + 0.1)
    assert worker.status == "offline"


async def test_a_lost_connection_makes_a_worker_suspect_at_once_and_its_silence_unhealthy(
    here: World,
) -> None:
    worker = await hand(here, session="one")
    await here.engine.session_closed("another")
    assert changes(here, worker) == []
    await here.engine.session_closed("one")
    assert changes(here, worker) == [("suspect", "connection_lost")]
    await here.passing(TIMEOUT_S - 0.1)
    assert worker.status == "suspect"
    await here.passing(0.2)
    assert worker.status == "unhealthy"


async def test_a_worker_that_comes_back_by_another_connection_is_well(here: World) -> None:
    worker = await hand(here, session="one")
    await here.engine.session_closed("one")
    worker.caller = dataclasses.replace(worker.caller, session_id="two")
    await worker.beat()
    assert worker.status == "healthy"
    # The end of the first connection, told once more, is not the second one's.
    await here.engine.session_closed("one")
    assert worker.status == "healthy"


async def test_registering_again_is_the_same_worker_and_has_one_watch(here: World) -> None:
    worker = await hand(here)
    for _ in range(3):
        await here.passing(1)
        await here.call("agent.register", worker.caller, handle="writer", **worker.proof)
    await here.passing(OFFLINE_S + 1)
    assert [status for status, _ in changes(here, worker)] == ["suspect", "unhealthy", "offline"]
    await here.call("agent.register", worker.caller, handle="writer", **worker.proof)
    assert changes(here, worker)[-1] == ("healthy", "registered")
    assert len(here.state.workers) == 1
    await here.passing(MISSED_S + 0.1)
    assert worker.status == "suspect"


async def test_workers_long_gone_are_dropped_and_come_back_under_another_id(here: World) -> None:
    worker = await hand(here)
    await here.passing(OFFLINE_S + 1)
    day_after = here.engine.clock.wall() + 86_400
    here.engine.parts.presence.expire(day_after - 20)
    assert len(here.state.workers) == 1
    here.engine.parts.presence.expire(day_after)
    assert len(here.state.workers) == 0
    with pytest.raises(NotFound):
        await worker.beat()
    again = await here.call("agent.register", worker.caller, handle="writer", **worker.proof)
    assert again["agent_id"] != worker.agent_id
    assert again["agent_secret"] == worker.secret


@pytest.mark.requirement("WEFT-W8")
async def test_a_worker_that_is_heard_is_kept_however_long_ago_it_registered(
    open_world: OpenWorld,
) -> None:
    """Its age counts from when it was last heard: one that fell silent goes a day after that."""
    here = await open_world(heartbeat_timeout=3_600, offline_after=7_200)
    heard, silent = await hand(here, "writer"), await hand(here, "reader")
    began = here.engine.clock.wall()
    for _ in range(5):
        await here.passing(1_800)
        await heard.beat()
    assert (heard.status, silent.status) == ("healthy", "offline")
    presence = here.engine.parts.presence
    presence.expire(began + 86_400 + 60)
    assert silent.status == "offline", "it was offline two hours after it registered"
    presence.expire(began + 30 * 86_400)
    assert [worker.agent_id for worker in here.state.workers.values()] == [heard.agent_id]
    await here.submit("writer")
    assert (await heard.claim())["agent_id"] == heard.agent_id
    await heard.tell("task.complete", result=1)
    with pytest.raises(NotFound):
        await silent.beat()


async def test_a_socket_worker_loses_its_tasks_when_unhealthy_an_http_worker_when_each_lease_ends(
    here: World,
) -> None:
    by_socket = await hand(here, "socketed", session="one")
    by_http = await hand(here, "posting")
    for name, worker in (("socketed", by_socket), ("posting", by_http)):
        await here.submit(name)
        await worker.claim(lease_ttl=20)
    await here.passing(TIMEOUT_S - 0.1)
    assert here.said("agent_error") == []
    await here.passing(0.2)
    (error,) = here.said("agent_error")
    assert (error["agent_id"], error["error_code"]) == (by_socket.agent_id, "heartbeat_lost")
    await here.passing(20 - TIMEOUT_S)
    codes = {event["agent_id"]: event["error_code"] for event in here.said("agent_error")}
    assert codes == {by_socket.agent_id: "heartbeat_lost", by_http.agent_id: "lease_expired"}
    for worker in (by_socket, by_http):
        with pytest.raises(StaleTerm):
            await worker.tell("task.update", progress=0.5)
        await here.call("task.cancel", task_id=worker.claimed["task_id"])


async def test_a_gateway_that_did_not_run_blames_no_worker(here: World) -> None:
    """It could hear no beat and take no result while it was stopped."""
    by_socket = await hand(here, "socketed", session="one")
    by_http = await hand(here, "posting", agents=[{"name": "posting", "timeout": 100}])
    for name, worker in (("socketed", by_socket), ("posting", by_http)):
        await here.submit(name)
        await worker.claim(lease_ttl=20)
    await here.passing(1)
    here.stopped_for(25)
    await here.passing(0.3)
    assert here.said("agent_error", "agent_status_changed") == []
    assert (await by_socket.tell("task.complete", result=1))["status"] == "succeeded"
    # Only one fresh lease, and only one timeout.
    await here.passing(TIMEOUT_S + 0.1)
    assert changes(here, by_http)[-1] == ("unhealthy", "heartbeat_lost")
    await here.passing(20 - TIMEOUT_S + 0.5)
    (error,) = here.said("agent_error")
    assert (error["agent_id"], error["error_code"]) == (by_http.agent_id, "lease_expired")
    await here.call("task.cancel", task_id=by_http.claimed["task_id"])


async def test_every_task_of_a_lost_worker_is_noticed_to_fail_when_the_loss_is(
    open_world: OpenWorld,
) -> None:
    """They are taken away one after the other; the owner of the last has waited as long."""
    here = await open_world(wrap=lambda log: SlowLog(log, random.Random(1)))
    worker = await hand(here, "socketed", session="one")
    for _ in range(20):
        await here.submit("socketed", max_attempts=1)
        await worker.claim()
    await here.passing(TIMEOUT_S)
    await here.until(lambda: here.said("agent_error"))
    noticed = here.engine.meters._detected.values()
    assert (len(noticed), len(set(noticed))) == (20, 1)
    assert len(here.said("agent_error")) < 20
    await here.passing(60)


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_taken_from_the_worker_that_has_taken_over(seed: int) -> None:
    """Two nodes take the tasks of one that is lost, while another worker takes them on."""
    cluster = Cluster()
    first, second = cluster.node(), cluster.node()
    chance = random.Random(seed)

    async def far_away(drafts: Sequence[Draft]) -> None:
        await cluster.passing(chance.choice((0.002, 0.004, 0.02)))

    first.log.before = second.log.before = far_away
    async with until_killed(first.engine), until_killed(second.engine):
        lost, lost_proof = await registered(first, "lost")
        for _ in range(30):
            await first.gateway.submit("writer", timeout=3000.0)
            assert await first.engine.call("task.claim", lost_proof, lost)
        for node in (first, second):
            node.engine.parts.presence.heard_elsewhere(lost_proof["agent_id"])
        heir, heir_proof = await registered(first, "heir")

        async def beats() -> None:
            while True:
                await cluster.passing(1)
                await first.engine.call("agent.heartbeat", heir_proof, heir)
                second.engine.parts.presence.heard_elsewhere(heir_proof["agent_id"])

        async def claims() -> None:
            while True:
                await first.engine.call("task.claim", {**heir_proof, "wait": 20}, heir)

        jobs = [asyncio.ensure_future(job) for job in (beats(), claims(), claims(), claims())]
        await cluster.passing(12)
        for job in jobs:
            job.cancel()
        blamed = {event["agent_id"] for event in cluster.said("agent_error")}
        assert blamed == {lost_proof["agent_id"]}


# --- connections ---------------------------------------------------------------------------------


async def test_a_worker_whose_connection_closed_while_it_registered_is_suspect(
    open_world: OpenWorld,
) -> None:
    """The end of the connection may come before the answer of the store."""
    here = await open_world(wrap=lambda log: SlowLog(log, random.Random(3)))
    registering = asyncio.create_task(hand(here, session="one"))
    await here.passing(0)
    await here.engine.session_closed("one")
    worker = await registering
    assert changes(here, worker) == [("suspect", "connection_lost")]
    assert await worker.claim() is None


async def test_a_late_call_over_a_closed_connection_is_a_sign_of_life_and_no_connection(
    here: World,
) -> None:
    worker = await hand(here, session="one")
    await here.engine.session_closed("one")
    await here.passing(1)
    await worker.beat()
    assert worker.status == "suspect"
    await here.passing(TIMEOUT_S - 0.1)
    assert worker.status == "suspect"
    await here.passing(0.2)
    assert worker.status == "unhealthy"


@pytest.mark.parametrize(("after_s", "remembered"), [(9.9, True), (10.1, False)])
async def test_a_closed_connection_is_remembered_for_ten_seconds(
    here: World, after_s: float, remembered: bool
) -> None:
    """Then no call that came over it is under way, and memory does not grow."""
    presence = here.engine.parts.presence
    await here.engine.session_closed("one")
    await here.passing(after_s)
    await here.engine.session_closed("two")
    assert list(presence._closed) == (["one", "two"] if remembered else ["two"])


# --- what other nodes hear -----------------------------------------------------------------------


async def test_a_worker_that_another_node_hears_stays_well_here(here: World) -> None:
    worker = await hand(here, session="one")
    await here.engine.session_closed("one")
    for _ in range(10):
        await here.passing(2)
        here.engine.parts.presence.heard_elsewhere(worker.agent_id)
    # Only the node that it is connected to tells that it is well.
    assert changes(here, worker) == [("suspect", "connection_lost")]
    assert here.engine.parts.presence.beats(worker.agent_id)


async def test_what_another_node_hears_of_an_unknown_worker_is_ignored(here: World) -> None:
    presence = here.engine.parts.presence
    presence.heard_elsewhere("unknown")
    assert presence.of("unknown") is None
    assert presence.beat_at("unknown") is None
    assert not presence.beats("unknown")


async def test_the_other_nodes_are_told_once_of_each_worker_that_was_heard_or_is_to_leave(
    here: World,
) -> None:
    presence = here.engine.parts.presence
    workers = [await hand(here), await hand(here)]
    for worker in workers:
        await worker.beat()
        await worker.beat()
    ids = [worker.agent_id for worker in workers]
    assert presence.take_heard() == sorted(ids)
    assert presence.take_heard() == []
    await here.call("agent.shutdown", agent_id=ids[0], grace=3)
    presence.ask_to_leave(ids[1], 4.0, tell=False)
    assert presence.take_asked() == {ids[0]: 3}
    assert presence.take_asked() == {}


# --- after a start -------------------------------------------------------------------------------


async def test_a_worker_that_is_not_heard_after_a_start_is_lost_when_its_silence_is_too_long() -> (
    None
):
    cluster = Cluster()
    first = cluster.node()
    async with until_killed(first.engine):
        _, proof = await registered(first, "s")
    second = cluster.node()
    async with until_killed(second.engine):
        began = cluster.clock.monotonic()
        statuses: list[str] = []
        while not statuses or statuses[-1] != "offline":
            await cluster.passing(0.1)
            statuses.append(second.state.workers[proof["agent_id"]].status)
        took_s = cluster.clock.monotonic() - began
    assert list(dict.fromkeys(statuses)) == ["healthy", "unhealthy", "offline"]
    assert took_s == pytest.approx(OFFLINE_S, abs=0.2)


async def test_a_worker_on_http_that_is_heard_after_a_start_is_well() -> None:
    cluster = Cluster()
    first = cluster.node()
    async with until_killed(first.engine):
        caller, proof = await registered(first)
    second = cluster.node()
    async with until_killed(second.engine):
        for _ in range(10):
            await second.engine.call("agent.heartbeat", proof, caller)
            await cluster.passing(2)
    assert cluster.said("agent_status_changed") == []


# --- when the store does not answer --------------------------------------------------------------


async def test_a_silence_that_becomes_too_long_while_the_store_is_away_is_told_afterwards(
    open_world: OpenWorld,
) -> None:
    here, log = await away_world(open_world)
    worker = await hand(here, session="one")
    log.away = True
    await here.passing(TIMEOUT_S + 1)
    assert changes(here, worker) == []
    log.away = False
    await here.passing(1)
    # The absence is forgiven: nothing could be heard, and the silence begins anew.
    assert changes(here, worker) == []
    await here.passing(TIMEOUT_S)
    assert [status for status, _ in changes(here, worker)] == ["suspect", "unhealthy"]
