"""Clients that mean harm beside users as they are: what they cost the users, and the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import orjson
import psutil
import pytest

from gateway.app.clock import SystemClock
from tests.scenarios.harness import ROOT, gateway_process
from tests.scenarios.hostile_clients import KINDS
from tests.soak import SOAK, times
from tests.transports.world import SECRET

CLOCK = SystemClock()
USERS, PACE_S = times(20, 50), times(1, 2)
ALONE_S, BESIDE_S = times(1, 60), times(4, 600)
# Kinds that go together; each set is a process.
SETS = 2
# What the gateway keeps is full after the first part of the time; from then on it may not grow.
LOG_BYTES, FINISHED_BYTES = 8 * 2**20, 4 * 2**20
WARM_S = times(2, 60)
GROWTH_BYTES_MAX = times(96, 48) * 2**20
RATIO_MAX = 2.0


class Clients:
    """A process of clients, which is told by lines and tells by lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def told(self, line: str = "", *, within_s: float) -> Any:
        """Say something, or end its input; gives what it prints then."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if line:
            self._process.stdin.write(f"{line}\n".encode())
        else:
            self._process.stdin.close()
        async with asyncio.timeout(within_s):
            return orjson.loads(await self._process.stdout.readline())


@contextlib.asynccontextmanager
async def busy_machine() -> AsyncIterator[None]:
    """
    Let as many processes as there are hostile ones do sums, with as little right to a processor.

    Threads of one core slow each other down, and an attacker has another machine: what the attack
    costs is told by comparison with a machine that is as busy with something else.
    """
    idle = "import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))"
    spin = f"{idle}\nwhile True: sum(range(1000))"
    spinning = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", spin) for _ in range(SETS)
    ]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def clients(name: str, *arguments: str) -> AsyncIterator[Clients]:
    """Start a process of clients, and wait until they have connected."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"tests.scenarios.{name}", *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**26,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"ready\n"
        yield Clients(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def memory_over_time(pid: int, found: list[tuple[float, int]]) -> None:
    """Note the gateway's memory, until cancelled: seconds since the beginning, and bytes."""
    began, process = CLOCK.monotonic(), psutil.Process(pid)
    while True:
        found.append((CLOCK.monotonic() - began, process.memory_info().rss))
        await CLOCK.sleep(0.2)


def percentile_ms(took_ms: list[float], part: float) -> float:
    """Give the time within which this part of all tasks was done."""
    return round(sorted(took_ms)[int((len(took_ms) - 1) * part)], 1)


@pytest.mark.own_store  # what they reach for is not the store
@pytest.mark.timeout(times(60, 1200))
async def test_clients_that_mean_harm_cost_the_others_little_and_the_gateway_nothing(
    record_property: Any,
) -> None:
    """All kinds at once, each at full speed; nothing of theirs is an error of the gateway's."""
    names = list(KINDS)
    with tempfile.TemporaryFile() as said:
        async with contextlib.AsyncExitStack() as stack:
            gateway = await stack.enter_async_context(
                gateway_process(
                    target="tests.scenarios.quick_agent:gateway",
                    said=said,
                    token_secret=SECRET,
                    log_bytes=LOG_BYTES,
                    finished_bytes=FINISHED_BYTES,
                    head_timeout=2,
                    stall_timeout=2,
                )
            )
            users = await stack.enter_async_context(
                clients("normal_users", gateway.url, str(USERS), str(PACE_S))
            )
            quiet = await users.told(str(ALONE_S), within_s=ALONE_S + 60)
            async with busy_machine():
                alone = await users.told(str(ALONE_S), within_s=ALONE_S + 60)
            hostile = [
                await stack.enter_async_context(
                    clients("hostile_clients", gateway.url, *names[number::SETS])
                )
                for number in range(SETS)
            ]
            memory: list[tuple[float, int]] = []
            watching = asyncio.create_task(memory_over_time(gateway.process.pid, memory))
            beside = await users.told(str(BESIDE_S), within_s=BESIDE_S + 60)
            watching.cancel()
            answers: dict[str, dict[str, int]] = {}
            for each in hostile:
                answers |= await each.told(within_s=30)
            # It serves as before, once they are gone.
            after = await users.told(str(ALONE_S), within_s=ALONE_S + 60)
        said.seek(0)
        lines = said.read().decode()

    for name, found in (
        ("on a quiet machine", quiet),
        ("alone", alone),
        ("beside", beside),
        ("after", after),
    ):
        figures = [percentile_ms(found["took_ms"], part) for part in (0.5, 0.99)]
        record_property(f"users {name}: tasks, p50 ms, p99 ms", (len(found["took_ms"]), *figures))
        assert found["wrong"] == []
    warm = [rss for at_s, rss in memory if at_s <= WARM_S]
    later = [rss for at_s, rss in memory if at_s > WARM_S]
    step = max(1, len(memory) // 20)
    record_property("memory, MiB", [rss >> 20 for _, rss in memory[::step]])
    record_property("answers", answers)
    assert answers.keys() == KINDS.keys()
    assert [kind for kind in QUICK if not answers[kind]] == [], "some did not get to it"
    told = {f"{kind}: {what}" for kind, found in answers.items() for what in found}
    assert not [what for what in told if " 5" in what or "-32603" in what]
    assert "Traceback" not in lines, lines
    # What went wrong with their tasks is told; nothing is wrong with the gateway.
    wrong = [line for line in lines.splitlines() if " ERROR " in line or " CRITICAL " in line]
    assert [line for line in wrong if " gateway.events: " not in line] == []
    assert max(later) - max(warm) < GROWTH_BYTES_MAX, memory
    p99_alone, p99 = (percentile_ms(found["took_ms"], 0.99) for found in (alone, beside))
    # Times are judged on a machine of one's own only.
    assert p99 <= RATIO_MAX * p99_alone or not SOAK, (p99_alone, p99)


# Kinds that are answered soon: the others wait, or read nothing.
QUICK = [
    kind
    for kind in KINDS
    if kind not in ("half_heads", "half_bodies", "silent_sockets", "deaf", "deaf_sockets")
    and kind not in ("garbage", "giant_bodies", "giant_frames")
]
