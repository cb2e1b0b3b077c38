"""Waits: a task that does not move says why, once for each change, and until when."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from gateway import Task
from gateway.domain.timestamps import rfc3339, seconds_of
from gateway.errors import RateLimited
from gateway.execution.holders import waits
from tests.execution.conftest import OpenWorld
from tests.execution.hands import TIMEOUT_S, TIMER_S, Hand, hand
from tests.execution.kept import Cluster, until_killed
from tests.execution.world import World

SOON_S = 0.5


def told(here: World, task_id: str | None = None) -> list[tuple[str, str, float | None]]:
    """What was told: what is waited for, its name, and in how many seconds that is decided."""
    found = [e for e in here.said("task_waiting") if task_id in (None, e["task_id"])]
    return [(e["waits_for"], e["name"], left_s(e)) for e in found]


def left_s(event: dict[str, Any]) -> float | None:
    if event["until"] is None:
        return None
    return round(seconds_of(event["until"]) - seconds_of(event["timestamp"]), 1)


async def waiting_for(here: World, task_id: str) -> Any:
    """What three doors say of it: the same."""
    shown = await here.call("task.get", task_id=task_id)
    listed = (await here.call("task.list"))["items"]
    (there,) = [task for task in listed if task["task_id"] == task_id]
    assert there["waiting_for"] == shown["waiting_for"]
    return shown["waiting_for"]


async def opened(worker: Hand, *, failures: int = 5) -> None:
    """Open the breaker of ``writer`` by failures."""
    for _ in range(failures):
        await worker.here.submit("writer", priority=0, max_attempts=1)
        await worker.claim()
        await worker.tell("task.fail", message="no", error_type="service_unavailable")
    assert worker.here.state.breakers["writer"].state == "open"


async def test_nobody_serves_it_is_told_at_once_with_similar_names_and_the_end_of_the_wait(
    here: World,
) -> None:
    await hand(here, "Writer.1", agents=[{"name": "writer-2"}, {"name": "unlike"}])
    answer = await here.call("task.create", agent="writer", user_id="ann")
    assert (answer["warning"], answer["similar"]) == ("no_worker", ["writer-2"])
    await here.passing(SOON_S)
    (event,) = here.said("task_waiting")
    assert told(here) == [("worker", "writer", 300)]
    assert (event["user_id"], event["similar"]) == ("ann", ["writer-2"])
    assert event["message"] == f"nobody serves writer, it is given up at {event['until']}"
    expected = {"waits_for": "worker", "name": "writer", "until": event["until"]}
    assert await waiting_for(here, answer["task_id"]) == expected
    snapshot = here.engine.snapshot(["user:ann"], None)  # type: ignore[arg-type]
    assert snapshot["tasks"][0]["waiting_for"] == expected
    task = await here.done(answer["task_id"])
    assert task.finished_at == pytest.approx(seconds_of(event["until"]), abs=TIMER_S)
    assert len(told(here)) == 1
    assert await waiting_for(here, task.task_id) is None


async def test_a_worker_that_comes_ends_the_wait_with_the_next_event(here: World) -> None:
    task_id = await here.submit("writer")
    await here.passing(SOON_S)
    worker = await hand(here)
    await worker.claim()
    assert here.types(task_id) == ["task_submitted", "task_waiting", "task_started"]
    assert await waiting_for(here, task_id) is None
    await worker.tell("task.complete", result=1)


async def test_the_last_worker_of_an_agent_that_goes_is_told_to_those_that_wait(
    here: World,
) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer", timeout=30.0)
    capable = await here.submit("other", timeout=30.0)
    await here.passing(SOON_S)
    assert [name for _, name, _ in told(here)] == ["other"]
    await here.call("agent.remove", worker.caller, **worker.proof)
    await here.passing(SOON_S)
    # Its own limit comes before the queue's.
    ((waits_for, name, seconds),) = told(here, task_id)
    assert (waits_for, name) == ("worker", "writer")
    assert seconds == pytest.approx(30 - SOON_S, abs=0.1)
    for each in (task_id, capable):
        await here.done(each)


async def test_of_a_capability_that_nobody_has_its_name_is_told(here: World) -> None:
    answer = await here.call("task.create", capability="translate")
    await here.passing(SOON_S)
    assert told(here) == [("worker", "translate", 300)]
    await here.done(answer["task_id"])


@pytest.mark.requirement("WEFT-W20")
async def test_a_breaker_that_opens_tells_each_owner_once_until_when(here: World) -> None:
    worker = await hand(here)
    held = [await here.submit("writer", user_id=f"u{number}") for number in range(3)]
    await opened(worker)
    await worker.beat_for(5)
    (opening,) = here.said("circuit_breaker_triggered")
    for number, task_id in enumerate(held):
        (event,) = here.said("task_waiting", task_id=task_id)
        assert (event["waits_for"], event["name"]) == ("breaker", "writer")
        assert (event["user_id"], event["until"]) == (f"u{number}", opening["probe_at"])
        assert (await waiting_for(here, task_id))["until"] == opening["probe_at"]
    await worker.beat_for(25.2)
    assert await worker.claim() is not None
    (probe,) = here.said("circuit_breaker_test_request")
    assert seconds_of(probe["timestamp"]) >= seconds_of(opening["probe_at"])
    await worker.tell("task.fail", message="no", error_type="service_unavailable")
    await worker.beat_for(2)
    again = here.said("circuit_breaker_triggered")[1]
    # Each learns of the new opening, once; the probe waits for it as well, by its own backoff.
    still = [task_id for task_id in held if here.state.tasks[task_id].status == "pending"]
    assert len(still) == 2
    for task_id in still:
        untils = [event["until"] for event in here.said("task_waiting", task_id=task_id)]
        assert untils == [opening["probe_at"], again["probe_at"]]
    for task_id in held:
        await here.call("task.cancel", task_id=task_id)


async def test_an_attempt_that_was_announced_for_earlier_is_told_to_wait_for_the_breaker(
    open_world: OpenWorld,
) -> None:
    """Else it would be said to be tried again in four seconds, for half a minute."""
    here = await open_world(retry_base=4.0, breaker_threshold=2)
    worker = await hand(here)
    first = await here.submit("writer", user_id="ann")
    await worker.claim()
    await worker.tell("task.fail", message="no", error_type="service_unavailable")
    await opened(worker, failures=1)
    await worker.beat_for(1)
    (announced,) = here.said("recovery_attempt", task_id=first)
    (event,) = here.said("task_waiting", task_id=first)
    assert announced["next_attempt_at"] < event["until"]
    assert event["until"] == here.said("circuit_breaker_triggered")[0]["probe_at"]
    await here.call("task.cancel", task_id=first)


async def test_a_held_upstream_is_told_to_all_that_wait_for_it(here: World) -> None:
    @here.gateway.agent("asker", upstream="model", max_attempts=2)
    async def ask(task: Task) -> str:
        if task.attempt == 1 and task.user_id == "first":
            raise RateLimited(retry_after=8)
        return "done"

    first = await here.submit("asker", user_id="first")
    await here.until(lambda: here.said("agent_error"))
    held = await here.submit("asker", user_id="ann")
    await here.passing(SOON_S)
    (event,) = here.said("task_waiting")
    assert (event["task_id"], event["waits_for"], event["name"]) == (held, "upstream", "model")
    (error,) = here.said("agent_error")
    assert event["until"] == rfc3339(seconds_of(error["timestamp"]) + 8)
    assert event["message"].startswith("the upstream model has asked not to be called before ")
    await here.done(held)
    (started,) = here.said("task_started", task_id=held)
    assert seconds_of(started["timestamp"]) >= seconds_of(event["until"])
    await here.done(first)
    assert len(here.said("task_waiting")) == 1


async def test_ends_that_move_a_little_again_and_again_are_told_once(here: World) -> None:
    """Calls that fail together each move the end of their hold."""
    go = asyncio.Event()

    @here.gateway.agent("asker", upstream="model", max_attempts=1)
    async def ask(task: Task, number: int) -> str:
        if task.user_id == "ann":
            return "done"
        await go.wait()
        raise RateLimited(retry_after=10 + number / 100)

    failing = [await here.submit("asker", {"number": number}, user_id="bob") for number in range(4)]
    await here.passing(SOON_S)
    go.set()
    await here.until(lambda: here.said("agent_error"))
    held = await here.submit("asker", {"number": 0}, user_id="ann")
    for task_id in failing:
        await here.done(task_id)
    await here.done(held)
    assert len(here.said("task_waiting", task_id=held)) == 1


async def test_a_silent_worker_is_told_to_the_owner_until_it_is_given_up(here: World) -> None:
    worker = await hand(here, session="s")
    task_id = await here.submit("writer", user_id="ann")
    await worker.claim()
    await worker.tell("task.heartbeat")
    await here.engine.session_closed("s")
    await here.passing(SOON_S)
    (event,) = here.said("task_waiting")
    assert (event["waits_for"], event["name"]) == ("worker_contact", worker.agent_id)
    assert (event["user_id"], left_s(event)) == ("ann", TIMEOUT_S)
    assert (await waiting_for(here, task_id))["until"] == event["until"]
    await here.until(lambda: here.said("agent_error"))
    (error,) = here.said("agent_error")
    assert error["error_code"] == "heartbeat_lost"
    assert seconds_of(error["timestamp"]) == pytest.approx(seconds_of(event["until"]), abs=TIMER_S)
    assert len(here.said("task_waiting", waits_for="worker_contact")) == 1
    await here.call("task.cancel", task_id=task_id)


async def test_a_worker_that_is_heard_again_ends_the_wait(here: World) -> None:
    worker = await hand(here, session="s")
    task_id = await here.submit("writer", user_id="ann")
    await worker.claim()
    await worker.tell("task.update", progress=0.5, step="draft")
    await here.engine.session_closed("s")
    await here.passing(SOON_S)
    assert (await waiting_for(here, task_id))["waits_for"] == "worker_contact"
    worker.caller = type(worker.caller)("worker", worker.caller.scopes, session_id="s2")
    await worker.beat()
    await here.passing(SOON_S)
    assert await waiting_for(here, task_id) is None
    again = here.said("task_progress", task_id=task_id)[-1]
    assert (again["progress"], again["step"]) == (0.5, "draft")
    assert again["message"] == "its worker is heard again"
    assert len(told(here)) == 1
    await worker.tell("task.complete", result=1)


async def test_a_worker_over_http_is_given_up_when_its_lease_ends(here: World) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer", user_id="ann")
    await worker.claim(lease_ttl=20)
    expires_at = worker.claimed["lease_expires_at"]
    await here.until(lambda: here.said("task_waiting"))
    (event,) = here.said("task_waiting")
    assert (event["waits_for"], event["until"]) == ("worker_contact", expires_at)
    await here.until(lambda: here.said("agent_error"))
    assert here.said("agent_error")[0]["error_code"] == "lease_expired"
    await here.call("task.cancel", task_id=task_id)


async def test_a_retry_waits_for_the_thread_of_the_attempt_before(here: World) -> None:
    stop, running = here.stop(), []

    @here.gateway.agent("plain", timeout=2.0, max_attempts=2)
    def plain(task: Task) -> str:
        running.append(task.attempt)
        if task.attempt == 1:
            stop.here()
        return "done"

    task_id = await here.submit("plain", user_id="ann")
    await stop.reached.wait()
    await here.passing(30)
    assert running == [1]
    assert told(here) == [("thread", "plain", None)]
    assert (await waiting_for(here, task_id))["waits_for"] == "thread"
    stop.go()
    assert (await here.done(task_id)).result == "done"
    assert running == [1, 2]
    assert len(told(here)) == 1


async def test_a_breaker_that_opens_on_a_thousand_tasks_tells_each_once_and_stops_nobody(
    open_world: OpenWorld,
) -> None:
    """Between two pieces others have their turn."""
    here = await open_world(queue_limit=2000, queue_share=1.0)
    worker = await hand(here)
    held = [await here.submit("writer", user_id=f"u{number % 10}") for number in range(1000)]
    first = asyncio.Event()
    here.engine.log.follow(lambda entry: first.set() if entry.type == "task_waiting" else None)
    await opened(worker)
    await first.wait()
    turns = [len(here.entries)]  # at each turn of the loop
    while turns[-1] < turns[0] + 999 and len(turns) < 5000:
        await asyncio.sleep(0)  # noqa: TID251 - virtual
        turns.append(len(here.entries))
    told_of = [event["task_id"] for event in here.said("task_waiting")]
    assert sorted(told_of) == sorted(held)
    most = max(after - before for before, after in itertools.pairwise(turns))
    assert 0 < most <= waits.TOLD_AT_ONCE
    for task_id in held:
        await here.call("task.cancel", task_id=task_id)


async def test_two_nodes_tell_a_wait_once() -> None:
    cluster = Cluster()
    one, two = cluster.node(), cluster.node()
    async with until_killed(one.engine), until_killed(two.engine):
        await cluster.passing(1)
        for _ in range(20):
            await one.gateway.submit("writer", timeout=100.0)
        await cluster.passing(5)
        assert len(cluster.said("task_waiting")) == 20
        # Neither is anything told again by a node that begins anew.
    async with until_killed(cluster.node().engine):
        await cluster.passing(5)
        assert len(cluster.said("task_waiting")) == 20
