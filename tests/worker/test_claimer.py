"""A worker's claims against a real gateway: what it takes, keeps, loses, and how it leaves."""

from __future__ import annotations

import contextlib
import random
from typing import Any, cast

import pytest

from gateway.domain.attempt import ALONE_AFTER
from gateway.domain.errors import StaleTerm, Unavailable
from gateway.execution.engine import Engine
from gateway.ports import EventLog
from gateway.worker import claimer
from gateway.worker.claimer import Claim
from tests.scenarios.proxy import Proxy
from tests.transports.world import World, until, world
from tests.worker.crew import DoubtfulLog, call, status, submit, working


async def test_a_worker_works_on_as_many_claims_at_once_as_it_may() -> None:
    async with world() as here, working(here.ws, concurrency=2) as desk:
        tasks = [await submit(here) for _ in range(5)]
        await until(lambda: desk.running == 2)
        assert [await status(here, task) for task in tasks].count("running") == 2
        desk.go.set()
        known = here.engine.parts.state.tasks
        await until(lambda: all(known[task].status == "succeeded" for task in tasks))
        assert desk.most == 2
        assert len({claim["task_id"] for claim in desk.claims}) == 5


async def test_a_worker_without_room_claims_nothing() -> None:
    room: list[bool] = []
    async with world() as here, working(here.ws, has_room=lambda: bool(room)) as desk:
        task = await submit(here)
        await call(here, "agent.get", agent_id=desk.registered[0].agent_id)
        assert desk.claims == []
        room.append(True)
        desk.claimer.look()
        await until(lambda: desk.claims)
        assert desk.claims[0]["task_id"] == task


async def test_a_worker_renews_its_lease_for_as_long_as_it_works() -> None:
    async with world(lease_ttl=0.3) as here, working(here.ws) as desk:
        task_id = await submit(here)
        await until(lambda: desk.claims)
        task = here.engine.parts.state.tasks[task_id]
        granted = task.lease_expires_at
        assert granted is not None
        await until(lambda: here.engine.clock.wall() > granted + 0.3)
        assert (task.status, task.attempt) == ("running", 1)
        desk.go.set()
        await until(lambda: task.status == "succeeded")


async def test_a_worker_that_has_lost_its_task_is_told_and_its_reports_are_refused() -> None:
    async with world(heartbeat_timeout=0.6) as here, working(here.ws) as desk:
        task_id = await submit(here)
        await until(lambda: desk.claims)
        await call(here, "task.cancel", task_id=task_id)
        await until(lambda: desk.lost)
        assert desk.lost == [task_id]
        with pytest.raises(StaleTerm):
            await desk.claimer.report("task.complete", desk.claims[0], {"result": "late"})
        assert await status(here, task_id) == "cancelled"


async def test_a_leaving_worker_finishes_its_task_and_says_goodbye() -> None:
    async with world() as here, working(here.ws) as desk:
        task_id, waiting = await submit(here), await submit(here)
        await until(lambda: desk.claims)
        desk.claimer.leave(10)
        desk.go.set()
        worker = here.engine.parts.state.workers[desk.registered[0].agent_id]
        await until(lambda: worker.removed)
        assert await status(here, task_id) == "succeeded"
        assert await status(here, waiting) == "pending"
        assert desk.lost == []


@pytest.mark.parametrize("goodbye", [True, False])
async def test_a_leaving_worker_gives_back_a_task_that_outlasts_its_grace(goodbye: bool) -> None:
    async with world() as here, working(here.ws) as desk:
        task_id = await submit(here)
        await until(lambda: desk.claims)
        desk.claimer.leave(60, goodbye=goodbye)
        desk.claimer.leave(0.05)  # the earlier end counts
        worker = here.engine.parts.state.workers[desk.registered[0].agent_id]
        await until(lambda: here.engine.parts.state.tasks[task_id].status == "pending")
        assert desk.lost == [task_id]
        await until(lambda: worker.removed is goodbye)


async def test_a_worker_leaves_when_the_gateway_asks_it_to() -> None:
    async with world(heartbeat_timeout=0.6) as here, working(here.ws) as desk:
        agent_id = desk.registered[0].agent_id
        await call(here, "agent.shutdown", agent_id=agent_id, grace=5)
        await until(lambda: here.engine.parts.state.workers[agent_id].removed)


