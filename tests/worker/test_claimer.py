"""A worker against a real gateway: what it takes, keeps, loses, and how it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

import pytest

from gateway import Gateway, Task
from gateway.app.clock import SystemClock
from gateway.client.errors import CallFailed
from gateway.domain.access import LOCAL_OPERATOR
from gateway.domain.errors import StaleTerm, StoreUnavailable
from gateway.domain.settings import Settings
from gateway.ports import Draft, EventLog
from gateway.worker.claimer import Claim, Identity, Worker
from gateway.worker.desk import work
from gateway.worker.line import Line
from tests.scenarios.proxy import Proxy
from tests.transports.world import SECRET, World, token, until, world


class Desk:
    """What a test's worker does with its claims: it holds each until the test lets it go."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        self.lost: list[str] = []
        self.running = self.most = 0
        self.go = asyncio.Event()
        self.registered: list[Identity] = []
        self.worker: Worker

    async def make(self, claim: Claim) -> None:
        self.claims.append(claim)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go.wait()
            if claim["task_id"] not in self.lost:
                with contextlib.suppress(StaleTerm):
                    await self.worker.report("task.complete", claim, {"result": "done"})
        finally:
            self.running -= 1

    def lose(self, task_id: str) -> None:
        self.lost.append(task_id)
        self.go.set()


@contextlib.asynccontextmanager
async def working(url: str, **options: Any) -> AsyncIterator[Desk]:
    """Run a worker; it has to leave by itself, or it is cancelled at the end."""
    desk = Desk()
    desk.worker = Worker(
        url,
        handle="test",
        agents=[{"name": "echo", "max_attempts": 1}],
        make=desk.make,
        lost=desk.lose,
        on_registered=desk.registered.append,
        **options,
    )
    running = asyncio.create_task(desk.worker.run())
    try:
        await until(lambda: desk.registered or running.done())
        if running.done():
            running.result()
        yield desk
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def call(here: World, method: str, **params: Any) -> Any:
    return await here.engine.call(method, params, LOCAL_OPERATOR)


async def submit(here: World, **params: Any) -> str:
    task = await call(here, "task.create", agent="echo", input={"word": "yes"}, **params)
    return str(task["task_id"])


async def status(here: World, task_id: str) -> str:
    return str((await call(here, "task.get", task_id=task_id))["status"])


async def test_it_works_on_so_many_at_once_and_no_more() -> None:
    async with world() as here, working(here.ws, concurrency=2) as desk:
        tasks = [await submit(here) for _ in range(5)]
        await until(lambda: desk.running == 2)
        assert [await status(here, task) for task in tasks].count("running") == 2
        desk.go.set()
        known = here.engine.parts.state.tasks
        await until(lambda: all(known[task].status == "succeeded" for task in tasks))
        assert desk.most == 2
        assert len({claim["task_id"] for claim in desk.claims}) == 5


async def test_it_takes_nothing_while_there_is_no_room() -> None:
    room: list[bool] = []
    async with world() as here, working(here.ws, has_room=lambda: bool(room)) as desk:
        task = await submit(here)
        await call(here, "agent.get", agent_id=desk.registered[0].agent_id)
        assert desk.claims == []
        room.append(True)
        desk.worker.look()
        await until(lambda: desk.claims)
        assert desk.claims[0]["task_id"] == task


async def test_it_keeps_its_lease_for_as_long_as_it_works() -> None:
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


async def test_who_has_lost_its_task_is_told_and_nobody_hears_it_again() -> None:
    async with world(heartbeat_timeout=0.6) as here, working(here.ws) as desk:
        task_id = await submit(here)
        await until(lambda: desk.claims)
        await call(here, "task.cancel", task_id=task_id)
        await until(lambda: desk.lost)
        assert desk.lost == [task_id]
        with pytest.raises(StaleTerm):
            await desk.worker.report("task.complete", desk.claims[0], {"result": "late"})
        assert await status(here, task_id) == "cancelled"


async def test_leaving_it_finishes_and_says_goodbye() -> None:
    async with world() as here, working(here.ws) as desk:
        task_id, waiting = await submit(here), await submit(here)
        await until(lambda: desk.claims)
        desk.worker.leave(10)
        desk.go.set()
        worker = here.engine.parts.state.workers[desk.registered[0].agent_id]
        await until(lambda: worker.removed)
        assert await status(here, task_id) == "succeeded"
        assert await status(here, waiting) == "pending"
        assert desk.lost == []


