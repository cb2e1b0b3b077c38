"""An upstream that has said when it wants to be asked again is not asked before."""

from __future__ import annotations

import asyncio

import pytest

from gateway import Task
from gateway.domain.errors import NotFound, Rejected
from gateway.errors import InvalidInput, RateLimited
from tests.execution.conftest import OpenWorld
from tests.execution.hands import hand
from tests.execution.world import World


class Upstream:
    """What the agents of a world call: it is busy until a time, and says so."""

    def __init__(self, here: World, *, busy_s: float = 0.0) -> None:
        self._here = here
        self.calls: list[float] = []
        self.free_at = here.engine.clock.monotonic() + busy_s

    async def call(self) -> str:
        now = self._here.engine.clock.monotonic()
        self.calls.append(round(now, 1))
        if now < self.free_at:
            raise RateLimited(retry_after=self.free_at - now)
        return "done"


def declared(here: World, upstream: Upstream, *names: str, attempts: int = 3) -> None:
    """Declare agents that call one upstream."""
    for name in names:

        @here.gateway.agent(name, upstream="model", max_attempts=attempts, timeout=10.0)
        async def ask(task: Task) -> str:
            return await upstream.call()


@pytest.mark.requirement("WEFT-W20")
async def test_a_retry_after_holds_the_upstream_for_all_its_agents_then_they_come_in_a_ramp(
    here: World,
) -> None:
    upstream = Upstream(here, busy_s=20)
    declared(here, upstream, "one", "two")

    @here.gateway.agent("free", upstream="another")
    async def free(task: Task) -> str:
        return "at once"

    first = await here.submit("one")
    await here.until(lambda: upstream.calls)
    tasks = [await here.submit(name) for name in ("one", "two") * 4]
    assert (await here.run("free")).result == "at once"
    await here.passing(15)
    assert upstream.calls == [0.0]
    await here.passing(10)
    assert all([(await here.done(task_id)).result == "done" for task_id in (first, *tasks)])
    # One at once, two within a second, four within two: never all of them in one instant.
    within = [sum(at <= 20.1 + second for at in upstream.calls) - 1 for second in range(4)]
    assert within == [1, 2, 4, 8]
    assert len(upstream.calls) == 1 + 9


async def test_a_success_does_not_lift_a_hold_early(here: World) -> None:
    """One call that was under way proves nothing for all that wait."""
    upstream = Upstream(here)
    go = asyncio.Event()

    @here.gateway.agent("slow", upstream="model")
    async def slow(task: Task) -> str:
        await go.wait()
        return "done"

    declared(here, upstream, "one")
    under_way = await here.submit("slow")
    await here.until(lambda: here.said("task_started"))
    upstream.free_at += 10
    held = await here.submit("one")
    await here.until(lambda: here.said("agent_error"))
    go.set()
    assert (await here.done(under_way)).result == "done"
    await here.passing(5)
    assert len(upstream.calls) == 1
    assert (await here.done(held)).result == "done"
    assert upstream.calls[1] >= 10


async def test_what_a_request_itself_is_refused_for_holds_nothing(here: World) -> None:
    @here.gateway.agent("picky", max_attempts=1)
    async def picky(task: Task, question: str) -> str:
        if question == "bad":
            error = InvalidInput("no")
            error.retry_after = 500.0
            raise error
        return "done"

    assert (await here.run("picky", {"question": "bad"})).status == "failed"
    assert len(here.state.holds) == 0
    assert (await here.run("picky", {"question": "good"})).result == "done"


async def test_a_worker_reports_a_retry_after_and_what_it_could_take_waits(here: World) -> None:
    agents = [{"name": "writer", "upstream": "model"}, {"name": "reader", "upstream": "model"}]
    worker = await hand(here, agents=agents)
    await here.submit("writer")
    await worker.claim()
    await worker.tell("task.fail", message="no", error_type="rate_limit", retry_after=4)
    other = await here.submit("reader", timeout=100.0)
    assert await worker.claim() is None
    await worker.beat_for(3)
    assert await worker.claim() is None
    assert (await worker.claim(wait=5))["attempt"] in (1, 2)
    await worker.tell("task.complete", result=1)
    assert (await worker.claim(wait=5)) is not None
    await worker.tell("task.complete", result=2)
    assert here.state.tasks[other].status == "succeeded"


async def test_what_a_users_agents_say_of_an_upstream_holds_those_alone(here: World) -> None:
    """Else whoever may serve one agent could stop all others."""
    upstream = Upstream(here)
    declared(here, upstream, "one")
    evil = await hand(here, "evil", agents=[{"name": "evil", "upstream": "model"}])
    await here.submit("evil", timeout=10.0)
    await evil.claim()
    await evil.tell("task.fail", message="no", error_type="rate_limit", retry_after=3600)
    assert [hold.upstream for hold in here.state.holds] == ["model of worker"]
    assert (await here.run("one")).result == "done"
    held = await here.submit("evil", timeout=10.0)
    assert await evil.claim() is None
    await here.done(held)


async def test_with_a_fallback_a_task_waits_unless_the_hold_is_longer_than_its_own_limit(
    here: World,
) -> None:
    async def stand_in(task: Task) -> str:
        return "in its place"

    upstream = Upstream(here, busy_s=30)

    @here.gateway.agent("careful", upstream="model", fallback=stand_in, timeout=10.0)
    async def careful(task: Task) -> str:
        return await upstream.call()

    patient = await here.submit("careful", timeout=100.0)
    await here.until(lambda: here.said("agent_error"))
    hurried = await here.run("careful", timeout=20.0)
    assert (hurried.result, hurried.degraded) == ("in its place", True)
    assert hurried.finished_at is not None
    assert hurried.finished_at - hurried.created_at < 1
    waited = await here.done(patient)
    assert (waited.result, waited.degraded) == ("done", False)
    assert len(upstream.calls) == 2


