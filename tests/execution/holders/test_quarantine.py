"""Quarantine: a worker that does its tasks badly is warned of, gets nothing, and comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.domain.access import LOCAL_OPERATOR
from gateway.domain.errors import Rejected, StaleTerm
from tests.execution.conftest import OpenWorld
from tests.execution.hands import Hand, changes, ends, hand, passed, registered, slow
from tests.execution.kept import Cluster, SharedPulse, until_killed
from tests.execution.world import World

LIMIT_S = 2.0
# After its limit an attempt that nobody reports is taken away.
OVER_S = LIMIT_S + 0.6
AGENTS = [{"name": "writer", "timeout": LIMIT_S, "max_attempts": 20}]


async def score(here: World, worker: Hand) -> float:
    shown: float = (await here.call("agent.get", agent_id=worker.agent_id))["health_score"]
    return shown


async def miss(worker: Hand) -> None:
    """Claim a task and do nothing about it but beat."""
    assert await worker.claim(wait=30)
    for _ in range(4):
        await worker.here.passing(OVER_S / 4)
        await worker.beat()


async def liar_of(here: World, *, misses: int = 4, tasks: int = 1) -> tuple[Hand, list[str]]:
    """A worker that has missed so many of its tasks, and the tasks that wait."""
    liar = await hand(here, agents=AGENTS)
    ids = [await here.submit("writer", timeout=3000) for _ in range(tasks)]
    for _ in range(misses):
        await miss(liar)
    return liar, ids


async def finished_by(other: Hand, ids: list[str]) -> None:
    for _ in ids:
        await other.claim(wait=30)
        await other.tell("task.complete", result="done")


async def quarantined(worker: Hand) -> None:
    """Let time pass until it is, with beats."""
    while worker.status != "quarantined":
        await worker.here.passing(0.5)
        await worker.beat()


@pytest.mark.requirement("FLUX-03", "FLUX-W5")
async def test_a_worker_that_beats_and_finishes_nothing_is_warned_of_then_gets_nothing(
    here: World,
) -> None:
    await proof_of_quarantine(here)


@pytest.mark.requirement("FLUX-W20")
async def test_the_proof_of_quarantine_fails_when_that_is_switched_off(
    open_world: OpenWorld,
) -> None:
    with pytest.raises(AssertionError, match="quarantined"):
        await proof_of_quarantine(await open_world(quarantine_below=0, complete=False))


async def proof_of_quarantine(here: World) -> None:
    liar = await hand(here, agents=AGENTS)
    ids = [await here.submit("writer", timeout=3000) for _ in range(3)]
    scores = [await score(here, liar)]
    for _ in range(4):
        await miss(liar)
        scores.append(await score(here, liar))
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)
    assert scores[0] == 1.0
    assert scores[-1] < 0.3
    assert changes(here, liar) == [("suspect", "health"), ("quarantined", "health")]
    warned, told = here.said("agent_status_changed")
    assert 0.3 <= warned["health_score"] < 0.5
    assert told["health_score"] < 0.3
    assert warned["error_id"] == told["error_id"]
    assert told["user_message"] == "The agent gets no new work until it is well again."
    figures = here.engine.figures()
    assert figures is not None
    assert figures.health["writer"] == pytest.approx(scores[-1], abs=0.001)
    # Tasks wait, and it gets none: neither the next nor one that it names.
    assert await liar.claim(wait=5) is None
    with pytest.raises(Rejected) as refused:
        await liar.claim(task_id=ids[-1])
    assert refused.value.code == "quarantined"
    assert refused.value.retry_after is not None
    assert (await liar.beat())["status"] == "quarantined"
    listed = await here.call("agent.list", status="quarantined")
    assert [worker["agent_id"] for worker in listed["items"]] == [liar.agent_id]
    assert (await here.call("task.create", agent="writer"))["warning"] == "no_worker"
    await finished_by(await hand(here, agents=AGENTS), [*ids, "and the last"])


@pytest.mark.requirement("FLUX-03")
async def test_what_a_quarantined_worker_holds_goes_back_under_a_higher_term(here: World) -> None:
    liar, ids = await liar_of(here, misses=0, tasks=6)
    claims = []
    for _ in ids:
        claims.append(await liar.claim())
        await here.passing(0.2)
    await quarantined(liar)
    released = here.said("lease_changed", action="released")
    assert {event["agent_id"] for event in released} == {liar.agent_id}
    back = {event["task_id"] for event in released}
    assert len(back) == 2
    # It is no failure and spends no attempt.
    assert not back & {event["task_id"] for event in here.said("agent_error")}
    assert all(here.state.tasks[task_id].status == "pending" for task_id in back)
    for liar.claimed in claims:
        with pytest.raises(StaleTerm):
            await liar.tell("task.complete", result="late")
    other = await hand(here, agents=AGENTS)
    await finished_by(other, ids)
    told = {event["task_id"]: event for event in here.said("task_reassigned", reason="quarantined")}
    assert told.keys() == back
    for event in told.values():
        assert event["previous_agent_id"] == liar.agent_id
        assert event["new_agent_id"] == other.agent_id
        assert (event["errors"], event["error_id"]) == ([], None)
    for task_id in back:
        task = here.state.tasks[task_id]
        assert (task.term, task.status, task.tries_left) == (2, "succeeded", 19)


@pytest.mark.requirement("FLUX-04")
async def test_time_releases_a_worker_which_gets_one_task_at_a_time_until_it_succeeds(
    here: World,
) -> None:
    worker, ids = await liar_of(here, tasks=4)
    (told,) = here.said("agent_status_changed", status="quarantined")
    while (await worker.beat())["status"] == "quarantined":
        assert await worker.claim() is None
        await here.passing(0.5)
    (well,) = here.said("agent_status_changed", status="healthy")
    # From 0.25 to 0.5 it takes less than one half-life.
    assert passed(well, told) == pytest.approx(told["estimated_recovery_time"], abs=0.1)
    assert passed(well, told) < 30
    assert well["health_score"] == pytest.approx(0.5, abs=0.001)
    (recovered,) = here.said("system_recovered", scope="agent")
    assert recovered["error_id"] == told["error_id"]
    first = await worker.claim(wait=10)
    assert await worker.claim(wait=0.5) is None
    with pytest.raises(Rejected, match="one at a time"):
        await worker.claim(task_id=next(id for id in ids if id != first["task_id"]))
    worker.claimed = first
    await worker.tell("task.complete", result="done")
    claims = [await worker.claim(wait=10) for _ in range(3)]
    assert all(claims)
    for worker.claimed in claims:
        await worker.tell("task.complete", result="done")
    assert await score(here, worker) > 0.9
    assert worker.status == "healthy"


async def test_a_waiting_claim_gets_a_task_when_its_worker_is_released(here: World) -> None:
    worker, _ = await liar_of(here)
    assert worker.status == "quarantined"
    claiming = asyncio.create_task(worker.claim(wait=30))
    while not claiming.done():
        await worker.beat_for(0.5, every=0.5)
    assert await claiming
    assert worker.status == "healthy"
    await worker.tell("task.complete", result="done")


async def test_a_worker_that_lies_on_is_quarantined_again_and_for_longer_each_time(
    here: World,
) -> None:
    liar, _ = await liar_of(here)
    while len(here.said("agent_status_changed", status="quarantined")) < 4:
        if await liar.claim(wait=5):
            for _ in range(4):
                await here.passing(OVER_S / 4)
                await liar.beat()
    given = len(here.said("task_started", agent_id=liar.agent_id))
    assert given == 4 + 3 * 2  # two misses on trial are enough
    await finished_by(await hand(here, agents=AGENTS), ["the one"])


@pytest.mark.parametrize(
    ("reported", "status"),
    [
        ({"error_type": "timeout", "error_code": "llm_timeout"}, "healthy"),
        ({"error_type": "rate_limit"}, "healthy"),
        ({"error_type": "agent_lost", "error_code": "process_lost"}, "healthy"),
        ({"error_type": "invalid_input"}, "healthy"),
        ({"error_type": "content_refused"}, "healthy"),
    ],
)
async def test_a_worker_that_reports_its_failures_is_never_quarantined_for_them(
    open_world: OpenWorld, reported: dict[str, Any], status: str
) -> None:
    here = await open_world(breaker_threshold=1000, retry_base=0.01)
    worker = await hand(here, agents=AGENTS)
    for _ in range(12):
        await here.submit("writer", max_attempts=1)
        await worker.claim(wait=30)
        await worker.tell("task.fail", message="no", **reported)
    now = await score(here, worker)
    counts = reported["error_type"] not in ("invalid_input", "content_refused")
    assert now == pytest.approx(0.5 if counts else 1.0, abs=0.01)
    assert changes(here, worker) == []


async def test_a_limit_that_the_worker_reports_itself_is_missed_as_well(
    open_world: OpenWorld,
) -> None:
    here = await open_world(retry_base=0.01)
    worker = await hand(here, agents=AGENTS)
    await here.submit("writer", timeout=3000, max_attempts=20)
    for _ in range(4):
        await worker.claim(wait=30)
        await here.passing(LIMIT_S)
        await worker.tell("task.fail", message="slow", error_type="timeout")
    await here.passing(0.01)
    assert worker.status == "quarantined"
    await finished_by(await hand(here, agents=AGENTS), ["the one"])


@pytest.mark.parametrize("told", [{"text": "a"}, {"progress": 0.1}, {"step": "s", "data": 1}])
async def test_a_worker_whose_tasks_move_is_slow_and_no_liar(
    here: World, told: dict[str, Any]
) -> None:
    worker = await hand(here, agents=AGENTS)
    for _ in range(8):
        await here.submit("writer", max_attempts=1)
        await worker.claim(wait=30)
        await worker.tell("task.update", **told)
        for _ in range(4):
            await here.passing(OVER_S / 4)
            await worker.beat()
    assert changes(here, worker) == []
    assert len(here.said("agent_error", agent_id=worker.agent_id)) == 8


async def test_to_say_that_it_runs_is_no_progress(here: World) -> None:
    liar = await hand(here, agents=AGENTS)
    await here.submit("writer", timeout=3000)
    for _ in range(4):
        await liar.claim(wait=30)
        await liar.tell("task.update", progress=0, step="running")
        for _ in range(4):
            await here.passing(OVER_S / 4)
            await liar.beat()
    assert liar.status == "quarantined"
    await finished_by(await hand(here, agents=AGENTS), ["the one"])


async def test_a_lost_connection_with_many_tasks_is_no_lie(here: World) -> None:
    """What was held may have moved, and nobody heard it: back again it works on at once."""
    worker = await hand(here, session="one")
    ids = [await here.submit("writer") for _ in range(8)]
    for _ in ids:
        await worker.claim()
    await here.passing(6)
    assert len(here.said("agent_error", error_code="heartbeat_lost")) == 8
    await worker.beat()
    assert worker.status == "healthy"
    assert await score(here, worker) >= 0.5
    await finished_by(worker, ids)


async def test_what_a_worker_says_of_itself_is_part_of_its_score(here: World) -> None:
    worker, _ = await liar_of(here, misses=1)
    assert worker.status == "healthy"
    assert await score(here, worker) == pytest.approx(0.6, abs=0.01)
    await worker.beat(health=0)
    assert await score(here, worker) == pytest.approx(0.4, abs=0.01)
    assert changes(here, worker) == [("suspect", "health")]
    await worker.beat(health=1)
    assert changes(here, worker)[-1] == ("healthy", "health")
    await finished_by(worker, ["the one"])


async def test_a_quarantined_worker_that_goes_away_and_comes_back_is_still_quarantined(
    here: World,
) -> None:
    liar, _ = await liar_of(here)
    await here.passing(15.1)
    assert liar.status == "offline"
    await liar.beat()
    assert changes(here, liar)[-1] == ("quarantined", "health")
    assert await liar.claim() is None
    await here.call("agent.register", liar.caller, handle="writer", agents=AGENTS, **liar.proof)
    assert liar.status == "quarantined"
    await liar.beat_for(12)
    assert liar.status == "healthy"
    await finished_by(liar, ["the one"])


async def test_a_worker_that_beats_too_seldom_is_warned_of_for_its_health_as_well(
    open_world: OpenWorld,
) -> None:
    """It is suspect already, for its silence; what it is suspect for now is another thing."""
    here = await open_world(retry_base=0.01, retry_max=0.01)
    liar = await hand(here, agents=[{"name": "writer", "timeout": 3.0, "max_attempts": 20}])
    await here.submit("writer", timeout=3000)
    for _ in range(6):
        await liar.claim()
        await here.passing(4)
    told = changes(here, liar)
    warned = told.index(("suspect", "health"))
    assert told[warned - 1] == ("suspect", "heartbeat_missed")
    assert told[warned:].count(("suspect", "health")) == 1
    assert ("quarantined", "health") in told[warned:]
    (event,) = here.said("agent_status_changed", status="suspect", reason="health")
    assert event["previous_status"] == "suspect"
    assert event["error_code"] == "stalled"
    await finished_by(await hand(here, agents=AGENTS), ["the one"])


async def test_a_switched_off_quarantine_lets_a_worker_lie_on(open_world: OpenWorld) -> None:
    here = await open_world(quarantine_below=0)
    liar, _ = await liar_of(here, misses=6)
    assert {status for status, _ in changes(here, liar)} == {"suspect"}
    await liar.claim(wait=30)
    await liar.tell("task.complete", result="at last")


async def test_a_process_of_the_gateway_is_judged_and_not_quarantined() -> None:
    """Its agents may have nobody else."""
    cluster = Cluster(breaker_threshold=1000, heartbeat_timeout=300, offline_after=900)
    node = cluster.node(slow(cluster, seconds=60, timeout=1.0), pulse=SharedPulse())
    async with until_killed(node.engine):
        for _ in range(6):
            about = {"agent": "slow", "max_attempts": 1}
            await node.engine.call("task.create", about, LOCAL_OPERATOR)
            await cluster.passing(2)
        assert len(ends(cluster)) == 6
        (listed,) = (await node.engine.call("agent.list", {}, LOCAL_OPERATOR))["items"]
        assert listed["health_score"] < 0.3
        assert (listed["handle"], listed["status"]) == ("gateway", "healthy")


# --- several nodes ------------------------------------------------------------------------------


async def test_what_a_worker_says_to_one_node_the_others_know() -> None:
    cluster = Cluster()
    pulse = SharedPulse()
    one, two = cluster.node(pulse=pulse), cluster.node(pulse=pulse)
    async with until_killed(one.engine), until_killed(two.engine):
        caller, proof = await registered(one)
        await one.engine.call("agent.heartbeat", {**proof, "health": 0.5}, caller)
        await cluster.passing(2)
        about = {"agent_id": proof["agent_id"]}
        for node in (one, two):
            assert (await node.engine.call("agent.get", about, caller))["health_score"] == 0.9


async def test_a_node_that_begins_takes_back_what_a_quarantined_worker_holds_and_releases_it() -> (
    None
):
    """The node that quarantined it was killed before it could."""
    cluster = Cluster()
    first = cluster.node()
    async with until_killed(first.engine):
        caller, proof = await registered(first)
        for _ in range(2):
            await first.engine.call("task.create", {"agent": "writer", "timeout": 5000}, caller)
            claim = await first.engine.call("task.claim", proof, caller)
        worker = first.state.workers[proof["agent_id"]]
        drafts, expected = first.engine.parts.presence._changed(worker, "quarantined", "health")
        first.engine.parts.monitor.clear()
        await first.engine.parts.intake.append(drafts, expected=expected)
        first.engine.parts.monitor.clear()
        assert claim["task_id"] in first.state.live
    second = cluster.node()
    async with until_killed(second.engine):
        await cluster.passing(1)
        assert second.state.held_by(proof["agent_id"]) == []
        assert len(cluster.said("lease_changed", action="released")) == 2
        await second.engine.call("agent.heartbeat", proof, caller)
        assert second.state.workers[proof["agent_id"]].status == "healthy"