@pytest.mark.parametrize("goodbye", [True, False])
async def test_leaving_it_gives_back_what_takes_too_long(goodbye: bool) -> None:
    async with world() as here, working(here.ws) as desk:
        task_id = await submit(here)
        await until(lambda: desk.claims)
        desk.worker.leave(60, goodbye=goodbye)
        desk.worker.leave(0.05)  # the earlier end counts
        worker = here.engine.parts.state.workers[desk.registered[0].agent_id]
        await until(lambda: here.engine.parts.state.tasks[task_id].status == "pending")
        assert desk.lost == [task_id]
        await until(lambda: worker.removed is goodbye)


async def test_it_leaves_when_the_gateway_asks_it_to() -> None:
    async with world(heartbeat_timeout=0.6) as here, working(here.ws) as desk:
        agent_id = desk.registered[0].agent_id
        await call(here, "agent.shutdown", agent_id=agent_id, grace=5)
        await until(lambda: here.engine.parts.state.workers[agent_id].removed)


async def test_one_that_was_forgotten_registers_again() -> None:
    async with world(heartbeat_timeout=0.6) as here, working(here.ws) as desk:
        agent_id = desk.registered[0].agent_id
        await call(here, "agent.remove", agent_id=agent_id)
        await until(lambda: len(desk.registered) > 1)
        assert desk.registered[1] == desk.registered[0]
        assert not here.engine.parts.state.workers[agent_id].removed


async def test_it_comes_back_as_itself_or_as_somebody_new() -> None:
    async with world(secret=SECRET) as here:
        agent = token("w", "agent")
        mine = Identity("me", "my-own-secret")
        async with working(here.ws, token=agent, identity=mine) as desk:
            assert desk.registered == [mine]
        stranger = Identity("me", "another-secret")
        async with working(here.ws, token=agent, identity=stranger) as desk:
            assert desk.registered[0].agent_id != "me"


async def test_a_token_without_the_scope_is_the_end() -> None:
    async with world(secret=SECRET) as here:
        with pytest.raises(CallFailed) as failed:
            async with working(here.ws, token=token("w", "events:read")):
                pass
        assert failed.value.code == "not_permitted"


async def test_what_there_is_to_tell_waits_for_the_gateway() -> None:
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


async def test_what_was_given_to_it_and_never_arrived_it_gives_back_and_claims_again() -> None:
    """The answer to its claim went into a connection that was dead; nobody waits for the lease."""
    async with (
        world() as here,
        Proxy(here.port) as proxy,
        working(f"ws://127.0.0.1:{proxy.port}/ws") as desk,
    ):
        desk.go.set()
        await until(lambda: here.engine.parts.claims._news)
        proxy.stalled = True
        task = here.engine.parts.state.tasks[await submit(here)]
        await until(lambda: task.status == "running")
        proxy.cut()
        proxy.stalled = False
        await until(lambda: task.status == "succeeded")
        assert [claim["term"] for claim in desk.claims] == [2]
        assert task.last_error is None


@pytest.mark.parametrize("kept", [False, True])
async def test_what_an_earlier_process_held_it_gives_back_unless_somebody_answers_for_it(
    kept: bool,
) -> None:
    async with world() as here:
        async with working(here.ws) as first:
            task = here.engine.parts.state.tasks[await submit(here)]
            await until(lambda: first.claims)
        known: list[tuple[str, int]] = []

        def keep(task_id: str, term: int) -> bool:
            known.append((task_id, term))
            return kept

        async with working(here.ws, identity=first.registered[0], kept=keep) as desk:
            assert known == [(task.task_id, 1)]
            if kept:
                assert (task.status, task.term) == ("running", 1)
                return
            await until(lambda: desk.claims)
            assert desk.claims[0]["term"] == 2


@pytest.mark.parametrize("seed", range(3))
async def test_however_often_it_is_cut_off_each_task_is_done_once_and_none_waits_for_its_lease(
    seed: int,
) -> None:
    """At any moment: in a handshake, while it registers, between a claim and its answer."""
    chance = random.Random(seed)
    async with (
        world() as here,
        Proxy(here.port) as proxy,
        working(f"ws://127.0.0.1:{proxy.port}/ws", concurrency=3) as desk,
    ):
        desk.worker._connection._chance = lambda: 0.02
        done: list[str] = []

        async def make(claim: Claim) -> None:
            await here.engine.clock.sleep(chance.random() * 0.1)
            with contextlib.suppress(StaleTerm):
                await desk.worker.report("task.complete", claim, {"result": "done"})
            done.append(claim["task_id"])

        desk.worker._make = make
        tasks = []
        for _ in range(30):
            tasks.append(here.engine.parts.state.tasks[await submit(here)])
            await here.engine.clock.sleep(chance.random() * 0.05)
            proxy.cut()
        await until(lambda: not any(task.live for task in tasks) and not desk.worker._running)
        assert {task.status for task in tasks} == {"succeeded"}
        assert [task.last_error for task in tasks] == [None] * len(tasks)
        assert sorted(done) == sorted(task.task_id for task in tasks)


