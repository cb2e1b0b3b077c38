"""The desk of a worker against a real gateway: what it makes of claims, what it passes on."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import orjson
import pytest

from gateway import Gateway, Task
from gateway.app.clock import SystemClock
from gateway.domain.errors import ConfigurationError, GatewayError
from gateway.domain.settings import Settings
from gateway.domain.task import Task as KnownTask
from gateway.errors import RateLimited
from gateway.ports import Entry, EventLog
from gateway.worker.desk import work
from gateway.worker.line import Line
from tests.transports.world import SECRET, World, token, until, world
from tests.worker.crew import DoubtfulLog, call


class Keeper:
    """The keeper's end of a line, as far as a desk sees it: what the worker said to it."""

    def __init__(self, **hello: Any) -> None:
        self.hello: Mapping[str, Any] = hello
        self.said: list[dict[str, Any]] = []

    def say(self, kind: str, **about: Any) -> None:
        if kind != "alive":  # which comes whenever it comes
            self.said.append({"say": kind, **about})

    def kinds(self) -> list[str]:
        return [said["say"] for said in self.said]


class Scene:
    """A gateway and a worker with agents of its own, whose keeper is the test."""

    def __init__(self, here: World, worker: Gateway, keeper: Keeper) -> None:
        self.here = here
        self.keeper = keeper
        self.entries: list[Entry] = []
        here.engine.log.follow(self.entries.append)
        self.running = asyncio.ensure_future(
            work(
                worker.agents,
                cast(Line, keeper),
                settings=worker.settings,
                clock=SystemClock(),
                url=here.ws,
                handle="w",
                domain=None,
                concurrency=1,
                grace_s=1.0,
            )
        )

    async def run(self, agent: str, input: Any = None, **asked: Any) -> KnownTask:
        """Ask for something, and wait for its end."""
        created = await call(self.here, "task.create", agent=agent, input=input, **asked)
        task = self.here.engine.parts.state.tasks[created["task_id"]]
        await until(lambda: not task.live or self.running.done())
        return task

    def said(self, type: str) -> list[dict[str, Any]]:
        events = [orjson.loads(entry.operator) for entry in self.entries]
        return [event for event in events if event["type"] == type]


@contextlib.asynccontextmanager
async def at_desk(worker: Gateway, **options: Any) -> AsyncIterator[Scene]:
    """Run a worker against a gateway; ``options`` are of the gateway's world."""
    async with world(**options) as here:
        scene = Scene(here, worker, Keeper())
        try:
            yield scene
        finally:
            scene.running.cancel()
            await asyncio.gather(scene.running, return_exceptions=True)


async def test_a_claim_becomes_an_attempt_and_its_result_a_call() -> None:
    worker = Gateway()

    @worker.agent("echo")
    async def echo(task: Task, word: str) -> str:
        return f"{word} at {task.attempt}"

    async with at_desk(worker) as scene:
        task = await scene.run("echo", {"word": "yes"})
        assert (task.status, task.result) == ("succeeded", "yes at 1")
        await until(lambda: "ended" in scene.keeper.kinds())
        assert scene.keeper.kinds() == ["registered", "holds", "ended"]
        held = scene.keeper.said[1]
        assert (held["task_id"], held["term"], held["attempt"]) == (task.task_id, 1, 1)


async def test_the_next_attempt_finds_what_the_last_one_left_with_the_gateway() -> None:
    worker = Gateway()

    @worker.agent("stepper", max_attempts=2)
    async def stepper(task: Task) -> Any:
        if task.attempt == 1:
            task.plan("a", "b")
            task.preserve("a", {"x": 1})
            task.append("so far")
            raise RateLimited(retry_after=0.01)
        return [dict(task.preserved.steps), task.preserved.text]

    async with at_desk(worker) as scene:
        task = await scene.run("stepper")
        assert task.result == [{"a": {"x": 1}}, "so far"]
        (kept,) = scene.said("partial_result_preserved")
        assert kept["lost_data"] == ["b"]
        assert scene.said("agent_error")[0]["error_code"] == "upstream_rate_limit"


async def test_what_is_too_much_for_the_call_that_ends_the_attempt_is_told_ahead_of_it() -> None:
    """Eleven steps of 9,000 bytes, said at once, of which the first may be told before the end."""
    worker = Gateway()

    @worker.agent("writer", max_attempts=1)
    async def writer(task: Task) -> None:
        for number in range(11):
            task.preserve(f"step {number}", "x" * 9_000)
        task.append("text")
        raise ValueError

    async with at_desk(worker) as scene:
        task = await scene.run("writer")
        assert task.preserved.steps == {f"step {n}": "x" * 9_000 for n in range(11)}
        assert task.preserved.text == "text"
        assert len(scene.said("partial_result")) >= 11


async def test_what_an_attempt_cleaned_up_is_told() -> None:
    worker = Gateway()

    def close(task: Task) -> None:
        pass

    @worker.agent("echo", cleanup=[close])
    async def echo(task: Task) -> None:
        task.temp_dir()

    async with at_desk(worker) as scene:
        task = await scene.run("echo")
        await until(lambda: scene.said("resource_cleanup"))
        (cleanup,) = scene.said("resource_cleanup")
        assert cleanup["task_id"] == task.task_id
        assert cleanup["resources_cleaned"] == ["close", "temp_files"]
        assert (cleanup["cleanup_status"], cleanup["leftovers"]) == ("success", [])