async def test_a_person_who_asks_for_one_attempt_now_gets_that_one(here: World) -> None:
    upstream = Upstream(here, busy_s=100)
    declared(here, upstream, "one")
    first = await here.submit("one")
    await here.until(lambda: here.said("recovery_attempt"))
    second = await here.submit("one")
    await here.passing(10)
    upstream.free_at = 0.0
    await here.call("task.retry", task_id=first)
    await here.done(first)
    assert upstream.calls == [0.0, 10.0]
    assert here.state.tasks[second].status == "pending"
    assert (await here.done(second)).result == "done"


async def test_a_block_whose_upstream_is_held_is_refused_before_it_begins(here: World) -> None:
    upstream = Upstream(here, busy_s=10)
    declared(here, upstream, "one", attempts=1)
    await here.run("one")
    with pytest.raises(Rejected) as refused:
        async with here.gateway.attempt("one", user_id="ann"):
            raise AssertionError("it has begun")
    assert refused.value.code == "rate_limited"
    assert 9 <= (refused.value.retry_after or 0) <= 10
    assert here.said("request_rejected")[0]["reason"] == "rate_limited"
    await here.passing(10)
    async with here.gateway.attempt("one", user_id="ann") as task:
        task.append("well")


async def test_a_task_that_is_held_is_not_given_up_as_if_nobody_took_it(
    open_world: OpenWorld,
) -> None:
    here = await open_world(queue_timeout=5.0)
    upstream = Upstream(here, busy_s=20)
    declared(here, upstream, "one")
    await here.submit("one")
    await here.until(lambda: upstream.calls)
    held = await here.submit("one")
    assert (await here.done(held)).result == "done"


async def test_tasks_that_wait_for_a_full_upstream_are_in_no_others_way(
    open_world: OpenWorld,
) -> None:
    """They have a stand-in, which is for failures; as many as a look tries come before others."""
    here = await open_world(adaptive_concurrency=1)

    async def stand_in(task: Task) -> str:
        return "degraded"

    @here.gateway.agent("slow", upstream="model", timeout=1000.0, fallback=stand_in)
    async def slow(task: Task) -> str:
        await here.passing(5)
        return "done"

    @here.gateway.agent("quick")
    async def quick(task: Task) -> str:
        return "done"

    waiting = [await here.submit("slow", timeout=1000) for _ in range(30)]
    began_at = here.engine.clock.monotonic()
    await here.submit("quick")
    await here.until(lambda: here.said("task_finished", agent_name="quick"))
    assert here.engine.clock.monotonic() < began_at + 1
    assert here.state.concurrencies.shown(9)["model"] == {"running": 1, "limit": 1}
    ended = [await here.done(task_id) for task_id in waiting]
    assert {task.result for task in ended} == {"done"}
    assert here.engine.clock.monotonic() >= began_at + 30 * 5


@pytest.mark.parametrize("scope", [{}, {"scope": "upstream"}])
async def test_an_operator_lifts_a_hold_and_the_calls_come_in_a_ramp(
    here: World, scope: dict[str, str]
) -> None:
    """On every node; what has failed waits as long as it was told."""
    upstream = Upstream(here, busy_s=600)
    declared(here, upstream, "one", "two")
    first = await here.submit("one", timeout=900.0)
    await here.until(lambda: here.said("agent_error"))
    tasks = [await here.submit(name, timeout=900.0) for name in ("one", "two") * 2]
    await here.passing(30)
    assert len(upstream.calls) == 1
    upstream.free_at = 0.0
    lifted_at = here.engine.clock.monotonic()
    shown = await here.call("breaker.close", name="model", **scope)
    assert (shown["name"], shown["scope"], shown["state"]) == ("model", "upstream", "closed")
    assert (await here.call("stats.get"))["held_upstreams"] == {}
    assert all([(await here.done(task_id)).result == "done" for task_id in tasks])
    assert here.engine.clock.monotonic() < lifted_at + 4
    assert [sum(at <= lifted_at + s + 0.1 for at in upstream.calls) - 1 for s in (0, 1)] == [1, 2]
    (told,) = here.said("audit_recorded", action="hold_lifted")
    assert told["target"] == "model"
    assert here.state.tasks[first].status == "waiting"
    await here.call("task.retry", task_id=first)
    assert (await here.done(first)).result == "done"
    # It is lifted: there is nothing more to record.
    await here.call("breaker.close", name="model", **scope)
    assert len(here.said("audit_recorded", action="hold_lifted")) == 1


async def test_an_operator_lifts_what_users_agents_have_said_as_well(here: World) -> None:
    own = await hand(here, "own", agents=[{"name": "own", "upstream": "theirs"}])
    await here.submit("own", timeout=10.0)
    await own.claim()
    await own.tell("task.fail", message="no", error_type="rate_limit", retry_after=3600)
    for wrong in ({"name": "thei"}, {"name": "theirs", "scope": "domain"}):
        with pytest.raises(NotFound):
            await here.call("breaker.close", **wrong)
    assert [hold.left_s(here.engine.clock.wall()) > 0 for hold in here.state.holds] == [True]
    await here.call("breaker.close", name="theirs")
    assert [hold.left_s(here.engine.clock.wall()) for hold in here.state.holds] == [0.0]
