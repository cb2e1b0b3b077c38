"""Agents in processes of their own: killed, stopped, cut off, out of memory, asked to leave."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import psutil
import pytest
import pytest_asyncio

from gateway.app.clock import SystemClock
from tests.scenarios.harness import (
    Browser,
    Event,
    GatewayProcess,
    browser,
    gateway_process,
    worker_process,
)
from tests.scenarios.proxy import Proxy
from tests.unremovable import make_removable
from tests.upstream import Upstream

# The tests share a gateway that has no agents of its own; each has an upstream and workers.
pytestmark = pytest.mark.asyncio(loop_scope="module")

# From a death to the news of it: the keeper's, not the heartbeats'.
AT_ONCE_S = 1.0
# Longer than any of these tests holds an upstream.
LIMIT = {"AGENT_LIMIT_S": "30"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[GatewayProcess]:
    """A gateway that serves agents that are elsewhere."""
    async with gateway_process(
        target=None,
        # So that silence is noticed in two seconds; nothing here is that slow by itself.
        heartbeat_timeout=2,
        offline_after=6,
        retry_base=0.05,
        breaker_threshold=1000,
        breaker_rate=1,
    ) as running:
        yield running


async def step(page: Browser, task: Event, number: int) -> Event:
    """Wait until a step is told."""
    found: Event = await page.event("partial_result", task_id=task["task_id"], step=f"step{number}")
    return found


async def until_far(page: Browser, task: Event, share: float) -> None:
    """Wait until a task is so far; of what it says in quick succession the newest is told."""
    await page.until(
        lambda events: any(
            event["type"] == "task_progress" and event["progress"] >= share
            for event in events
            if event["task_id"] == task["task_id"]
        )
    )


def exists(folder: str) -> bool:
    """Whether there is such a folder."""
    return Path(folder).exists()


def lives(pid: int) -> bool:
    """Whether a process runs."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def entries(folder: Path) -> list[str]:
    """What is in a folder."""
    return [path.name for path in folder.iterdir()]


def until_stopped(process: psutil.Process) -> None:
    """Wait until a process is stopped; the test's own limit is the bound."""
    while process.status() != psutil.STATUS_STOPPED:
        threading.Event().wait(0.01)


async def gone(process: psutil.Process) -> None:
    """Wait until a process has ended."""
    await asyncio.to_thread(process.wait, 10)


@pytest.mark.requirement("WS-03", "WS-19", "WEFT-08")
async def test_a_killed_worker_is_news_at_once_and_another_goes_on_from_where_it_was(
    gateway: GatewayProcess,
) -> None:
    """SIGKILL in the third of three steps; two are kept, and are not done again."""
    async with (
        Upstream() as upstream,
        browser(gateway.url, "killed") as page,
        worker_process(gateway.url, upstream=upstream.url, env=LIMIT) as first,
    ):
        upstream.schedule("fine", "fine", "hold")
        task = await gateway.task("stepper", user_id="killed")
        await upstream.wait_for_calls(3)
        await step(page, task, 2)
        async with worker_process(gateway.url, upstream=upstream.url, env=LIMIT) as second:
            upstream.schedule("fine")
            loop = asyncio.get_running_loop()
            killed_at = loop.time()
            first.child.kill()
            error = await page.event("agent_error", task_id=task["task_id"])
            assert page.at[error["offset"]] - killed_at < AT_ONCE_S
            finished = await page.finished(task["task_id"])
            assert (error["error_type"], error["error_code"]) == ("agent_lost", "process_lost")
            assert (error["cause"], error["will_retry"]) == ("agent_lost", True)

            kept = page.all("partial_result_preserved")[0]
            assert kept["error_id"] == error["error_id"]
            assert list(kept["preserved_data"]) == ["step1", "step2"]
            assert kept["lost_data"] == ["step3"]
            assert kept["confidence_reduced"] is True
            assert kept["offset"] < error["offset"]

            assert page.all("recovery_attempt")[0]["strategy"] == "reassignment"
            reassigned = page.all("task_reassigned")[0]
            assert reassigned["previous_agent_id"] == first.agent_id
            assert reassigned["agent_id"] == second.agent_id
            assert finished["outcome"] == "succeeded"
            assert list(finished["result"]) == ["step1", "step2", "step3"]
            # Three by the first, the last of them for nothing; one by the second.
            assert upstream.count == 4
            partial = await gateway.get(f"/api/tasks/{task['task_id']}/partial")
            assert list(partial["preserved_data"]) == ["step1", "step2", "step3"]