@pytest.mark.parametrize(("result", "told"), [(2**63 - 1, 2**63 - 1), (2**63, str(2**63))])
async def test_a_number_that_no_frame_can_hold_is_told_as_text(
    result: int, told: int | str
) -> None:
    """The gateway refuses such a frame without an answer; the worker would try for ever."""
    worker = Gateway()

    @worker.agent("count", max_attempts=1)
    async def count(task: Task) -> int:
        return result

    async with at_desk(worker) as scene:
        task = await scene.run("count")
        assert (task.status, task.result) == ("succeeded", told)


async def test_a_fallback_answers_when_the_gateway_asks_for_it() -> None:
    worker = Gateway()

    async def stand_in(task: Task) -> str:
        return "offline"

    @worker.agent("answer", max_attempts=1, fallback=stand_in)
    async def answer(task: Task) -> str:
        raise RateLimited

    async with at_desk(worker) as scene:
        task = await scene.run("answer")
        assert (task.status, task.result) == ("succeeded", "offline")


async def test_a_task_for_an_agent_that_is_not_declared_fails_and_the_worker_goes_on() -> None:
    """The gateway still knows the agents of the process that was this worker before."""
    worker = Gateway()

    @worker.agent("echo")
    async def echo(task: Task) -> str:
        return "yes"

    async with at_desk(worker) as scene:
        await until(lambda: scene.keeper.said)
        declared = worker.agents._declared.pop("echo")
        task = await scene.run("echo")
        assert task.status == "failed"
        assert task.last_error is not None
        assert task.last_error["error_type"] == "internal_error"
        worker.agents.declare(declared)
        assert (await scene.run("echo")).result == "yes"


async def test_after_memory_has_run_out_the_worker_leaves_its_cleanup_to_the_keeper() -> None:
    worker = Gateway()

    @worker.agent("hungry", max_attempts=1)
    async def hungry(task: Task) -> None:
        task.temp_dir()
        raise MemoryError

    async with at_desk(worker) as scene:
        task = await scene.run("hungry")
        with pytest.raises(MemoryError):
            await scene.running
        assert task.last_error is not None
        assert task.last_error["error_code"] == "memory_limit_exceeded"
        kinds = ["registered", "holds", "out_of_memory", "cleaned", "ended"]
        assert scene.keeper.kinds() == kinds
        assert scene.keeper.said[3]["resources"] == ["temp_files"]
        assert scene.said("resource_cleanup") == []
        # Another process comes back as this worker.
        (known,) = scene.here.engine.parts.state.workers.values()
        assert not known.removed


async def test_a_worker_without_agents_has_nothing_to_do() -> None:
    async with world() as here:
        with pytest.raises(ConfigurationError, match="no agents are declared"):
            await Scene(here, Gateway(), Keeper()).running


@pytest.mark.parametrize("scope", [None, "events:read"])
async def test_a_token_that_may_not_register_is_named_as_the_reason(scope: str | None) -> None:
    worker = Gateway()
    worker.agent("echo")(lambda task: "yes")
    given = "nonsense" if scope is None else token("w", scope)
    async with world(secret=SECRET) as here:
        with pytest.raises(GatewayError, match="scope agent"):
            await Scene(here, worker, Keeper(token=given)).running


async def test_a_signal_ends_the_worker_after_its_task_and_a_second_one_at_once() -> None:
    worker = Gateway()

    @worker.agent("slow")
    async def slow(task: Task) -> None:
        await asyncio.Event().wait()

    async with at_desk(worker) as scene:
        created = await call(scene.here, "task.create", agent="slow")
        task = scene.here.engine.parts.state.tasks[created["task_id"]]
        await until(lambda: task.status == "running")
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        await scene.running
        # Given back, not failed: another worker may take it.
        assert (task.status, task.last_error) == ("pending", None)


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize("step_bytes", [10, 600])
async def test_an_agent_in_a_worker_is_heard_once_whatever_else_was_not_kept(
    writes: bool, step_bytes: int
) -> None:
    """That there was no room for a step says nothing about the text."""
    worker = Gateway(Settings(partial_bytes_task=1000))

    @worker.agent("writer", timeout=20.0)
    async def writer(task: Task) -> str:
        known = scene.here.engine.parts.state.tasks[task.task_id].preserved
        task.preserve("first", "x" * step_bytes)
        task.preserve("second", "x" * step_bytes)
        await until(lambda: known.pieces == 2)
        task.append("Hello ")
        await until(lambda: known.text)
        task.append("world")
        return "done"

    async with at_desk(
        worker,
        partial_bytes_task=1000,
        wrap_log=lambda log: cast(EventLog, DoubtfulLog(log, writes=writes)),
    ) as scene:
        task = await scene.run("writer")
        assert (task.status, task.preserved.text) == ("succeeded", "Hello world")
        assert task.preserved.pieces == 4
        assert task.preserved.evicted == (["second"] if step_bytes == 600 else [])


async def test_a_worker_tells_a_cancellation_that_nobody_asked_for_as_a_failure() -> None:
    worker = Gateway()

    @worker.agent("lost", max_attempts=2)
    async def lost(task: Task) -> str:
        if task.attempt == 1:
            raise asyncio.CancelledError
        return "found"

    async with at_desk(worker, retry_base=0.01) as scene:
        task = await scene.run("lost")
        assert (task.status, task.result) == ("succeeded", "found")
        (error,) = scene.said("agent_error")
        assert (error["error_type"], error["error_code"]) == (
            "processing_error",
            "cancelled_itself",
        )
