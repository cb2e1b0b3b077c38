"""Workers as the gateway sees them: alive or not, their leases, and what is taken from them."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from typing import Any

import pytest

from gateway.domain.access import Caller
from gateway.domain.errors import (
    Conflict,
    InvalidParams,
    NotFound,
    NotPermitted,
    RequestError,
    StaleTerm,
)
from gateway.domain.timestamps import seconds_of
from tests.execution.conftest import OpenWorld
from tests.execution.world import AwayLog, SlowLog, World

SCOPES = frozenset({"agent", "events:read", "tasks:write"})
TIMEOUT_S = 5.0
OFFLINE_S = 15.0
MISSED_S = TIMEOUT_S * 2 / 3
# Expiry is acted on by a timer within this time.
TIMER_S = 0.25


@dataclasses.dataclass
class Hand:
    """A worker without a mind: it does what the test says."""

    here: World
    agent_id: str
    secret: str
    caller: Caller
    claimed: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def proof(self) -> dict[str, str]:
        return {"agent_id": self.agent_id, "agent_secret": self.secret}

    @property
    def status(self) -> str:
        return self.here.state.workers[self.agent_id].status

    async def beat(self, **params: Any) -> Any:
        return await self.here.call("agent.heartbeat", self.caller, **self.proof, **params)

    async def beat_for(self, seconds: float, *, every: float = 1.0) -> None:
        for _ in range(round(seconds / every)):
            await self.here.passing(every)
            await self.beat()

    async def claim(self, **params: Any) -> Any:
        claim = await self.here.call("task.claim", self.caller, **self.proof, **params)
        self.claimed = claim or {}
        return claim

    async def tell(self, operation: str, **params: Any) -> Any:
        """One of the calls about the task that it has claimed."""
        about = {"task_id": self.claimed["task_id"], "term": self.claimed["term"]}
        return await self.here.call(operation, self.caller, **self.proof, **about, **params)


async def hand(
    here: World, handle: str = "writer", *, session: str | None = None, **params: Any
) -> Hand:
    """Register a worker, over a connection when there is a session."""
    caller = Caller("worker", SCOPES, session_id=session)
    answer = await here.call("agent.register", caller, handle=handle, **params)
    return Hand(here, answer["agent_id"], answer["agent_secret"], caller)


def changes(here: World, worker: Hand) -> list[tuple[str, str]]:
    """The changes of a worker's status, with their reasons."""
    return [
        (event["status"], event["reason"])
        for event in here.said("agent_status_changed", agent_id=worker.agent_id)
    ]


def passed(here: World, event: dict[str, Any], since: dict[str, Any]) -> float:
    """Seconds between two events."""
    return seconds_of(event["timestamp"]) - seconds_of(since["timestamp"])


# --- how alive -----------------------------------------------------------------------------------


async def test_silence_makes_worse_step_by_step_and_each_at_its_time(here: World) -> None:
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
    assert [round(passed(here, event, registered), 1) for event in told] == [3.3, 5.0, 15.0]
    assert [event["severity"] for event in told] == ["warning", "error", "error"]
    assert len({event["error_id"] for event in told}) == 1
    await here.passing(1000)
    assert len(here.said("agent_status_changed")) == 3