async def test_a_report_waits_until_the_gateway_is_there_again() -> None:
    """Cut off while it works: it comes back as the same worker, under the same term."""
    async with (
        world() as here,
        Proxy(here.port) as proxy,
        working(f"ws://127.0.0.1:{proxy.port}/ws") as desk,
    ):
        task_id = await submit(here)
        await until(lambda: desk.claims)
        proxy.cut()
        desk.go.set()
        task = here.engine.parts.state.tasks[task_id]
        await until(lambda: task.status == "succeeded")
        assert (task.attempt, task.term) == (1, desk.claims[0]["term"])
        assert len({identity.agent_id for identity in desk.registered}) == 1


async def test_a_task_whose_claim_never_arrived_is_given_back_and_claimed_again() -> None:
    """Its answer went into a dead connection. The task does not wait for the lease to end."""
    async with (
        world() as here,
        Proxy(here.port) as proxy,
        working(f"ws://127.0.0.1:{proxy.port}/ws") as desk,
    ):
        desk.go.set()
        await until(lambda: here.engine.parts.claims.waiting)
        proxy.stalled = True
        task = here.engine.parts.state.tasks[await submit(here)]
        await until(lambda: task.status == "running")
        proxy.cut()
        proxy.stalled = False
        await until(lambda: task.status == "succeeded")
        assert [claim["term"] for claim in desk.claims] == [2]
        assert task.last_error is None


@pytest.mark.parametrize("seed", range(3))
async def test_whenever_a_worker_is_cut_off_each_task_is_done_once_and_none_waits_for_its_lease(
    seed: int,
) -> None:
    """At any moment: in a handshake, while it registers, between a claim and its answer."""
    chance = random.Random(seed)
    async with (
        world() as here,
        Proxy(here.port) as proxy,
        working(f"ws://127.0.0.1:{proxy.port}/ws", concurrency=3) as desk,
    ):
        desk.claimer._registration._connection._chance = lambda: 0.02
        done: list[str] = []

        async def make(claim: Claim) -> None:
            await here.engine.clock.sleep(chance.random() * 0.1)
            with contextlib.suppress(StaleTerm):
                await desk.claimer.report("task.complete", claim, {"result": "done"})
            done.append(claim["task_id"])

        desk.claimer._make = make
        tasks = []
        for _ in range(30):
            tasks.append(here.engine.parts.state.tasks[await submit(here)])
            await here.engine.clock.sleep(chance.random() * 0.05)
            proxy.cut()
        await until(lambda: not any(task.live for task in tasks) and not desk.claimer._running)
        assert {task.status for task in tasks} == {"succeeded"}
        assert [task.last_error for task in tasks] == [None] * len(tasks)
        assert sorted(done) == sorted(task.task_id for task in tasks)


async def test_a_task_that_is_worked_on_is_not_given_back_by_a_new_registration() -> None:
    async with (
        world() as here,
        Proxy(here.port) as proxy,
        working(f"ws://127.0.0.1:{proxy.port}/ws") as desk,
    ):
        task = here.engine.parts.state.tasks[await submit(here)]
        await until(lambda: desk.claims)
        proxy.cut()
        await until(lambda: len(desk.registered) == 2)
        desk.go.set()
        await until(lambda: task.status == "succeeded")
        assert task.term == 1


async def test_a_mistake_of_the_desk_ends_the_attempt_and_not_the_worker() -> None:
    async with world() as here, working(here.ws) as desk:

        async def stumble(claim: Claim) -> None:
            raise ZeroDivisionError

        desk.claimer._make = stumble
        task_id = await submit(here)
        task = here.engine.parts.state.tasks[task_id]
        await until(lambda: not task.live)
        assert task.last_error is not None
        assert task.last_error["error_type"] == "internal_error"
        desk.claimer._make = desk.make
        again = await submit(here)
        await until(lambda: desk.claims)
        assert desk.claims[0]["task_id"] == again