async def test_nothing_is_given_up_that_it_still_works_on() -> None:
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


async def test_a_connection_that_gives_no_answers_is_given_up() -> None:
    """Its socket stays open, so that nothing but the missing answers to beats tells."""
    async with (
        world(heartbeat_timeout=0.6) as here,
        Proxy(here.port) as proxy,
        working(f"ws://127.0.0.1:{proxy.port}/ws") as desk,
    ):
        proxy.stalled = True
        before = proxy.connections
        await until(lambda: proxy.connections > before)
        proxy.stalled = False
        proxy.cut()
        await until(lambda: len(desk.registered) > 1)


async def test_what_is_too_large_for_a_frame_goes_another_way() -> None:
    async with world() as here, working(here.ws) as desk:
        task_id = await submit(here)
        await until(lambda: desk.claims)
        text = "x" * 100_000
        told = {"step": "large", "data": text}
        await desk.worker.report("task.update", desk.claims[0], told)
        assert here.engine.parts.state.tasks[task_id].preserved.steps == {"large": text}
        told = {"step": "larger", "data": text * 3}
        with pytest.raises(CallFailed) as failed:
            await desk.worker.report("task.update", desk.claims[0], told)
        assert (failed.value.code, failed.value.field) == ("too_large", "data")


async def test_a_mistake_of_its_own_ends_the_attempt_and_not_the_worker() -> None:
    async with world() as here, working(here.ws) as desk:

        async def stumble(claim: Claim) -> None:
            raise ZeroDivisionError

        desk.worker._make = stumble
        task_id = await submit(here)
        task = here.engine.parts.state.tasks[task_id]
        await until(lambda: not task.live)
        assert task.last_error is not None
        assert task.last_error["error_type"] == "internal_error"
        desk.worker._make = desk.make
        again = await submit(here)
        await until(lambda: desk.claims)
        assert desk.claims[0]["task_id"] == again


class DoubtfulLog:
    """The same log, which gives no answer to the first piece of text it is given."""

    def __init__(self, log: EventLog, *, writes: bool) -> None:
        self._log = log
        self._writes = writes
        self.doubted = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(
        self, drafts: Sequence[Draft], *, expected: Mapping[str, int] | None = None
    ) -> int:
        if self.doubted or drafts[0].type != "partial_result" or b'"text"' not in drafts[0].body:
            return await self._log.append(drafts, expected=expected)
        self.doubted = True
        if self._writes:
            await self._log.append(drafts, expected=expected)
        raise StoreUnavailable("no answer", retry_after=0.01, in_doubt=True)


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
            await desk.worker.report("task.update", desk.claims[0], told)
        assert task.preserved.text == "Hello world"
        assert task.preserved.pieces == 2


class NobodyKeepsIt:
    """The line of a worker whose keeper listens to nothing."""

    hello: Mapping[str, Any] = {}

    def say(self, kind: str, **about: Any) -> None:
        """Tell nobody."""


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize("step_bytes", [10, 600])
async def test_an_agent_elsewhere_is_heard_once_whatever_else_was_not_kept(
    writes: bool, step_bytes: int
) -> None:
    """That there was no room for a step says nothing about the text."""
    worker = Gateway(Settings(partial_bytes_task=1000))

    @worker.agent("writer", timeout=20.0)
    async def writer(task: Task) -> str:
        task.preserve("first", "x" * step_bytes)
        task.preserve("second", "x" * step_bytes)
        await until(lambda: here.engine.parts.state.tasks[task.task_id].preserved.pieces == 2)
        task.append("Hello ")
        await until(lambda: here.engine.parts.state.tasks[task.task_id].preserved.text)
        task.append("world")
        return "done"

    async with world(
        partial_bytes_task=1000,
        wrap_log=lambda log: cast(EventLog, DoubtfulLog(log, writes=writes)),
    ) as here:
        line = cast(Line, NobodyKeepsIt())
        doing = work(
            worker.agents,
            line,
            settings=worker.settings,
            clock=SystemClock(),
            url=here.ws,
            handle="w",
            domain=None,
            concurrency=1,
            grace_s=1.0,
        )
        running = asyncio.create_task(doing)
        created = await call(here, "task.create", agent="writer")
        task = here.engine.parts.state.tasks[created["task_id"]]
        await until(lambda: not task.live or running.done())
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        assert (task.status, task.preserved.text) == ("succeeded", "Hello world")
        assert task.preserved.pieces == 4
        assert task.preserved.evicted == (["second"] if step_bytes == 600 else [])
