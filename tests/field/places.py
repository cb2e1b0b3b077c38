"""Clocks that are set, unusual requests, browsers that come back, stores that are small."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import orjson

from gateway.domain.errors import ConfigurationError
from gateway.stores.jetstream.stream import require_payload
from tests.execution.world import VirtualClock, VirtualLoop, world
from tests.field.case import Case

__all__ = ["CASES"]

HOUR_S = 3600.0
WAIT_S = 10.0


# --- a clock that is set --------------------------------------------------------------------


def after(step_s: float, *, frozen: bool = False) -> str:
    """A task with a limit of 4 s, after 1 s of which the clock is set; or a stopped process."""

    async def run() -> str:
        async with world(complete=False) as here:
            clock = here.engine.clock
            assert isinstance(clock, VirtualClock)
            late: list[bool] = []
            here.engine.parts.monitor.when_late(lambda: late.append(True))
            task_id = await here.submit("nobody", timeout=4.0)
            await here.passing(1)
            clock.ahead_s = step_s
            if frozen:
                here.stopped_for(8)
                await here.passing(0.5)
                return "noticed" if late else "unnoticed"
            begun = clock.monotonic() - 1
            await here.passing(20)
            ends = here.said("task_finished", task_id=task_id)
            at = {entry.offset: entry.at for entry in here.entries}
            if not ends:
                return "no end"
            took_s = at[ends[0]["offset"]] - here.entries[0].at
            assert clock.monotonic() > begun
            return f"{ends[0]['reason']} after {took_s:.0f} s"

    loop = VirtualLoop()
    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


# --- a real gateway, asked byte by byte -----------------------------------------------------


_processes = contextlib.ExitStack()
atexit.register(_processes.close)


@functools.cache
def gateway_port() -> int:
    """Start a gateway, once; it ends with this process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--port", "0", "--log-level", "error"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "GATEWAY_STORE": "memory"},
    )
    _processes.callback(process.wait)
    _processes.callback(process.send_signal, signal.SIGTERM)
    assert process.stdout is not None
    return int(process.stdout.readline().split()[1].rpartition(b":")[2])


def asked(start: str, *fields: str, body: bytes = b"", until: bytes = b"\r\n\r\n") -> bytes:
    """What is answered, up to its head's end or further."""
    port = gateway_port()
    lines = [f"{start} HTTP/1.1", f"Host: 127.0.0.1:{port}", *fields, "", ""]
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as client:
        client.sendall("\r\n".join(lines).encode() + body)
        said = b""
        while until not in said and (more := client.recv(65_536)):
            said += more
    return said


def status(*request: str, body: bytes = b"") -> str:
    return asked(*request, body=body).split()[1].decode()


def posted(*fields: str) -> str:
    body = orjson.dumps({"agent": "writer", "input": {}})
    length = f"Content-Length: {len(body)}"
    return status("POST /api/tasks", "Content-Type: application/json", length, *fields, body=body)


def resumed(last: str) -> str:
    said = asked(
        "GET /api/events/stream?topic=system", f"Last-Event-ID: {last}", until=b'"replayed"'
    )
    code = said.split()[1].decode()
    return f"{code}, begins anew" if b'"recovered":false' in said else code


def cache_control() -> str:
    said = asked("GET /api/events/stream?topic=system").lower()
    return "no-transform" if b"no-transform" in said else "may be held back"


# --- a small store --------------------------------------------------------------------------


def small_store() -> str:
    try:
        require_payload(65_536)
    except ConfigurationError as error:
        return "refused, both numbers" if "65536" in str(error) and "1048576" in str(error) else ""
    return "taken"


def case(
    id: str, report: str, title: str, was: str, right: str, run: Callable[..., str], *args: Any,
    **more: Any,
) -> Case:  # fmt: skip
    return Case(id, report, title, was, right, functools.partial(run, *args, **more))


CLOCKS = "juju#6940, dolphinscheduler#12170"

CASES = [
    case("F43", CLOCKS, "the clock is set back by an hour, a task has 4 s", "no end",
         "caller_deadline after 4 s", after, -HOUR_S),
    case("F43a", CLOCKS, "the clock is set forward by an hour, a task has 4 s",
         "caller_deadline after 3601 s", "caller_deadline after 4 s", after, HOUR_S),
    case("F43b", CLOCKS, "a process stands still after its clock was set back", "unnoticed",
         "noticed", after, -HOUR_S, frozen=True),
    case("F43c", "neighbour", "the first synchronisation, from 1970", "ends at once",
         "caller_deadline after 4 s", after, 1.8e9),
    case("F44", "uvicorn#2722", "POST with Upgrade: h2c", "400", "201", posted,
         "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQA"),
    case("F44a", "neighbour", "POST with Upgrade: TLS/1.0", "400", "201", posted,
         "Connection: Upgrade", "Upgrade: TLS/1.0"),
    case("F02", "galaxy#22629, Yaffle/EventSource#88", "an EventSource comes back with the id :32",
         "400", "200, begins anew", resumed, ":32"),
    case("F02a", "neighbour", "an EventSource comes back with another server's id", "400",
         "200, begins anew", resumed, "evt_1Nx"),
    case("F32", "vercel/next.js#9965", "SSE through a compressing proxy", "may be held back",
         "no-transform", cache_control),
    case("F52a", "neighbour", "a NATS server with max_payload 64 KiB", "taken",
         "refused, both numbers", small_store),
]  # fmt: skip
