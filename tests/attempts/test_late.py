"""What is still done for blocks whose caller has gone on."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Mount, Route

from gateway import Gateway, Task
from gateway.attempts.late import Late
from gateway.domain.settings import Settings
from tests.execution.world import World
from tests.transports.world import hurried, until


async def test_the_cleanup_of_a_block_is_finished_under_any_cancellation(here: World) -> None:
    """A scope of anyio cancels at each await, so that nothing can be waited for inside it."""
    closed: list[str] = []
    seen: list[Path] = []
    running: list[subprocess.Popen[bytes]] = []

    async def close(task: Task) -> None:
        await here.passing(1)
        closed.append(task.task_id)

    @here.gateway.agent("endpoint", cleanup=[close])
    async def endpoint(task: Task) -> None: ...

    with anyio.CancelScope() as scope:
        async with here.gateway.attempt("endpoint") as task:
            seen.append(task.temp_dir())
            running.append(task.start_process("sleep", "100"))
            scope.cancel()
            await here.passing(100)
    blocks = here.engine.parts.blocks
    assert blocks.has(task.task_id)
    await here.until(lambda: bool(here.said("resource_cleanup")))
    (cleanup,) = here.said("resource_cleanup")
    assert cleanup["resources_cleaned"] == ["close", "process", "temp_files"]
    assert (cleanup["cleanup_status"], closed) == ("success", [task.task_id])
    assert not seen[0].exists()
    assert running[0].poll() is not None
    assert here.said("task_finished")[0]["outcome"] == "cancelled"
    await here.passing(1)
    assert not blocks.has(task.task_id)


async def test_a_caller_that_is_cancelled_during_the_cleanup_does_not_stop_it(
    here: World,
) -> None:
    closed: list[str] = []

    async def close(task: Task) -> None:
        await here.passing(3)
        closed.append("closed")

    @here.gateway.agent("endpoint", cleanup=[close])
    async def endpoint(task: Task) -> None: ...

    async def ask() -> None:
        async with here.gateway.attempt("endpoint") as task:
            task.temp_dir()

    asking = asyncio.ensure_future(ask())
    await here.passing(1)
    for _ in range(3):
        asking.cancel()
        await asyncio.wait({asking}, timeout=0.1)
    assert asking.cancelled()
    await here.passing(5)
    assert closed == ["closed"]
    assert here.said("task_finished")[0]["outcome"] == "succeeded"
    assert here.said("resource_cleanup")[0]["cleanup_status"] == "success"


async def test_what_a_job_raises_is_raised_while_somebody_waits() -> None:
    late = Late()

    async def broken() -> None:
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        await late.done("t", broken())
    assert not late.tasks


async def test_a_client_that_leaves_a_stream_leaves_nothing_behind() -> None:
    """A real server and a real process: an answer that streams, and a reader that goes away."""
    gateway = Gateway(Settings(degraded_lag=0, degraded_cpu=0))
    closed: list[str] = []
    events: list[bytes] = []
    used: list[tuple[Path, subprocess.Popen[bytes]]] = []

    async def close(task: Task) -> None:
        await asyncio.to_thread(os.getpid)
        closed.append(task.task_id)

    @gateway.agent("endpoint", cleanup=[close])
    async def declared(task: Task) -> None: ...

    async def words() -> AsyncIterator[str]:
        async with gateway.attempt("endpoint", user_id="ann") as task:
            child = task.start_process("sleep", "100")
            used.append((task.temp_dir(), child))
            while True:
                task.append("word ")
                yield "word "
                await anyio.sleep(0.01)

    async def endpoint(request: Request) -> StreamingResponse:
        return StreamingResponse(words())

    app = Starlette(
        routes=[Route("/words", endpoint), Mount("/agents", gateway.app)],
        lifespan=gateway.lifespan,
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    with hurried():
        serving = asyncio.ensure_future(server.serve())
        try:
            await until(lambda: server.started or serving.done())
            gateway.engine.log.follow(lambda entry: events.append(entry.operator))
            port = server.servers[0].sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /words HTTP/1.1\r\nHost: test\r\n\r\n")
            await reader.readuntil(b"word ")
            writer.close()
            await until(lambda: any(b'"resource_cleanup"' in event for event in events))
        finally:
            server.should_exit = True
            await serving
    ((folder, child),) = used
    assert (len(closed), folder.exists()) == (1, False)
    assert child.poll() is not None
    (cleanup,) = [event for event in events if b'"resource_cleanup"' in event]
    assert b'["close","process","temp_files"]' in cleanup
    assert b'"cleanup_status":"success"' in cleanup