@pytest.mark.requirement("WEFT-18")
async def test_a_killed_process_comes_back_as_the_same_worker(gateway: GatewayProcess) -> None:
    async with (
        Upstream() as upstream,
        browser(gateway.url) as operator,
        worker_process(gateway.url, upstream=upstream.url, env=LIMIT) as worker,
    ):
        before = await gateway.get(f"/api/agents/{worker.agent_id}")
        assert before["status"] == "healthy"
        upstream.schedule("hold", "fine")
        task = await gateway.task("asker", user_id="again")
        await upstream.wait_for_calls(1)
        worker.child.kill()
        await operator.event("agent_status_changed", agent_id=worker.agent_id, status="suspect")
        await operator.event("agent_status_changed", agent_id=worker.agent_id, status="healthy")
        finished = await operator.finished(task["task_id"])
        assert finished["outcome"] == "succeeded"
        starts = operator.all("task_started", task_id=task["task_id"])
        assert [start["agent_id"] for start in starts] == [worker.agent_id] * 2
        assert upstream.count == 2
        same = [
            item
            for item in (await gateway.get("/api/agents?status=healthy"))["items"]
            if item["agent_id"] == worker.agent_id
        ]
        assert len(same) == 1


@pytest.mark.requirement("WEFT-19")
async def test_a_worker_asked_to_stop_finishes_its_tasks_and_says_goodbye(
    gateway: GatewayProcess,
) -> None:
    async with (
        Upstream() as upstream,
        browser(gateway.url) as operator,
        worker_process(gateway.url, upstream=upstream.url, env=LIMIT) as worker,
    ):
        upstream.schedule("hold")
        task = await gateway.task("once", user_id="leaving")
        await upstream.wait_for_calls(1)
        worker.process.send_signal(signal.SIGTERM)
        # It takes nothing more; this one is for the next worker.
        upstream.release()
        finished = await operator.finished(task["task_id"])
        assert finished["outcome"] == "succeeded"
        goodbye = await operator.event("agent_status_changed", agent_id=worker.agent_id)
        assert (goodbye["status"], goodbye["reason"]) == ("offline", "goodbye")
        assert finished["offset"] < goodbye["offset"]
        assert await worker.stop() == 0


async def test_a_worker_gives_back_tasks_that_it_cannot_finish_in_time(
    gateway: GatewayProcess,
) -> None:
    """Given back is no failure: the task goes on elsewhere from what was kept."""
    async with (
        Upstream() as upstream,
        browser(gateway.url, "back") as page,
        worker_process(gateway.url, "--grace", "0.3", upstream=upstream.url, env=LIMIT) as first,
    ):
        upstream.schedule("fine", "fine", "hold")
        task = await gateway.task("stepper", user_id="back")
        await upstream.wait_for_calls(3)
        await step(page, task, 2)
        assert await first.stop() == 0
        upstream.schedule("fine")
        async with worker_process(gateway.url, upstream=upstream.url, env=LIMIT):
            finished = await page.finished(task["task_id"])
            assert finished["outcome"] == "succeeded"
            assert upstream.count == 4
            assert page.all("agent_error") == []


