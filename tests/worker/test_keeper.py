"""What a keeper answers for: what its process was given, and what there is to tell at the end."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.scenarios.harness import browser, gateway_process, worker_process

AGENTS = "tests.scenarios.worker_agents:gateway"


@pytest.mark.requirement("WEFT-18")
async def test_what_a_process_was_given_and_never_began_does_not_wait_for_the_lease() -> None:
    """It was stopped while its claim waited, and killed before it had read the answer."""
    async with (
        gateway_process(target=None, heartbeat_timeout=60, offline_after=120) as gateway,
        browser(gateway.url) as operator,
        worker_process(gateway.url, target=AGENTS) as worker,
    ):
        first = worker.child
        # Its next claim came over the same connection before the word that this task is done.
        task = await gateway.task("counter", "1")
        await operator.finished(task["task_id"])
        first.send_signal(signal.SIGSTOP)
        task = await gateway.task("counter", "1")
        await operator.event("task_started", task_id=task["task_id"])
        first.kill()
        finished = await operator.finished(task["task_id"], within_s=20)
        assert finished["outcome"] == "succeeded"
        assert operator.all("agent_error") == []
        starts = operator.all("task_started", task_id=task["task_id"])
        assert [start["agent_id"] for start in starts] == [worker.agent_id] * 2


async def test_told_to_stop_it_tells_a_gateway_that_is_gone_no_longer_than_its_grace() -> None:
    async with gateway_process(target=None) as gateway:
        async with worker_process(gateway.url, "--grace", "1", target=AGENTS, notes=True) as worker:
            async with browser(gateway.url) as operator:
                task = await gateway.task("counter", "1000")
                await operator.event("partial_result", task_id=task["task_id"])
            # It is there and gives no answer, so that every call waits.
            gateway.process.send_signal(signal.SIGSTOP)
            worker.child.kill()
            await worker.note("starting another")
            worker.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(15):
                assert await worker.process.wait() == 0
        await gateway.stop(signal.SIGKILL)
