"""Locks whose holders are processes: killed, stopped, and racing each other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.app.clock import SystemClock
from tests.scenarios.harness import ROOT, GatewayProcess, browser, gateway_process
from tests.soak import times

# The tests share a gateway; each has resources of its own.
pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = SystemClock()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[GatewayProcess]:
    async with gateway_process(target=None) as running:
        yield running


@contextlib.asynccontextmanager
async def holder(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.scenarios.lock_holder", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def held(process: asyncio.subprocess.Process) -> Any:
    assert process.stdout is not None
    return json.loads(await process.stdout.readline())


@pytest.mark.requirement("MESH-01", "MESH-02", "MESH-03", "MESH-W3", "MESH-W5")
async def test_a_lock_whose_holder_was_killed_is_free_when_its_time_is_over(
    gateway: GatewayProcess,
) -> None:
    """Measured as the waiting side sees it: by its first success."""
    ttl_s = 1.5
    asked = {"resource_key": "killed", "holder": "next", "ttl": 30}
    async with browser(gateway.url, topics=["*"]) as watching:
        async with holder("hold", gateway.url, "killed", "first", str(ttl_s)) as process:
            lock = await held(process)
            began = CLOCK.monotonic()
            process.kill()
        refused = 0
        while (answer := await gateway.http.post("/api/locks", json=asked)).status_code == 409:
            refused += 1
            problem = answer.json()
            assert (problem["code"], problem["holder"]) == ("lock_held", "first")
            assert 0 < problem["retry_after"] <= ttl_s
            assert int(answer.headers["retry-after"]) >= 1
            await CLOCK.sleep(0.05)
        waited_s = CLOCK.monotonic() - began
        assert answer.status_code == 200, answer.text
        assert refused > 3
        assert abs(waited_s - ttl_s) < 1.0
        after = answer.json()
        assert after["lock_id"] != lock["lock_id"]
        assert (after["term"], after["renewed"]) == (lock["term"] + 1, False)
        told = await watching.event("lock_expired", lock_id=lock["lock_id"])
        assert (told["resource_key"], told["holder"], told["term"]) == ("killed", "first", 1)


@pytest.mark.requirement("MESH-03", "MESH-W9")
async def test_processes_that_race_for_a_lock_never_hold_it_at_once(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    ledger.touch()
    racers, rounds = times(6, 50), times(15, 200)
    async with contextlib.AsyncExitStack() as stack:
        processes = [
            await stack.enter_async_context(
                holder("race", gateway.url, "raced", f"r{n}", str(rounds), str(ledger))
            )
            for n in range(racers)
        ]
        async with asyncio.timeout(times(45, 1200)):
            codes = [await process.wait() for process in processes]
    assert codes == [0] * racers
    lines = ledger.read_text().splitlines()
    assert len(lines) == 2 * racers * rounds
    terms = []
    for entered, left in zip(lines[::2], lines[1::2], strict=True):
        assert entered.replace("enter", "leave") == left
        terms.append(int(entered.split()[1]))
    assert terms == sorted(set(terms))
    assert terms == list(range(1, racers * rounds + 1))


@pytest.mark.requirement("MESH-04", "MESH-05", "MESH-W10")
async def test_a_holder_that_comes_too_late_is_refused(gateway: GatewayProcess) -> None:
    async with holder("hold", gateway.url, "late", "first", "0.3") as process:
        lock = await held(process)
    body = {"holder": "first", "term": lock["term"], "ttl": 5}
    renewed = await gateway.http.post(f"/api/locks/{lock['lock_id']}/renew", json=body)
    while renewed.status_code == 200:
        await CLOCK.sleep(0.4)
        renewed = await gateway.http.post(
            f"/api/locks/{lock['lock_id']}/renew", json={**body, "ttl": 0.1}
        )
    assert (renewed.status_code, renewed.json()["code"]) == (409, "lock_expired")
    gone = await gateway.http.delete(
        f"/api/locks/{lock['lock_id']}", params={"holder": "first", "term": lock["term"]}
    )
    assert (gone.status_code, gone.json()["code"]) == (409, "lock_expired")
