"""A worker of the demonstration ends when the process that started it does."""

from __future__ import annotations

import asyncio
import sys

import pytest

from gateway.app.demo.crew import TARGET

END_LIMIT_S = 20.0


@pytest.mark.timeout(60)
async def test_a_worker_ends_at_the_end_of_its_stdin() -> None:
    """However its parent ended: SIGKILL closes the pipe, too. No gateway is needed for it."""
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.app.demo.employed", "work", TARGET),
        *("--url", "ws://127.0.0.1:9/ws", "--grace", "0", "--log-level", "error"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert worker.stdin is not None
    worker.stdin.close()
    async with asyncio.timeout(END_LIMIT_S):
        await worker.wait()
    assert worker.returncode in (0, -15)
