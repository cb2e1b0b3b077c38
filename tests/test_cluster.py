"""`make cluster`: any one of its five processes may be killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys

import httpx2

from gateway.app.clock import SystemClock
from tests.scenarios.harness import ROOT

WAIT_S = 50.0
CLOCK = SystemClock()


async def test_what_one_node_has_accepted_the_other_has_when_a_server_of_each_kind_is_killed() -> (
    None
):
    recipe = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.cluster", "--port", "0"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert recipe.stdout is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(WAIT_S), httpx2.AsyncClient(timeout=10) as http:
            while not lines or not lines[-1].startswith("both"):
                lines.append((await recipe.stdout.readline()).decode())
                assert lines[-1], lines
            pids = [int(found) for found in re.findall(r"process (\d+)", "".join(lines))]
            assert len(pids) == 5
            first, second = re.findall(r"gateway +(\S+)", "".join(lines))
            created = await http.post(f"{first}/api/tasks", json={"agent": "nobody"})
            assert created.status_code == 201
            path = f"{second}/api/tasks/{created.json()['task_id']}"
            for pid in (pids[0], pids[3]):
                os.kill(pid, signal.SIGKILL)
            while (await http.get(f"{second}/ready")).status_code != 200:
                await CLOCK.sleep(0.1)
            assert (await http.get(path)).json()["status"] == "pending"
            # The log takes more with two of its three servers.
            while (await http.post(f"{path}/cancel")).status_code == 503:
                await CLOCK.sleep(0.1)
            assert (await http.get(path)).json()["status"] == "cancelled"
            recipe.terminate()
            assert await recipe.wait() == 0
    finally:
        if recipe.returncode is None:
            recipe.kill()
            await recipe.wait()