@pytest.mark.requirement("WEFT-19")
async def test_the_gateway_asks_a_worker_to_leave(gateway: GatewayProcess) -> None:
    async with (
        Upstream() as upstream,
        browser(gateway.url) as operator,
        worker_process(gateway.url, upstream=upstream.url, env=LIMIT) as worker,
    ):
        upstream.schedule("hold")
        task = await gateway.task("once", user_id="shutdown")
        await upstream.wait_for_calls(1)
        reply = await operator.call("agent.shutdown", agent_id=worker.agent_id, grace=20)
        assert reply["result"]["agent_id"] == worker.agent_id
        upstream.release()
        finished = await operator.finished(task["task_id"])
        assert finished["outcome"] == "succeeded"
        goodbye = await operator.event("agent_status_changed", agent_id=worker.agent_id)
        assert goodbye["status"] == "offline"
        async with asyncio.timeout(10):
            assert await worker.process.wait() == 0


@pytest.mark.requirement("WS-07")
async def test_a_connection_that_breaks_costs_nothing_and_doubles_nothing(
    gateway: GatewayProcess,
) -> None:
    """Reset at 60 % and healed: the same attempt goes on, every piece of text is there once."""
    async with (
        Proxy(gateway.port) as proxy,
        browser(gateway.url, "cut") as page,
        worker_process(
            f"http://127.0.0.1:{proxy.port}", target="tests.scenarios.worker_agents:gateway"
        ),
    ):
        task = await gateway.task("counter", "300", user_id="cut")
        for share in (0.2, 0.4, 0.6):
            await until_far(page, task, share)
            proxy.cut()
        finished = await page.finished(task["task_id"])
        assert finished["outcome"] == "succeeded"
        assert finished["result"] == "".join(f"{n}\n" for n in range(1, 301))
        told = "".join(event["text"] for event in page.all("partial_result"))
        assert told == finished["result"]
        assert len(page.all("task_started")) == 1
        assert page.all("agent_error") == []
        assert proxy.connections >= 4


async def test_a_result_larger_than_a_frame_arrives(gateway: GatewayProcess) -> None:
    async with (
        browser(gateway.url, "large") as page,
        worker_process(gateway.url, target="tests.scenarios.worker_agents:gateway"),
    ):
        task = await gateway.task("large", user_id="large")
        finished = await page.finished(task["task_id"])
        assert len(finished["result"]["text"]) == 200_000
        partial = await gateway.get(f"/api/tasks/{task['task_id']}/partial")
        assert len(partial["preserved_data"]["step1"]) == 100_000


@pytest.mark.requirement("WS-06", "WS-W5")
@pytest.mark.parametrize("agent", ["hungry", "glutton"])
async def test_a_worker_out_of_memory_is_replaced_and_cleaned_up_after(
    gateway: GatewayProcess, agent: str
) -> None:
    """What the event claims is looked up: the process, its folder, the memory."""
    async with (
        browser(gateway.url, agent) as page,
        worker_process(gateway.url, target="tests.scenarios.worker_agents:gateway") as worker,
    ):
        child = worker.child
        task = await gateway.task(agent, user_id=agent)
        files = (await page.event("partial_result", step="files"))["data"]
        assert files["pid"] == child.pid
        error = await page.event("agent_error", task_id=task["task_id"])
        assert error["error_type"] == "resource_limit"
        assert error["error_code"] == "memory_limit_exceeded"
        assert error["will_retry"] is False
        finished = await page.finished(task["task_id"])
        assert finished["outcome"] == "failed"
        cleanup = await page.event("resource_cleanup", task_id=task["task_id"])
        assert not psutil.pid_exists(child.pid)
        assert not exists(files["folder"])
        assert {"agent_memory", "temp_files", "process"} <= set(cleanup["resources_cleaned"])
        assert cleanup["cleanup_status"] == "success"
        assert cleanup["leftovers"] == []
        assert cleanup["memory_freed"] > 10 * 1024**2
        assert cleanup["error_id"] == error["error_id"]
        again = await gateway.task("counter", "3", user_id=agent)
        assert (await page.finished(again["task_id"]))["outcome"] == "succeeded"
        assert worker.child.pid != child.pid
        assert len(page.all("resource_cleanup", task_id=task["task_id"])) == 1