@pytest.mark.parametrize("writes", [True, False])
async def test_a_text_that_the_store_left_in_doubt_is_said_again_and_kept_once(
    writes: bool,
) -> None:
    async with (
        world(wrap_log=lambda log: cast(EventLog, DoubtfulLog(log, writes=writes))) as here,
        working(here.ws) as desk,
    ):
        task = here.engine.parts.state.tasks[await submit(here)]
        await until(lambda: desk.claims)
        for number, text in enumerate(("Hello ", "world"), start=1):
            told = {"text": text, "piece": number}
            await desk.claimer.report("task.update", desk.claims[0], told)
        assert task.preserved.text == "Hello world"
        assert task.preserved.pieces == 2


async def test_a_report_that_reaches_no_gateway_in_time_loses_its_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claimer, "TELL_WITHIN_S", 0.2)
    async with (
        world() as here,
        Proxy(here.port) as proxy,
        working(f"ws://127.0.0.1:{proxy.port}/ws") as desk,
    ):
        task_id = await submit(here)
        await until(lambda: desk.claims)
        proxy.refuse = True
        proxy.cut()
        with pytest.raises(StaleTerm):
            await desk.claimer.report("task.complete", desk.claims[0], {"result": "late"})
        assert desk.lost == [task_id]


async def test_a_claim_that_is_refused_is_tried_again_after_the_time_that_the_gateway_says() -> (
    None
):
    async with world() as here:
        refused: list[str] = []

        async def script(name: str, params: Any, caller: Any) -> Any:
            if name == "task.claim" and not refused:
                refused.append(name)
                raise Unavailable("not now", retry_after=0.01)
            return await Engine.call(here.engine, name, params, caller)

        here.engine.script = script
        async with working(here.ws) as desk:
            await submit(here)
            await until(lambda: desk.claims)
            assert refused == ["task.claim"]


async def test_a_task_that_comes_back_waits_until_its_earlier_attempt_here_has_stopped() -> None:
    async with world() as here, working(here.ws, concurrency=2) as desk:
        task = here.engine.parts.state.tasks[await submit(here)]
        await until(lambda: desk.claims)
        told = {"task_id": task.task_id, "term": 1, **desk.registered[0].as_dict()}
        await call(here, "task.release", **told)
        await until(lambda: task.term == 2 and len(desk.claimer._running) == 1)
        assert [claim["term"] for claim in desk.claims] == [1]
        desk.go.set()
        await until(lambda: len(desk.claims) == 2)
        assert [claim["term"] for claim in desk.claims] == [1, 2]
        assert desk.most == 1


@pytest.mark.parametrize("apart", [False, True])
async def test_what_ends_its_process_again_and_again_is_worked_on_alone(apart: bool) -> None:
    """Whatever is held ends first, and nothing is taken meanwhile; unless it is apart anyway."""
    room: list[bool] = []
    async with world(retry_base=0.01) as here:
        killer = await submit(here, max_attempts=9)
        await killed(here, killer, times=ALONE_AFTER)
        first = await submit(here, priority=1)
        options = {"concurrency": 3, "has_room": lambda: bool(room), "apart": lambda claim: apart}
        async with working(here.ws, **options) as desk:
            room.append(True)
            desk.claimer.look()
            await until(lambda: here.engine.parts.state.tasks[killer].status == "running")
            later = await submit(here)
            if apart:
                await until(lambda: desk.running == 3)
            desk.go.set()
            known = here.engine.parts.state.tasks
            await until(lambda: all(known[one].status == "succeeded" for one in (killer, later)))
        assert desk.most == (3 if apart else 1)
        assert [claim["task_id"] for claim in desk.claims] == [first, killer, later]


async def killed(here: World, task_id: str, *, times: int) -> None:
    """Let a task end the process of a worker that has nothing else."""
    agents = [{"name": "echo"}]
    made = await call(here, "agent.register", handle="mortal", agents=agents)
    proof = {name: made[name] for name in ("agent_id", "agent_secret")}
    for _ in range(times):
        await until(lambda: here.engine.parts.state.tasks[task_id].status != "running")
        claim = await call(here, "task.claim", wait=5, **proof)
        about = {"task_id": task_id, "term": claim["term"], "message": "it is gone"}
        why = {"error_type": "agent_lost", "error_code": "process_lost", "others": 0}
        await call(here, "task.fail", **about, **why, **proof)
    await call(here, "agent.remove", **proof)
