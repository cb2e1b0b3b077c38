"""The engine's life: it begins, comes to an end that leaves nothing open, and can begin again."""

from __future__ import annotations

import asyncio
import pathlib
import subprocess
from collections.abc import Sequence

import pytest

from gateway import Gateway, Task
from gateway.domain.access import LOCAL_OPERATOR, Caller
from gateway.domain.errors import (
    InvalidParams,
    NotFound,
    NotPermitted,
    Rejected,
    Unavailable,
)
from gateway.domain.settings import Settings
from gateway.errors import RateLimited
from gateway.execution.service import Service
from gateway.ports import Draft
from tests.execution.conftest import OpenWorld
from tests.execution.hands import ends, slow
from tests.execution.kept import Cluster, until_killed
from tests.execution.world import VirtualLoop, World


async def test_every_open_task_is_ended(open_world: OpenWorld) -> None:
    here = await open_world(drain_grace=5.0, workers=2)
    stop = here.stop()

    @here.gateway.agent("slow", timeout=100.0)
    async def slow(task: Task) -> None:
        task.preserve("a", 1)
        await here.passing(90)

    @here.gateway.agent("thread", timeout=100.0)
    def thread(task: Task) -> None:
        stop.here()

    @here.gateway.agent("limited")
    async def limited(task: Task) -> None:
        raise RateLimited(retry_after=50.0)

    waiting = await here.submit("limited")
    await here.passing(1)
    running = [await here.submit("slow"), await here.submit("thread")]
    await here.passing(1)
    pending = [await here.submit("slow"), await here.submit("nobody")]
    await here.engine.drain()
    for task_id in [waiting, *running, *pending]:
        (finished,) = here.said("task_finished", task_id=task_id)
        assert (finished["outcome"], finished["reason"]) == ("failed", "shutdown")
        assert here.said("agent_error", task_id=task_id)[-1]["error_code"] == "shutdown"
    assert here.said("partial_result_preserved")[0]["preserved_data"] == {"a": 1}
    assert here.said("resource_cleanup")[0]["leftovers"] == ["thread: thread"]
    stop.go()


async def test_an_attempt_that_runs_may_finish_within_the_grace(open_world: OpenWorld) -> None:
    here = await open_world(drain_grace=10.0)

    @here.gateway.agent("slow", timeout=100.0)
    async def slow(task: Task) -> str:
        await here.passing(9)
        return "done"

    running = await here.submit("slow")
    await here.passing(0.5)
    draining = asyncio.ensure_future(here.engine.drain())
    await here.passing(1)
    with pytest.raises(Rejected) as rejected:
        await here.submit("slow")
    assert rejected.value.code == "draining"
    await draining
    assert here.state.tasks[running].result == "done"


async def test_draining_twice_is_draining_once(here: World) -> None:
    await here.submit("nobody")
    await here.engine.drain()
    before = len(here.events)
    await here.engine.drain()
    assert len(here.events) == before


async def test_a_gateway_stops_though_agents_do_not(open_world: OpenWorld) -> None:
    here = await open_world(drain_grace=1.0)
    go = asyncio.Event()

    @here.gateway.agent("stubborn", timeout=100.0)
    async def stubborn(task: Task) -> None:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue

    await here.submit("stubborn")
    await here.passing(1)
    await here.engine.drain()
    assert here.said("resource_cleanup")[0]["leftovers"] == ["coroutine: stubborn"]
    go.set()


def test_a_gateway_can_run_again() -> None:
    """Tests of an application enter its lifespan once each, on a loop of their own."""
    gateway = Gateway(Settings())

    @gateway.agent("echo")
    async def echo(task: Task, word: str) -> str:
        return word

    async def once(word: str) -> None:
        async with gateway._life(None):
            handle = await gateway.submit("echo", {"word": word})
            assert await handle.result() == word

    for word in ("one", "two", "three"):
        asyncio.run(once(word))


async def test_a_start_that_is_under_way_when_the_node_leaves_is_waited_for() -> None:
    cluster = Cluster()
    node = cluster.node(slow(cluster, seconds=0.5))
    async with until_killed(node.engine):
        await cluster.passing(1)

        async def far_away(drafts: Sequence[Draft]) -> None:
            await cluster.passing(0.005)

        node.log.before = far_away
        asking = asyncio.ensure_future(node.gateway.submit("slow"))
        await cluster.passing(0.007)
        await node.engine.drain()
        await asking
    assert ends(cluster) == [("succeeded", None)]


