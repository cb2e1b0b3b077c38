"""The crew without a gateway: what can be said before any worker has registered."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from gateway.app.demo.crew import Crew, _children
from gateway.domain.errors import Conflict


async def test_without_a_registered_worker_no_process_is_killed() -> None:
    crew = Crew("http://127.0.0.1:9/v1")
    crew.begin("http://127.0.0.1:9")
    with pytest.raises(Conflict, match="no worker"):
        crew.kill(busy=lambda agent_id: True)


async def test_a_crew_that_never_begins_starts_no_process() -> None:
    before = set(_children(os.getpid()))
    crew = Crew("http://127.0.0.1:9/v1")
    async with crew.running():
        await asyncio.get_running_loop().create_task(_turn())
        assert set(_children(os.getpid())) == before
        with pytest.raises(Conflict):
            crew.kill(busy=lambda agent_id: False)


async def _turn() -> None:
    """One turn of the loop, in which the workers' tasks begin."""


async def test_the_children_of_a_process_are_found_and_those_of_no_process_are_none() -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "input()"), stdin=asyncio.subprocess.PIPE
    )
    try:
        assert child.pid in _children(os.getpid())
    finally:
        await child.communicate(b"\n")
    assert _children(child.pid) == []