@pytest.mark.requirement("WS-06", "WS-W5")
async def test_a_cleanup_that_failed_is_told_as_it_is(gateway: GatewayProcess) -> None:
    """The file is still there, and the event says so; the process is gone, and it says that."""
    async with (
        browser(gateway.url, "sticky") as page,
        worker_process(gateway.url, target="tests.scenarios.worker_agents:gateway"),
    ):
        task = await gateway.task("sticky", user_id="sticky")
        files = (await page.event("partial_result", step="files"))["data"]
        try:
            error = await page.event("agent_error", task_id=task["task_id"])
            cleanup = await page.event("resource_cleanup", task_id=task["task_id"])
            assert exists(files["held"])
            assert not lives(files["process"])
            assert cleanup["cleanup_status"] == "failed"
            assert cleanup["leftovers"][0].startswith("temp_files: ")
            assert set(cleanup["resources_cleaned"]) == {"agent_memory", "process"}
            assert cleanup["error_id"] == error["error_id"]
        finally:
            make_removable(Path(files["held"]))


async def test_a_worker_keeps_trying_while_there_is_no_gateway() -> None:
    """Started first, it waits; a gateway that dies and comes back finds it again."""
    agents = "tests.scenarios.worker_agents:gateway"
    # Bound and not listening: no other process gets the port, and connecting is refused.
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        port = placeholder.getsockname()[1]
        async with contextlib.AsyncExitStack() as stack:
            worker = await stack.enter_async_context(
                worker_process(f"http://127.0.0.1:{port}", target=agents, wait=False, notes=True)
            )
            for _ in range(2):
                assert "is `gateway serve` running?" in await worker.note("trying again")
            placeholder.close()
            async with gateway_process(target=None, port=port) as first:
                agent_id = await worker.ready()
                seen = await first.get(f"/api/agents/{agent_id}")
                handle, status = seen["handle"], seen["status"]
                assert status == "healthy"
                await first.stop(signal.SIGKILL)
            async with (
                gateway_process(target=None, port=port) as again,
                browser(again.url, since="start") as operator,
            ):
                # It comes back by its secret; a gateway that does not know it makes a new id.
                back = await operator.event("agent_registered", handle=handle, within_s=20)
                assert back["agent_id"] != agent_id
                task = await again.task("large", user_id="later")
                assert (await operator.finished(task["task_id"]))["outcome"] == "succeeded"


@pytest.mark.requirement("WS-19", "WEFT-09")
@pytest.mark.parametrize("whole", [True, False], ids=["the worker", "its process"])
async def test_a_worker_that_is_stopped_loses_its_task_and_its_late_words_are_refused(
    gateway: GatewayProcess, whole: bool
) -> None:
    """SIGSTOP is silence without an end: only heartbeats tell. SIGCONT wakes a zombie."""
    async with (
        Upstream() as upstream,
        browser(gateway.url) as operator,
        worker_process(gateway.url, upstream=upstream.url, env=LIMIT) as first,
    ):
        stopped = psutil.Process(first.process.pid) if whole else first.child
        upstream.schedule("fine", "fine", "hold")
        task = await gateway.task("stepper", user_id="stopped")
        await upstream.wait_for_calls(3)
        await step(operator, task, 2)
        async with worker_process(gateway.url, upstream=upstream.url, env=LIMIT) as second:
            upstream.schedule("fine")
            stopped.send_signal(signal.SIGSTOP)
            error = await operator.event("agent_error", task_id=task["task_id"])
            assert error["error_type"] == "agent_lost"
            finished = await operator.finished(task["task_id"])
            assert finished["outcome"] == "succeeded"
            assert operator.all("task_started")[-1]["agent_id"] == second.agent_id
            upstream.release()
            stopped.send_signal(signal.SIGCONT)
            await operator.event("agent_status_changed", agent_id=first.agent_id, status="healthy")
            # It does its next task as if nothing had been.
            again = await gateway.task("once", user_id="stopped")
            await operator.finished(again["task_id"])
            assert len(operator.all("task_finished", task_id=task["task_id"])) == 1
            assert upstream.count == 5


