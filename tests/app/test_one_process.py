"""A log in memory is one process's: a second one of the same server refuses to start."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.app.one_process import alone_in_its_server

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def served_by(workers: int, **settings: str) -> AsyncIterator[asyncio.StreamReader]:
    """Serve the application by so many workers of uvicorn; gives what they say."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "tests.app.two_workers:app", "--port", "0"),
        *("--workers", str(workers)),
        cwd=ROOT,
        env=os.environ | settings,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        yield process.stderr
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        async with asyncio.timeout(20):
            await process.wait()


async def said(words: str, lines: asyncio.StreamReader) -> str:
    async with asyncio.timeout(30):
        async for line in lines:
            if words in line.decode():
                return line.decode()
    raise AssertionError(f"it never said {words!r}")


async def test_a_second_worker_of_one_server_refuses_and_says_what_to_do() -> None:
    async with served_by(2) as lines:
        line = await said("another process of this server", lines)
        assert "one worker" in line
        assert "GATEWAY_STORE=nats://" in line


async def test_one_worker_starts() -> None:
    async with served_by(1) as lines:
        await said("Application startup complete", lines)


def test_what_no_such_server_has_started_is_let_be() -> None:
    with alone_in_its_server(), alone_in_its_server():
        pass


@pytest.mark.parametrize("times", [1, 2])
def test_it_can_be_entered_again_after_its_end(times: int) -> None:
    for _ in range(times):
        with alone_in_its_server():
            pass
