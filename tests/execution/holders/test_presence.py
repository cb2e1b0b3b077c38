"""Presence: which workers are heard, what silence means, and when it takes their tasks."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Sequence

import pytest

from gateway.domain.errors import NotFound, StaleTerm
from gateway.ports import Draft
from tests.execution.hands import MISSED_S, OFFLINE_S, TIMEOUT_S, changes, hand, passed, registered
from tests.execution.kept import Cluster, until_killed
from tests.execution.world import World


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


async def test_workers_long_gone_are_dropped_and_may_come_back(here: World) -> None:
    worker = await hand(here)
    await here.passing(OFFLINE_S + 1)
    day_after = here.engine.clock.wall() + 86_400
    here.engine.parts.presence.expire(day_after - 20)
    assert len(here.state.workers) == 1
    here.engine.parts.presence.expire(day_after)
    assert here.state.workers == {}
    with pytest.raises(NotFound):
        await worker.beat()
    await here.call("agent.register", worker.caller, handle="writer", **worker.proof)
    assert worker.status == "healthy"


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
    """It could hear no beat and take no result while it was stopped, and says so of nobody."""
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
