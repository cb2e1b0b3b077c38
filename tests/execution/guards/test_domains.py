"""Failure domains: the one that fails is slowed down alone, and let go by results of probes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.domain.access import Caller
from gateway.domain.errors import Conflict, NotFound, StoreUnavailable
from gateway.domain.failure_domain import FailureDomain
from gateway.domain.timestamps import seconds_of
from gateway.ports import Draft
from tests.execution.conftest import OpenWorld
from tests.execution.hands import SCOPES, Hand, hand
from tests.execution.kept import Cluster, Node, until_killed
from tests.execution.world import World, another_node, away_world

COOLDOWN_S = 20.0
# Only domains act here; nobody has to beat.
SETTINGS: dict[str, Any] = {
    "breaker_threshold": 1000,
    "breaker_rate": 1.0,
    "breaker_cooldown": COOLDOWN_S,
    "heartbeat_timeout": 10_000.0,
    "offline_after": 20_000.0,
    "queue_timeout": 10_000.0,
    "lease_ttl": 10_000.0,
    "task_timeout": 10_000.0,
}
WAIT_S = 30
CALLER = Caller("w", SCOPES)
SOMEBODY = Caller("ann", frozenset({"events:read"}))


@pytest.fixture
async def here(open_world: OpenWorld) -> World:
    return await open_world(**SETTINGS)


def known(here: World, name: str = "bad") -> FailureDomain:
    return here.state.domains[name]


async def asked(here: World, tasks: int = 1, **options: Any) -> list[str]:
    return [await here.submit("writer", max_attempts=1, **options) for _ in range(tasks)]


async def fail(worker: Hand, times: int = 1) -> None:
    """Claim tasks and report that they failed."""
    for _ in range(times):
        await asked(worker.here)
        assert await worker.claim(wait=WAIT_S)
        await worker.tell("task.fail", message="no", error_type="service_unavailable")


async def succeed(worker: Hand, times: int = 1) -> None:
    """Claim tasks and complete them."""
    for _ in range(times):
        await asked(worker.here)
        assert await worker.claim(wait=WAIT_S)
        await worker.tell("task.complete", result=1)


async def slowed(here: World, **about: Any) -> Hand:
    """A worker of a domain that is slowed down."""
    worker = await hand(here, domain="bad", **about)
    await fail(worker, 10)
    await here.until(lambda: known(here).state == "open")
    return worker


def starts(here: World, since: int) -> list[float]:
    """When the attempts began after an offset, in seconds since the first."""
    begun = [event for event in here.said("task_started") if event["offset"] > since]
    times = [seconds_of(event["timestamp"]) for event in begun]
    return [round(at - times[0], 2) for at in times]


# --- slowed down -----------------------------------------------------------------------------


@pytest.mark.requirement("FLUX-05")
async def test_a_domain_that_fails_too_often_is_slowed_down_alone(here: World) -> None:
    await proof_that_one_is_slowed_down(here)


@pytest.mark.requirement("FLUX-W20")
async def test_the_proof_fails_when_no_rate_is_too_high(open_world: OpenWorld) -> None:
    with pytest.raises(AssertionError, match="does not come to hold"):
        await proof_that_one_is_slowed_down(await open_world(**SETTINGS, domain_rate=1.0))


async def proof_that_one_is_slowed_down(here: World) -> None:
    good, nowhere = await hand(here, domain="good"), await hand(here)
    bad = await slowed(here)
    (told,) = here.said("circuit_breaker_triggered")
    assert (told["scope"], told["breaker"], told["domain"]) == ("domain", "bad", "bad")
    assert (told["user_id"], told["agent_name"], told["severity"]) == ("*", None, "error")
    assert (told["failure_rate"], told["failure_threshold_reached"]) == (1.0, 10)
    assert (told["cooldown_period"], told["breaker_version"]) == (COOLDOWN_S, 1)
    assert told["error_id"] in here.state.failures
    await asked(here, 10)
    assert await bad.claim() is None
    for _ in range(4):
        for worker in (good, nowhere):
            assert await worker.claim()
            await worker.tell("task.complete", result=1)
    assert await bad.claim() is None
    # Its turn comes, once in a second, without anybody asking again.
    since = here.engine.log.head
    for _ in range(2):
        assert await bad.claim(wait=WAIT_S)
        await bad.tell("task.complete", result=1)
    assert starts(here, since) == [0.0, 1.0]
    assert len(here.said("circuit_breaker_triggered")) == 1


async def test_all_workers_of_a_domain_share_its_seconds_the_longest_waiting_first(
    here: World,
) -> None:
    workers = [await slowed(here), *[await hand(here, domain="bad") for _ in range(3)]]
    since = here.engine.log.head
    claims = [asyncio.create_task(worker.claim(wait=WAIT_S)) for worker in workers]
    await asked(here, 4)
    looks = here.engine.parts.claims.looks
    await here.passing(0.5)
    assert not any(claim.done() for claim in claims)
    # Nobody has asked again and again meanwhile.
    assert here.engine.parts.claims.looks - looks < 12
    await asyncio.gather(*claims)
    assert starts(here, since) == [0.0, 1.0, 2.0, 3.0]
    begun = [e["agent_id"] for e in here.said("task_started") if e["offset"] > since]
    assert begun == [worker.agent_id for worker in workers]
    for worker in workers:
        await worker.tell("task.complete", result=1)


async def test_two_nodes_let_no_more_begin_than_one(here: World) -> None:
    async with another_node(here) as there:
        bad = await slowed(here)
        workers = [bad, await hand(there, domain="bad"), await hand(there, domain="bad")]
        since = here.engine.log.head
        claims = [asyncio.create_task(worker.claim(wait=WAIT_S)) for worker in workers]
        await asked(here, 3)
        await asyncio.gather(*claims)
        assert starts(here, since) == [0.0, 1.0, 2.0]
        assert len(here.said("circuit_breaker_triggered")) == 1
        for worker in workers:
            await worker.tell("task.complete", result=1)


async def test_the_most_urgent_task_comes_first_also_there(here: World) -> None:
    bad = await slowed(here)
    await asked(here, 2)
    (urgent,) = await asked(here, priority=0)
    assert (await bad.claim(wait=WAIT_S))["task_id"] == urgent
    await bad.tell("task.complete", result=1)


async def test_a_task_that_is_named_is_refused_with_the_time_left(here: World) -> None:
    bad = await slowed(here)
    (task_id,) = await asked(here)
    await here.passing(0.25)
    with pytest.raises(Conflict, match="domain bad fails too often") as refused:
        await bad.claim(task_id=task_id)
    assert refused.value.retry_after == pytest.approx(0.75, abs=0.02)
    await here.passing(0.75)
    assert await bad.claim(task_id=task_id)
    await bad.tell("task.complete", result=1)


async def test_a_lost_worker_is_a_failure_of_its_domain_and_of_no_breaker(
    open_world: OpenWorld,
) -> None:
    here = await open_world(**SETTINGS | {"breaker_threshold": 2, "lease_ttl": 5.0})
    for _ in range(10):
        worker = await hand(here, domain="bad")
        await asked(here)
        assert await worker.claim()
    await here.passing(6)
    assert len(here.said("agent_error", error_type="agent_lost")) == 10
    (told,) = here.said("circuit_breaker_triggered")
    assert (told["scope"], told["failure_rate"]) == ("domain", 1.0)


@pytest.mark.requirement("FLUX-W6")
async def test_failures_that_are_longer_ago_than_the_window_slow_nothing_down(here: World) -> None:
    bad = await hand(here, domain="bad")
    await fail(bad, 9)
    await here.passing(31)
    await fail(bad, 9)
    await here.passing(1)
    assert (known(here).state, known(here).window.counts(known(here).window.newest)) == (
        "closed",
        (9, 9),
    )
    # Eighteen in all have failed; the tenth within half a minute is one too many.
    await fail(bad)
    await here.until(lambda: known(here).state == "open")


# --- let go ----------------------------------------------------------------------------------


@pytest.mark.requirement("FLUX-06", "FLUX-15")
async def test_three_probes_that_succeed_bring_it_back_to_full_speed(here: World) -> None:
    bad = await slowed(here)
    (opened,) = here.said("circuit_breaker_triggered")
    await succeed(bad, 2)
    assert here.said("circuit_breaker_test_request") == []
    await here.passing(COOLDOWN_S)
    await succeed(bad, 3)
    probes = here.said("circuit_breaker_test_request")
    begun = here.said("task_started")[-3:]
    assert [(p["task_id"], p["attempt"]) for p in probes] == [
        (event["task_id"], event["attempt"]) for event in begun
    ]
    assert {(p["breaker"], p["domain"], p["error_id"]) for p in probes} == {
        ("bad", "bad", opened["error_id"])
    }
    assert {probe["agent_name"] for probe in probes} == {"writer"}
    await here.until(lambda: known(here).state == "closed")
    (closed,) = here.said("system_recovered", scope="domain")
    assert (closed["error_id"], closed["domain"]) == (opened["error_id"], "bad")
    assert closed["user_id"] == "*"
    assert closed["recovery_time"] > COOLDOWN_S
    assert opened["error_id"] not in here.state.failures
    since = here.engine.log.head
    await succeed(bad, 3)
    assert starts(here, since) == [0.0, 0.0, 0.0]


@pytest.mark.requirement("FLUX-15", "FLUX-W11")
async def test_a_probe_that_fails_slows_it_down_again_for_a_cooldown_of_its_own(
    here: World,
) -> None:
    bad = await slowed(here)
    (opened,) = here.said("circuit_breaker_triggered")
    await here.passing(COOLDOWN_S)
    await succeed(bad)
    await fail(bad)
    await here.until(lambda: known(here).state == "open")
    reopened = here.said("circuit_breaker_triggered")[1]
    assert (reopened["severity"], reopened["breaker_version"]) == ("critical", 2)
    assert (reopened["error_id"], reopened["reopened"]) == (opened["error_id"], True)
    await succeed(bad)
    assert len(here.said("circuit_breaker_test_request")) == 2
    await here.passing(COOLDOWN_S)
    await succeed(bad, 3)
    await here.until(lambda: known(here).state == "closed")
    (closed,) = here.said("system_recovered", scope="domain")
    assert closed["attempts_made"] == 2


@pytest.mark.requirement("FLUX-W11")
async def test_a_probe_that_is_given_back_or_cancelled_holds_no_permit(here: World) -> None:
    """However many end so, the domain is neither let go by them nor half-open for ever."""
    bad = await slowed(here)
    await here.passing(COOLDOWN_S)
    for _ in range(2):
        await asked(here)
        assert await bad.claim(wait=WAIT_S)
        await bad.tell("task.release")
        assert await bad.claim(wait=WAIT_S)
        await here.call("task.cancel", task_id=bad.claimed["task_id"])
    assert len(here.said("circuit_breaker_test_request")) == 4
    assert (known(here).state, known(here).probes) == ("half_open", set())
    await succeed(bad, 3)
    await here.until(lambda: known(here).state == "closed")


async def test_while_its_probes_run_others_still_begin_once_in_a_second(here: World) -> None:
    workers = [await slowed(here), *[await hand(here, domain="bad") for _ in range(4)]]
    await here.passing(COOLDOWN_S)
    since = here.engine.log.head
    await asked(here, 5)
    for worker in workers:
        assert await worker.claim(wait=WAIT_S)
    assert starts(here, since) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert len(here.said("circuit_breaker_test_request")) == 3
    # The two that are none decide nothing, whatever comes of them.
    for worker in workers[3:]:
        await worker.tell("task.fail", message="no", error_type="timeout")
    assert known(here).state == "half_open"
    for worker in workers[:3]:
        await worker.tell("task.complete", result=1)
    await here.until(lambda: known(here).state == "closed")


# --- operators -------------------------------------------------------------------------------


async def test_an_operator_slows_a_domain_down_and_lets_it_go(here: World) -> None:
    worker = await hand(here, domain="zone")
    shown = await here.call("breaker.open", name="zone")
    assert (shown["name"], shown["scope"], shown["state"]) == ("zone", "domain", "open")
    assert (await here.call("breaker.open", name="zone"))["version"] == 1
    await asked(here)
    assert await worker.claim() is None
    shown = await here.call("breaker.close", name="zone")
    assert (shown["state"], shown["version"]) == ("closed", 1)
    assert await worker.claim()
    await worker.tell("task.complete", result=1)
    (closed,) = here.said("system_recovered", scope="domain")
    assert closed["error_id"] == here.said("circuit_breaker_triggered")[0]["error_id"]


async def test_an_agent_and_a_domain_of_one_name_are_told_apart_by_scope(here: World) -> None:
    await hand(here, domain="writer")
    assert (await here.call("breaker.open", name="writer"))["scope"] == "agent"
    shown = await here.call("breaker.open", name="writer", scope="domain")
    assert (shown["scope"], shown["version"]) == ("domain", 1)
    listed = (await here.call("breaker.list"))["items"]
    assert [(b["name"], b["scope"], b["state"]) for b in listed] == [
        ("writer", "agent", "open"),
        ("writer", "domain", "open"),
    ]
    # Each ends by its own recovery, and the recorded stream keeps them apart.
    assert (await here.call("breaker.close", name="writer"))["scope"] == "agent"
    assert (await here.call("breaker.close", name="writer", scope="domain"))["scope"] == "domain"


async def test_there_is_no_domain_that_no_worker_has_had(here: World) -> None:
    with pytest.raises(NotFound, match="no breaker nowhere"):
        await here.call("breaker.open", name="nowhere")
    with pytest.raises(NotFound, match="no failure domain nowhere"):
        await here.call("breaker.close", name="nowhere", scope="domain")


async def test_a_subscriber_that_comes_later_is_told_the_state_of_a_domain(here: World) -> None:
    await slowed(here)
    (shown,) = here.engine.snapshot(["user:ann"], SOMEBODY)["breakers"]
    assert (shown["name"], shown["scope"], shown["state"]) == ("bad", "domain", "open")
    assert shown["probe_at"] == here.said("circuit_breaker_triggered")[0]["probe_at"]


async def test_the_statistics_and_figures_say_how_often_work_fails_there(here: World) -> None:
    good = await hand(here, domain="good")
    await succeed(good, 3)
    await fail(good)
    await slowed(here)
    of_domains = (await here.call("stats.get"))["by_domain"]
    assert {name: (d["outcomes"], d["failure_rate"], d["state"]) for name, d in of_domains.items()}
    assert of_domains["good"] == {
        **{"agents": 1, "open": 0, "finished": 4, "failed": 1},
        **{"outcomes": 4, "failure_rate": 0.25, "state": "closed"},
    }
    assert of_domains["bad"]["state"] == "open"
    found = here.engine.figures()
    assert found is not None
    assert found.domains == {"good": 0.25, "bad": 1.0}
    await here.passing(40)
    of_domains = (await here.call("stats.get"))["by_domain"]
    assert (of_domains["bad"]["outcomes"], of_domains["bad"]["failure_rate"]) == (0, 0)


# --- stores and nodes ------------------------------------------------------------------------


async def test_what_the_store_does_not_take_stays_due(open_world: OpenWorld) -> None:
    here, log = await away_world(lambda **more: open_world(**SETTINGS, **more))
    bad = await hand(here, domain="bad")
    await fail(bad, 9)
    refused = 0

    async def append(drafts: Sequence[Draft], **given: Any) -> int:
        nonlocal refused
        if drafts[0].type == "circuit_breaker_triggered" and refused < 3:
            refused += 1
            raise StoreUnavailable("the store is away")
        return await log._log.append(drafts, **given)

    here.engine.parts.intake.log.append = append  # type: ignore[method-assign]
    await fail(bad)
    await here.until(lambda: known(here).state == "open")
    assert refused == 3


async def a_failing_worker(node: Node, times: int) -> dict[str, Any]:
    """Register a worker on a node and let it fail; gives its proof."""
    call = node.engine.call
    about = {"handle": "writer", "domain": "bad", "agents": [{"name": "writer", "timeout": 1000}]}
    answer = await call("agent.register", about, CALLER)
    proof = {name: answer[name] for name in ("agent_id", "agent_secret")}
    for _ in range(times):
        await call("task.create", {"agent": "writer", "max_attempts": 1}, CALLER)
        claim = await call("task.claim", proof, CALLER)
        report = {"task_id": claim["task_id"], "term": claim["term"], "message": "no"}
        await call("task.fail", {**proof, **report, "error_type": "timeout"}, CALLER)
    return proof


async def test_a_node_that_begins_slows_down_what_the_lost_one_should_have() -> None:
    cluster = Cluster(**SETTINGS)
    first = cluster.node()
    async with until_killed(first.engine):
        await a_failing_worker(first, 9)

        async def before(drafts: Sequence[Draft]) -> None:
            if drafts[0].type == "circuit_breaker_triggered":
                await asyncio.Event().wait()

        first.log.before = before
        await a_failing_worker(first, 1)
    assert cluster.said("circuit_breaker_triggered") == []
    second = cluster.node()
    async with until_killed(second.engine):
        await cluster.passing(0.1)
        assert second.state.domains["bad"].state == "open"
    assert len(cluster.said("circuit_breaker_triggered")) == 1


async def test_a_node_that_begins_lets_the_next_second_come() -> None:
    """The claim that waits is woken by a timer that the new node has set itself."""
    cluster = Cluster(**SETTINGS)
    first = cluster.node()
    async with until_killed(first.engine):
        proof = await a_failing_worker(first, 10)
        await cluster.passing(0.1)
    second = cluster.node()
    async with until_killed(second.engine):
        await second.engine.call("task.create", {"agent": "writer"}, CALLER)
        claim = await second.engine.call("task.claim", {**proof, "wait": 5}, CALLER)
        assert claim is not None
    opened, begun = cluster.said("circuit_breaker_triggered")[0], cluster.said("task_started")[-1]
    waited_s = seconds_of(begun["timestamp"]) - seconds_of(opened["timestamp"])
    assert 1.0 <= waited_s < 1.2
