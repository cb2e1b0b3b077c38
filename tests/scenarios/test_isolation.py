"""Attempts in processes of their own, under `gateway serve` and under `gateway work`."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Callable

import psutil
import pytest
import pytest_asyncio

from tests.attempts.isolated import below, until
from tests.scenarios.harness import (
    Browser,
    GatewayProcess,
    browser,
    gateway_process,
    worker_process,
)
from tests.soak import times

AGENTS = "tests.attempts.isolated_agents:gateway"
# A gateway, and what gives the process in which its agents are declared, which may be a new one.
Agents = tuple[GatewayProcess, Callable[[], psutil.Process]]

pytestmark = [pytest.mark.own_store, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["serve", "work"])
async def agents(request: pytest.FixtureRequest) -> AsyncIterator[Agents]:
    """The agents in the gateway's own process, then in a worker's."""
    async with contextlib.AsyncExitStack() as stack:
        here = request.param == "serve"
        gateway = await stack.enter_async_context(
            gateway_process(target=AGENTS if here else None, store="memory", retry_base=0.05)
        )
        if here:
            yield gateway, lambda: psutil.Process(gateway.process.pid)
        else:
            worker = await stack.enter_async_context(worker_process(gateway.url, target=AGENTS))
            yield gateway, lambda: worker.child


async def test_attempts_that_are_over_are_killed_told_and_leave_nothing(agents: Agents) -> None:
    gateway, process = agents[0], agents[1]()
    before = below(process.pid)
    async with browser(gateway.url) as operator:
        task = await gateway.task("limited")
        finished = await operator.finished(task["task_id"], within_s=20)
        assert finished["outcome"] == "dead_lettered"
        errors = operator.all("agent_error", task_id=task["task_id"])
        assert [error["error_code"] for error in errors] == ["task_timeout"] * 2
        await cleaned(operator, task["task_id"], 2)

        task = await gateway.task("limited")
        await operator.event("partial_result", task_id=task["task_id"])
        await operator.call("task.cancel", task_id=task["task_id"])
        await cleaned(operator, task["task_id"], 1)
    assert below(process.pid) == before


async def test_a_crash_is_that_attempts_alone(agents: Agents) -> None:
    """The next goes on from what was kept, and the process of the others has lost nothing."""
    gateway, process = agents[0], agents[1]()
    async with browser(gateway.url) as operator:
        task = await gateway.task("fragile", "the outline")
        finished = await operator.finished(task["task_id"])
        assert finished["outcome"] == "succeeded"
        (error,) = operator.all("agent_error", task_id=task["task_id"])
        assert (error["error_type"], error["error_code"]) == ("agent_lost", "process_lost")
        assert error["detail"]["process"] == "SIGKILL"
        await cleaned(operator, task["task_id"], 2)

        task = await gateway.task("hungry")
        finished = await operator.finished(task["task_id"])
        (error,) = operator.all("agent_error", task_id=task["task_id"])
        assert error["error_code"] == "memory_limit_exceeded"
        await cleaned(operator, task["task_id"], 1)
    assert process.is_running()


@pytest.mark.parametrize("agent", ["pools", "terminates"])
async def test_children_that_an_agent_forks_end_by_their_own_signals(
    agents: Agents, agent: str
) -> None:
    """Theirs went to the loop: the worker left, and under `serve` the child lived on."""
    gateway, process = agents[0], agents[1]()
    before = below(process.pid)
    async with browser(gateway.url) as operator:
        task = await gateway.task(agent)
        finished = await operator.finished(task["task_id"], within_s=20)
        assert finished["outcome"] == "succeeded"
        assert finished["result"] == {"pools": [1, 2], "terminates": -signal.SIGTERM}[agent]
        task = await gateway.task("fragile", "still here")
        assert (await operator.finished(task["task_id"]))["outcome"] == "succeeded"
    assert process.is_running()
    await until(lambda: below(process.pid) == before)


@pytest.mark.parametrize("agents", ["serve"], indirect=True)
async def test_a_child_that_an_agent_forks_holds_nothing_of_the_gateway_open(
    agents: Agents,
) -> None:
    """Neither its port nor its clients, which would not hear that the gateway has ended."""
    gateway, process = agents[0], agents[1]()
    async with browser(gateway.url) as operator:
        assert process.net_connections("inet") != []
        task = await gateway.task("lingers")
        child = psutil.Process((await operator.finished(task["task_id"]))["result"])
        held = [at.laddr.port for at in child.net_connections("inet") if at.laddr]
        assert (held, gateway.port in held) == ([], False)
        # The other one that it has left is killed at the end, which would wait for it for ever.
        child.terminate()
        await until(lambda: child.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.soak
@pytest.mark.parametrize("agents", ["work"], indirect=True)
async def test_what_has_left_a_killed_workers_session_ends_with_it(agents: Agents) -> None:
    """A browser, an MCP server: they outlived it, and the cleanup said that all was gone."""
    gateway, process = agents[0], agents[1]()
    async with browser(gateway.url) as operator:
        for number in range(times(1, 100)):
            task = await gateway.task(("forks-apart", "forks")[number % 2])
            finished = await operator.finished(task["task_id"], within_s=30)
            assert finished["result"] == "done"
        assert agents[1]() == process

        task = await gateway.task("sessions")
        step = await operator.event("partial_result", task_id=task["task_id"], step="pids")
        keeper = process.ppid()
        before = below(keeper)
        assert set(step["data"]) <= before
        process.kill()
        await cleaned(operator, task["task_id"], 1)
        assert below(keeper) & before == set()
        assert not any(psutil.pid_exists(pid) for pid in step["data"])
        # The next one is there for other tests.
        task = await gateway.task("echo-apart")
        await operator.finished(task["task_id"], within_s=30)


async def cleaned(operator: Browser, task_id: str, count: int) -> None:
    """Wait until so many attempts at a task are cleaned up after: all of it is gone."""
    await operator.until(lambda _: len(operator.all("resource_cleanup", task_id=task_id)) == count)
    for cleanup in operator.all("resource_cleanup", task_id=task_id):
        assert cleanup["leftovers"] == []
        assert cleanup["cleanup_status"] == "success"
        assert "process" in cleanup["resources_cleaned"]