@pytest.mark.parametrize("silent_s", [MISSED_S + 0.1, TIMEOUT_S + 0.1, OFFLINE_S + 0.1])
async def test_the_next_beat_makes_well_again_and_ends_the_failure(
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


async def test_a_lost_connection_is_suspect_at_once_and_proved_by_silence(here: World) -> None:
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


async def test_a_goodbye_is_no_failure_and_gives_back_what_is_held(here: World) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer", max_attempts=1)
    await worker.claim()
    await here.call("agent.remove", worker.caller, **worker.proof)
    assert changes(here, worker) == [("offline", "goodbye")]
    assert here.said("agent_error") == []
    with pytest.raises(NotFound, match="said goodbye"):
        await worker.beat()
    await here.passing(100)
    assert len(changes(here, worker)) == 1
    other = await hand(here)
    assert (await other.claim())["task_id"] == task_id
    await other.tell("task.complete", result=1)


async def test_a_worker_is_asked_to_leave_with_its_next_beat(here: World) -> None:
    worker = await hand(here)
    assert (await worker.beat())["shutdown"] is None
    await here.call("agent.shutdown", agent_id=worker.agent_id, grace=7)
    assert (await worker.beat())["shutdown"] == {"grace": 7}


async def test_workers_long_gone_are_forgotten_and_may_come_back(here: World) -> None:
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


# --- who is who ----------------------------------------------------------------------------------


async def test_an_identity_is_whose_secret_it_is(here: World) -> None:
    worker = await hand(here)
    for proof in ({}, {"agent_secret": "another"}):
        with pytest.raises(NotPermitted):
            await here.call(
                "agent.register", worker.caller, handle="writer", agent_id=worker.agent_id, **proof
            )
        with pytest.raises(NotPermitted):
            await here.call("agent.heartbeat", worker.caller, agent_id=worker.agent_id, **proof)
    with pytest.raises(NotPermitted):
        # An operator may do without the secret, and not with another one.
        await here.call(
            "agent.register", handle="writer", agent_id=worker.agent_id, agent_secret="another"
        )
    await here.call("agent.heartbeat", agent_id=worker.agent_id)
    assert here.types() == ["agent_registered"]


async def test_of_two_that_register_one_id_at_once_one_has_it(open_world: OpenWorld) -> None:
    here = await open_world(wrap=lambda log: SlowLog(log, random.Random(1)))
    caller = Caller("worker", SCOPES)
    answers = await asyncio.gather(
        *(here.call("agent.register", caller, handle="twin", agent_id="twin") for _ in range(5)),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, NotPermitted)]
    assert len(refused) == 4, answers
    assert len(here.said("agent_registered")) == 1


async def test_a_registration_that_the_store_did_not_take_leaves_the_watch(
    open_world: OpenWorld,
) -> None:
    logs: list[AwayLog] = []

    def wrap(log: Any) -> Any:
        logs.append(AwayLog(log))
        return logs[0]

    here = await open_world(wrap=wrap)
    worker = await hand(here)
    logs[0].away = True
    with pytest.raises(RequestError):
        await here.call("agent.register", worker.caller, handle="writer", **worker.proof)
    logs[0].away = False
    await here.passing(OFFLINE_S + 0.1)
    assert worker.status == "offline"


# --- leases --------------------------------------------------------------------------------------


async def test_a_lease_that_is_not_renewed_ends_at_its_time(here: World) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer")
    await worker.claim(lease_ttl=10)
    (started,) = here.said("task_started")
    await worker.beat_for(9.9, every=0.99)
    assert here.said("agent_error") == []
    await here.passing(TIMER_S)
    (error,) = here.said("agent_error")
    assert error["error_code"] == "lease_expired"
    assert 10 <= passed(here, error, started) <= 10 + TIMER_S
    with pytest.raises(StaleTerm):
        await worker.tell("task.complete", result=1)
    assert (await worker.claim())["term"] == 2
    await worker.tell("task.complete", result=2)
    assert (await here.done(task_id)).result == 2


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


async def test_a_lease_made_shorter_ends_at_the_shorter_time(here: World) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim(lease_ttl=60)
    await worker.tell("task.heartbeat", lease_ttl=2)
    await here.passing(2 + TIMER_S)
    assert [event["error_code"] for event in here.said("agent_error")] == ["lease_expired"]
    await here.call("task.cancel", task_id=worker.claimed["task_id"])


async def test_a_task_has_one_timer_of_its_lease_however_often_it_is_renewed(here: World) -> None:
    worker = await hand(here, agents=[{"name": "writer", "timeout": 1000}])
    await here.submit("writer", timeout=2000.0)
    await worker.claim(lease_ttl=3)
    before = len(here.engine.parts.monitor._due)
    for _ in range(100):
        await here.passing(1)
        await worker.tell("task.heartbeat")
    assert len(here.engine.parts.monitor._due) <= before + 1
    await worker.tell("task.complete", result=1)
    await here.passing(10)
    assert here.engine.parts.limits._lease_due == {}