async def test_a_node_that_leaves_cleans_up_after_what_it_gives_back() -> None:
    cluster = Cluster(drain_grace=0.5)
    left: list[tuple[subprocess.Popen[bytes], pathlib.Path]] = []

    def declare(gateway: Gateway) -> None:
        @gateway.agent("starter", timeout=100.0)
        async def start(task: Task) -> None:
            left.append((task.start_process("sleep", "60"), task.temp_dir()))
            await cluster.passing(50)

    node = cluster.node(declare)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    # Threads clean up, and no time passes while they work.
    loop.selector.held = lambda: bool(node.engine.parts.attempts.threads._running)
    async with until_killed(node.engine):
        await cluster.passing(1)
        await node.gateway.submit("starter")
        await cluster.passing(1)
        await node.engine.drain()
        ((process, folder),) = left
        assert process.poll() is not None
        assert not folder.exists()
    assert ends(cluster) == []
    assert cluster.said("agent_error") == []


async def test_a_gateway_that_runs_once_more_knows_what_the_log_says() -> None:
    """In one process, as in tests of an application that it is mounted in."""
    cluster = Cluster()
    node = cluster.node(slow(cluster, seconds=1))
    for run in range(3):
        async with until_killed(node.engine):
            await cluster.passing(1)
            task_id = (await node.gateway.submit("slow")).task_id
            await cluster.passing(5)
            assert node.state.tasks[task_id].status == "succeeded"
            assert len(node.state.tasks) == run + 1


# --- what the doors may ask ----------------------------------------------------------------------


async def test_the_engine_is_the_service_that_the_doors_know(here: World) -> None:
    service: Service = here.engine
    task_id = await here.submit("writer", user_id="ann")
    assert service.owner_of(f"task:{task_id}") == "ann"
    assert service.owner_of("task:unknown") is None
    assert service.reason is None
    assert service.degradation is None
    shown = service.snapshot([f"task:{task_id}"], LOCAL_OPERATOR)
    assert [task["task_id"] for task in shown["tasks"]] == [task_id]
    head = service.log.head
    assert await service.reached(head, within_s=0)
    assert not await service.reached(head + 1, within_s=0)
    service.check_params("ping", {})
    with pytest.raises(InvalidParams):
        service.check_params("ping", {"foreign": 1})


async def test_a_call_is_checked_for_its_scope_then_for_its_parameters(here: World) -> None:
    stranger = Caller("ann", frozenset())
    with pytest.raises(NotPermitted):
        await here.call("task.get", stranger)
    with pytest.raises(InvalidParams):
        await here.call("task.get")
    with pytest.raises(NotFound):
        await here.call("task.get", task_id="unknown")


async def test_a_gateway_that_does_not_run_refuses_every_call_before_anything_else() -> None:
    """A task that it accepted would never be done."""
    engine = Cluster().node().engine
    for _ in range(2):
        with pytest.raises(Unavailable, match="does not run"):
            await engine.call("task.dance", {}, LOCAL_OPERATOR)
        async with until_killed(engine):
            with pytest.raises(InvalidParams):
                await engine.call("task.get", {}, LOCAL_OPERATOR)


async def test_a_store_is_opened_once_however_often_it_is_asked_for() -> None:
    cluster = Cluster()
    node = cluster.node()
    opened: list[int] = []
    open_log = node.log.open

    async def count() -> None:
        opened.append(1)
        await open_log()

    node.log.open = count  # type: ignore[method-assign]
    await node.engine.open()
    await node.engine.open()
    for runs in (1, 2):
        async with until_killed(node.engine):
            pass
        assert len(opened) == runs


async def test_a_drain_on_a_durable_log_leaves_open_tasks_to_the_next_process() -> None:
    cluster = Cluster(drain_grace=1.0)
    node = cluster.node(slow(cluster, seconds=100))
    async with until_killed(node.engine):
        await cluster.passing(1)
        ids = [(await node.gateway.submit(name)).task_id for name in ("slow", "writer")]
        await cluster.passing(1)
        await node.engine.drain()
        assert {node.state.tasks[task_id].status for task_id in ids} == {"pending"}
    assert len(cluster.snapshots) == 1
    async with until_killed(cluster.node(slow(cluster, seconds=1)).engine):
        await cluster.passing(5)
    assert ends(cluster) == [("succeeded", None)]


async def test_a_drain_ends_though_the_store_is_away(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(drain_grace=1.0)
    node = cluster.node(slow(cluster, seconds=1))
    async with until_killed(node.engine):
        await cluster.passing(1)
        node.log.away = True
        await node.engine.drain()
    assert "left without a goodbye" in caplog.text
