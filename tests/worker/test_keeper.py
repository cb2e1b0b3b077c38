"""What a keeper answers for: what its process was given, and what there is to tell at the end."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from pathlib import Path

import pytest

from gateway.worker.keeper import Keeper
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


async def test_a_stopping_keeper_tells_a_gateway_that_is_gone_no_longer_than_its_grace() -> None:
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


def a_keeper(*arguments: str) -> Keeper:
    return Keeper(
        arguments, url="ws://127.0.0.1:1/ws", token=None, grace_s=1.0, ready=lambda agent_id: None
    )


async def test_a_process_that_could_not_even_begin_is_not_started_again() -> None:
    """It has said itself why: a target that does not exist, a flag that is none."""
    assert await a_keeper("work", "no_such_module:gateway").run() == 2


async def test_a_keeper_removes_the_folders_of_keepers_that_were_killed(
    tmp_path: Path,
) -> None:
    """A folder that is locked has a keeper; one without a lock is just being made."""
    for name in ("killed", "alive"):
        (tmp_path / f"gateway-work-{name}").mkdir()
        (tmp_path / f"gateway-work-{name}" / "lock").touch()
    (tmp_path / "gateway-work-new").mkdir()
    with (tmp_path / "gateway-work-alive" / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = (sys.executable, "-m", "gateway", "work", "no_such_module:gateway")
        keeper = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, "TMPDIR": str(tmp_path)}
        )
        assert await keeper.wait() == 2
    left = set(os.listdir(tmp_path))
    assert left == {"gateway-work-alive", "gateway-work-new"}