async def test_on_a_socket_all_is_lost_when_unhealthy_over_http_when_the_lease_ends(
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


async def test_a_gateway_that_did_not_run_blames_nobody(here: World) -> None:
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


async def test_a_lost_worker_gets_nothing_until_it_is_heard_of(here: World) -> None:
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


async def test_over_the_limit_a_live_worker_has_stalled_and_a_silent_one_timed_out(
    here: World,
) -> None:
    agents = [{"name": "writer", "timeout": 10, "max_attempts": 1}]
    live = await hand(here, agents=agents)
    silent = await hand(here, agents=agents)
    first, second = await here.submit("writer"), await here.submit("writer")
    await live.claim()
    await silent.claim()
    await live.beat_for(10)
    assert here.said("agent_error") == []
    await live.beat_for(1, every=0.5)
    codes = {event["agent_id"]: event["error_code"] for event in here.said("agent_error")}
    assert codes == {live.agent_id: "stalled", silent.agent_id: "task_timeout"}
    assert {here.state.tasks[task].status for task in (first, second)} == {"dead_lettered"}


# --- claims --------------------------------------------------------------------------------------


async def test_who_waited_longest_is_served_first(here: World) -> None:
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


@pytest.mark.parametrize("seed", range(5))
async def test_a_claim_whose_time_is_over_has_taken_nothing(
    open_world: OpenWorld, seed: int
) -> None:
    """What is taken while the wait ends is told, or nobody would know of it."""
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


async def test_fifty_claim_one_task_and_one_has_it(open_world: OpenWorld) -> None:
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


async def test_what_runs_elsewhere_by_its_nature_cannot_be_claimed(here: World) -> None:
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


async def test_lost_workers_do_not_open_the_breaker(here: World) -> None:
    for number in range(6):
        worker = await hand(here, session=f"session {number}")
        await here.submit("writer", max_attempts=1)
        await worker.claim()
        await here.passing(TIMEOUT_S + 0.1)
    assert len(here.said("agent_error")) == 6
    assert here.said("circuit_breaker_triggered") == []


# --- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "params", "error"),
    [
        ("task.update", {"progress": 1.01}, InvalidParams),
        ("task.update", {"progress": -0.01}, InvalidParams),
        ("task.update", {"data": {"x": 1}}, InvalidParams),
        ("task.update", {"step": "one", "data": "x" * 262_145}, RequestError),
        ("task.update", {"text": "x" * 65_537}, InvalidParams),
        ("task.update", {"term": 2}, StaleTerm),
        ("task.update", {"term": 0}, InvalidParams),
        ("task.complete", {"result": "x" * 262_145}, RequestError),
        ("task.complete", {"result": 1, "term": 2}, StaleTerm),
        ("task.complete", {"result": 1, "task_id": "unknown"}, NotFound),
        ("task.fail", {}, InvalidParams),
        ("task.release", {"term": 99}, StaleTerm),
        ("task.heartbeat", {"lease_ttl": 0}, InvalidParams),
        ("agent.heartbeat", {"status": "dancing"}, InvalidParams),
    ],
)
async def test_what_is_refused_changes_nothing(
    here: World, operation: str, params: dict[str, Any], error: type[RequestError]
) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim()
    said = here.types()
    lease = {"task_id": worker.claimed["task_id"], "term": 1} if "task." in operation else {}
    with pytest.raises(error):
        await here.call(operation, worker.caller, **{**worker.proof, **lease, **params})
    assert here.types() == said
    await worker.tell("task.complete", result=1)


async def test_after_the_end_every_report_is_too_late(here: World) -> None:
    worker = await hand(here)
    await here.submit("writer")
    await worker.claim()
    await worker.tell("task.complete", result=1)
    said = here.types()
    for operation, params in (
        ("task.complete", {"result": 2}),
        ("task.fail", {"message": "no"}),
        ("task.update", {"progress": 0.1}),
        ("task.heartbeat", {}),
        ("task.release", {}),
    ):
        with pytest.raises(StaleTerm):
            await worker.tell(operation, **params)
    with pytest.raises(Conflict):
        await worker.claim(task_id=worker.claimed["task_id"])
    assert here.types() == said


# --- any order of deaths -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_dies_each_task_ends_once_and_no_stale_word_is_in_the_log(
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