@pytest.mark.requirement("WS-19")
async def test_killing_the_whole_worker_leaves_no_process_and_no_file_behind(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    """Even a process that is stopped ends; the next worker removes what it could not."""
    agents = "tests.scenarios.worker_agents:gateway"
    env = {"TMPDIR": str(tmp_path)}
    async with (
        browser(gateway.url, "whole") as page,
        worker_process(gateway.url, target=agents, env=env) as worker,
    ):
        task = await gateway.task("counter", "300", user_id="whole")
        await page.event("partial_result", task_id=task["task_id"])
        child = worker.child
        worker.process.send_signal(signal.SIGSTOP)
        await asyncio.to_thread(until_stopped, child)
        worker.process.kill()
        await gone(child)
        assert len(entries(tmp_path)) == 1
        error = await page.event("agent_error", task_id=task["task_id"])
        assert error["error_type"] == "agent_lost"
        async with worker_process(gateway.url, target=agents, env=env) as second:
            assert len(entries(tmp_path)) == 1
            assert (await page.finished(task["task_id"], within_s=20))["outcome"] == "succeeded"
            assert await second.stop() == 0
        assert entries(tmp_path) == []


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("tests.scenarios.nothing:gateway", "there is no module"),
        ("tests.scenarios.harness:ROOT", "is no Gateway"),
        ("tests.scenarios", "has to be MODULE:NAME"),
    ],
)
async def test_a_target_that_cannot_be_worked_with_is_a_mistake_in_the_command(
    gateway: GatewayProcess, target: str, words: str
) -> None:
    async with worker_process(gateway.url, target=target, wait=False, notes=True) as worker:
        await worker.note(words)
        async with asyncio.timeout(20):
            assert await worker.process.wait() == 2


async def test_a_token_has_to_be_good_and_to_have_the_scope() -> None:
    """What would end the same way is not tried again; what to do is said."""
    secret = "a secret of at least thirty-two bytes"
    agents = "tests.scenarios.worker_agents:gateway"
    soon = SystemClock().wall() + 60

    def token(scope: str) -> str:
        return jwt.encode({"sub": "w", "scope": scope, "exp": soon}, secret, algorithm="HS256")

    async with gateway_process(target=None, token_secret=secret) as closed:
        for bad in ("wrong", token("events:read")):
            async with worker_process(
                closed.url, "--token", bad, target=agents, wait=False, notes=True
            ) as worker:
                assert "scope agent" in await worker.note("Error")
                async with asyncio.timeout(20):
                    assert await worker.process.wait() == 1
        async with (
            browser(closed.url, token=token("admin")) as operator,
            worker_process(closed.url, "--token", token("agent"), target=agents) as worker,
        ):
            reply = await operator.call("task.create", agent="large", input={"question": ""})
            task_id = reply["result"]["task_id"]
            assert (await operator.finished(task_id))["outcome"] == "succeeded"
            # It is not in the list of processes.
            assert token("agent") not in worker.child.cmdline()


async def test_what_was_flushed_outlives_a_kill_in_the_same_moment() -> None:
    async with (
        gateway_process(target=None, retry_base=0.05) as gateway,
        worker_process(gateway.url, target="tests.scenarios.worker_agents:gateway"),
        browser(gateway.url) as page,
    ):
        task = await gateway.task("sudden")
        finished = await page.finished(task["task_id"])
        assert finished["outcome"] == "succeeded"
        assert finished["result"] == {f"step{number}": number for number in range(5)}
        (error,) = page.all("agent_error")
        assert error["error_type"] == "agent_lost"
