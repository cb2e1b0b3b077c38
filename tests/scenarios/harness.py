"""
The scenarios' parts: a gateway and workers in processes of their own, browsers that record
every frame.

A browser collects until something holds or a deadline passes, never until it is quiet. What it
recorded is checked against schemas and the rules over time when it closes, in every test.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import httpx2
import orjson
import psutil
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError
from websockets.typing import Subprotocol

from gateway.app.check import check_lines
from tests.nats import NatsServer, nats_folder
from tests.warm import WarmProcess, started

__all__ = [
    "Browser",
    "GatewayProcess",
    "WorkerProcess",
    "browser",
    "gateway_process",
    "worker_process",
]

ROOT = Path(__file__).parents[2]
# The bound of each wait, in seconds; a busy machine makes no failure of it.
WAIT_S = 20.0

# The store of every gateway that names none: `make durable` runs the same tests on NATS.
STORE = os.environ.get("GATEWAY_TEST_STORE", "memory")
_nats: list[asyncio.Task[NatsServer]] = []
_at_exit = contextlib.ExitStack()
atexit.register(_at_exit.close)
_streams = itertools.count(1)

Event = dict[str, Any]


async def _nats_url() -> str:
    """The address of a NATS server that lives as long as this process."""
    if not _nats:  # gateways that start together wait for the same one
        _nats.append(asyncio.create_task(_nats_server()))
    return (await asyncio.shield(_nats[0])).url


async def _nats_server() -> NatsServer:
    # Not by an async generator, which would end with the loop of the first test.
    server = NatsServer(_at_exit.enter_context(nats_folder()))
    _at_exit.callback(server.kill)
    await server.start()
    return server


Process = asyncio.subprocess.Process | WarmProcess


async def _started(
    arguments: Sequence[str], *, env: Mapping[str, str], stderr: IO[bytes] | int | None
) -> Process:
    """Start a command of the gateway."""
    # Some of this Python itself reads, at its start.
    of_python = {name: value for name, value in env.items() if name.startswith("PYTHON")}
    if of_python.items() <= {**os.environ, "PYTHONWARNINGS": "default"}.items():
        return await started(arguments, env=env, cwd=ROOT, stderr=stderr)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        cwd=ROOT,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        limit=2**20,
    )


class GatewayProcess:
    """A running ``gateway serve``."""

    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url
        self.http = httpx2.AsyncClient(base_url=url, timeout=10)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    async def task(self, agent: str, question: str = "hello", **params: Any) -> Event:
        """Create a task over HTTP and give the answer's body."""
        response = await self.http.post(
            "/api/tasks", json={"agent": agent, "input": {"question": question}, **params}
        )
        assert response.status_code == 201, response.text
        answer: Event = response.json()
        return answer

    async def get(self, path: str) -> Any:
        """GET some JSON."""
        response = await self.http.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    async def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """End the process; returns its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(sign)
        async with asyncio.timeout(20):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def gateway_process(
    *,
    upstream: str | None = None,
    target: str | None = "tests.scenarios.agents:gateway",
    port: int = 0,
    flags: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    said: IO[bytes] | None = None,
    log_level: str = "warning",
    **settings: object,
) -> AsyncIterator[GatewayProcess]:
    """
    Start a gateway.

    Args:
        upstream: Base URL of the agents' upstream, without ``/v1``.
        port: Where it listens; 0: on a free one.
        flags: More of ``gateway serve``.
        said: Gets what it says on stderr; None: the stderr of the tests does.
        log_level: How much it says there.
        settings: ``retry_base=0.1`` becomes ``GATEWAY_RETRY_BASE``.
    """
    # The machine is busy with other tests, which is no overload of this gateway: those that are
    # about one let it be measured.
    settings = {"degraded_lag": 0, "degraded_cpu": 0, **settings}
    if STORE == "nats":
        # A log of its own, on a server that all gateways of this test process share.
        settings = {"store": await _nats_url(), "store_stream": f"S{next(_streams)}", **settings}
    environment = {
        **os.environ,
        "PYTHONWARNINGS": "default",
        "UPSTREAM_URL": f"{upstream or 'http://127.0.0.1:9'}/v1",
        **{f"GATEWAY_{name.upper()}": str(value) for name, value in settings.items()},
        **(env or {}),
    }
    environment.pop("GATEWAY_URL", None)
    arguments = ["serve", *([target] if target else []), "--port", str(port)]
    process = await _started(
        [*arguments, "--log-level", log_level, *flags], env=environment, stderr=said
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            line = (await process.stdout.readline()).decode().split()
        assert line[:1] == ["ready"], f"the gateway said {line}"
        running = GatewayProcess(process, line[1])
        async with running.http:
            yield running
        await running.stop()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class WorkerProcess:
    """A running ``gateway work``."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.agent_id = ""

    @property
    def child(self) -> psutil.Process:
        """The process that runs the agents."""
        (child,) = psutil.Process(self.process.pid).children()
        return child

    async def ready(self, *, within_s: float = 20.0) -> str:
        """Wait until the gateway has accepted it; gives its agent_id."""
        assert self.process.stdout is not None
        async with asyncio.timeout(within_s):
            line = (await self.process.stdout.readline()).decode().split()
        assert line[:1] == ["ready"], f"the worker said {line}"
        self.agent_id = line[1]
        return self.agent_id

    async def note(self, words: str) -> str:
        """Wait until it says so on stderr; gives the line."""
        assert self.process.stderr is not None
        async with asyncio.timeout(WAIT_S * 2):
            async for line in self.process.stderr:
                if words in line.decode():
                    return line.decode()
        raise AssertionError(f"it never said {words!r}")

    async def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """End the process; returns its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(sign)
        async with asyncio.timeout(20):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def worker_process(
    url: str,
    *flags: str,
    upstream: str | None = None,
    target: str = "tests.scenarios.agents:gateway",
    env: Mapping[str, str] | None = None,
    wait: bool = True,
    notes: bool = False,
    said: IO[bytes] | None = None,
) -> AsyncIterator[WorkerProcess]:
    """
    Start a worker.

    Args:
        url: The gateway's HTTP address.
        flags: More of ``gateway work``.
        upstream: Base URL of the agents' upstream, without ``/v1``.
        wait: Whether to wait until the gateway has accepted it.
        notes: Whether what it says on stderr is for ``note`` instead.
        said: Gets what it says on stderr; None: the stderr of the tests does, or ``note``.
    """
    arguments = ["work", target, "--url", url.replace("http", "ws", 1) + "/ws"]
    process = await _started(
        [*arguments, "--log-level", "warning", *flags],
        env={
            **os.environ,
            "PYTHONWARNINGS": "default",
            "UPSTREAM_URL": f"{upstream or 'http://127.0.0.1:9'}/v1",
            **(env or {}),
        },
        stderr=asyncio.subprocess.PIPE if notes else said,
    )
    worker = WorkerProcess(process)
    try:
        if wait:
            await worker.ready()
        yield worker
        await worker.stop()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


class Browser:
    """
    A WebSocket client that records every frame with a monotonic time.

    Attributes:
        frames: Every frame as it came, with its time.
        events: The events among them.
        hello: The answer to ``connect``.
        subscribed: The answer to ``subscribe``.
        degradation: What the newest heartbeat said is degraded; None: nothing.
        may_be_lost: Whether its gateway is going to be killed.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.frames: list[tuple[float, bytes]] = []
        self.events: list[Event] = []
        self.at: dict[int, float] = {}
        self.degradation: Event | None = None
        self.hello: Event = {}
        self.subscribed: Event = {}
        self.may_be_lost = False
        self._replies: dict[int, Event] = {}
        self._next = 0
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosedError):
            await self._record()
        # A gateway that stops in order says so; whatever else ends it is a failure of the test.
        if self._socket.close_code not in (1000, 1012) and not self.may_be_lost:
            raise AssertionError(f"the gateway closed with {self._socket.close_code}")

    async def _record(self) -> None:
        loop = asyncio.get_running_loop()
        async for text in self._socket:
            raw = text.encode() if isinstance(text, str) else text
            frame = orjson.loads(raw)
            async with self._news:
                self.frames.append((loop.time(), raw))
                if "type" in frame:
                    self.events.append(frame)
                    self.at[frame["offset"]] = loop.time()
                elif frame.get("method") == "heartbeat":
                    self.degradation = frame["params"].get("degradation")
                elif "id" in frame:
                    self._replies[frame["id"]] = frame
                self._news.notify_all()

    async def call(self, method: str, **params: Any) -> Event:
        """Call a method; gives the whole reply, error or result."""
        self._next += 1
        number = self._next
        await self._socket.send(
            orjson.dumps(
                {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            ).decode()
        )
        async with asyncio.timeout(WAIT_S), self._news:
            await self._news.wait_for(lambda: number in self._replies)
        return self._replies.pop(number)

    async def until(self, holds: Callable[[list[Event]], Any], *, within_s: float = WAIT_S) -> Any:
        """Wait until something holds for the events so far; gives what it gave."""
        try:
            async with asyncio.timeout(within_s), self._news:
                await self._news.wait_for(lambda: holds(self.events))
        except TimeoutError:
            seen = [f"{event['offset']} {event['type']}" for event in self.events]
            raise AssertionError(
                f"it did not come true within {within_s} s; seen: {seen}"
            ) from None
        return holds(self.events)

    async def event(self, type: str, *, within_s: float = WAIT_S, **fields: Any) -> Event:
        """Wait for the first event of a type with these fields."""
        found: Event = await self.until(
            lambda events: next(iter(self.all(type, **fields)), None), within_s=within_s
        )
        return found

    def all(self, type: str, **fields: Any) -> list[Event]:
        """Every event of a type with these fields, so far."""
        return [
            event
            for event in self.events
            if event["type"] == type
            and all(event.get(name) == value for name, value in fields.items())
        ]

    async def finished(self, task_id: str, *, within_s: float = WAIT_S) -> Event:
        """Wait for a task's end."""
        return await self.event("task_finished", task_id=task_id, within_s=within_s)

    async def close(self) -> None:
        """Close, and check what was recorded."""
        await self._socket.close()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading
        self.check()

    def check(self, *, complete: bool = False) -> None:
        """Check the recording against schemas and the rules over time."""
        report = check_lines([raw for _, raw in self.frames], complete=complete)
        assert report.ok, [str(finding) for finding in report.findings]


@contextlib.asynccontextmanager
async def browser(
    url: str,
    user_id: str | None = None,
    *,
    topics: list[str] | None = None,
    since: Any = None,
    snapshot: bool = False,
    token: str | None = None,
) -> AsyncIterator[Browser]:
    """
    Connect and subscribe, as a page does.

    Args:
        url: The gateway's HTTP address.
        user_id: The user to act as on an open gateway; None: an operator.
        topics: None: the user's own, or everything for an operator; empty: it does not subscribe.
    """
    address = url.replace("http", "ws", 1) + "/ws"
    socket = await connect(address, subprotocols=[Subprotocol("agent-events.v1")], max_size=None)
    page = Browser(socket)
    try:
        identity = {"token": token} if token else {"user_id": user_id} if user_id else {}
        page.hello = (await page.call("connect", **identity))["result"]
        wanted = ([f"user:{user_id}"] if user_id else ["*"]) if topics is None else topics
        if wanted:
            reply = await page.call("subscribe", topics=wanted, since=since, snapshot=snapshot)
            assert "result" in reply, reply
            page.subscribed = reply["result"]
        yield page
        await page.close()
    finally:
        page._reading.cancel()
        await socket.close()
