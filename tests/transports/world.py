"""A gateway with its doors open in this process, over real sockets, and what tests do to it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest
import uvicorn
import uvicorn.server
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from gateway.app.clock import RandomIds, SystemClock
from gateway.attempts.agents import Agents
from gateway.domain.access import Caller
from gateway.domain.events import topics_of
from gateway.domain.settings import Settings
from gateway.execution.engine import Engine
from gateway.execution.parts import Parts
from gateway.ports import Draft, EventLog
from gateway.stores.memory import MemoryLog
from gateway.transports.application import create_app
from gateway.transports.hub import Hub
from gateway.transports.limits import Limits
from gateway.transports.server import Server, bind

SECRET = "s" * 32
CLOCK = SystemClock()

# What a test waits for at the most, in seconds; only a failing test takes that long.
WAIT_S = 10.0

# By how much uvicorn's naps are shorter: it looks ten times a second whether it has to end.
HURRY = 20

# Runs a test under our server and under plain uvicorn, where the gateway is any ASGI application.
BOTH_SERVERS = pytest.mark.parametrize("fast", [True, False], ids=["frames", "plain"])

_numbers = itertools.count(1)


class ScriptedEngine(Engine):
    """
    A real engine, whose operations a test may replace by a script.

    It shows what a door does with answers that the real one gives only when something is broken.
    """

    script: Callable[[str, Any, Any], Awaitable[Any]] | None = None

    async def call(self, name: str, params: Mapping[str, Any], caller: Caller) -> Any:
        if self.script is not None:
            return await self.script(name, params, caller)
        return await super().call(name, params, caller)


@dataclasses.dataclass
class World:
    """
    One running gateway.

    Attributes:
        fast: Whether the server lets frames through ready made; else plain ASGI.
    """

    engine: ScriptedEngine
    hub: Hub
    limits: Limits
    port: int
    fast: bool
    server: uvicorn.Server
    serving: asyncio.Task[None]

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def publish(
        self,
        *,
        user_id: str | None = "ann",
        type: str = "notification",
        count: int = 1,
        size: int = 0,
        operators_only: bool = False,
        detail: bytes | None = None,
        **fields: Any,
    ) -> int:
        """Append events as they are; returns the last offset."""
        drafts = []
        for _ in range(count):
            event = {
                "type": type,
                "event_id": f"e{next(_numbers)}",
                "user_id": user_id,
                "payload": "x" * size,
                **fields,
            }
            drafts.append(
                Draft(
                    subject=f"event/{event['event_id']}",
                    type=type,
                    topics=topics_of(event),
                    operators_only=operators_only,
                    body=orjson.dumps(event),
                    detail=detail,
                )
            )
        return await self.engine.log.append(drafts)


class _HurriedAsyncio:
    """asyncio as uvicorn's server sees it: the same but for shorter naps."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, delay_s: float) -> None:
        await CLOCK.sleep(delay_s / HURRY)


@contextlib.contextmanager
def hurried() -> Iterator[None]:
    """Let servers of this process end at once; hundreds of tests would wait for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn.server, "asyncio", _HurriedAsyncio())
        yield


@contextlib.asynccontextmanager
async def world(
    *,
    fast: bool = True,
    secret: str = "",
    frontend: Path | None = None,
    wrap: Callable[[Any], Any] | None = None,
    wrap_log: Callable[[EventLog], EventLog] = lambda log: log,
    before_stop: Any = None,
    agents: Agents | None = None,
    **changes: Any,
) -> AsyncIterator[World]:
    """
    Run a gateway.

    Args:
        wrap_log: Puts another log before its own.
        agents: Those that it declares itself; None: none.
        changes: Settings.
    """
    settings = Settings(token_secret=secret, **changes)
    ids = RandomIds()
    memory = MemoryLog(
        epoch=ids.uuid7(),
        clock=CLOCK,
        events_max=settings.log_events,
        bytes_max=settings.log_bytes,
        age_max_s=settings.log_age,
    )
    log = wrap_log(memory)
    parts = Parts(log=log, clock=CLOCK, ids=ids, settings=settings, agents=agents or Agents())
    engine = ScriptedEngine(parts)
    app = create_app(
        engine,
        settings,
        frontend,
        open_gateway=not (secret or settings.jwks),
        lifespan=lambda app: engine.running(),
    )
    listener = None
    server: uvicorn.Server
    if fast:
        server = Server(app, settings, port=0, before_stop=before_stop)
        port = server.port
        serving = asyncio.create_task(server.serve())
    else:
        listener = bind("127.0.0.1", 0)
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            wrap(app) if wrap else app,
            ws="websockets-sansio",
            ws_ping_interval=None,
            lifespan="on",
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
    here = World(engine, app.state.hub, app.state.limits, port, fast, server, serving)
    with hurried():
        try:
            await until(lambda: server.started or serving.done())
            yield here
        finally:
            server.should_exit = True
            await serving
            if listener is not None:
                listener.close()


async def until(predicate: Callable[[], Any], *, within_s: float = WAIT_S) -> None:
    """Wait until ``predicate`` holds, with a bound."""
    deadline = CLOCK.monotonic() + within_s
    while not predicate():
        assert CLOCK.monotonic() < deadline, "it did not become so in time"
        await CLOCK.sleep(0.005)


def token(user_id: str = "ann", scope: str = "events:read", **claims: Any) -> str:
    """Sign a token that lasts an hour, unless ``exp`` says otherwise."""
    whole = {"sub": user_id, "scope": scope, "exp": int(CLOCK.wall()) + 3600, **claims}
    return jwt.encode({k: v for k, v in whole.items() if v is not None}, SECRET, "HS256")


class Wire:
    """One WebSocket client that shows what really comes: frames, in order."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.frames: list[dict[str, Any]] = []
        self._ids = itertools.count(1)

    async def send(self, frame: Any) -> None:
        await self.socket.send(frame if isinstance(frame, str | bytes) else dumps(frame))

    async def next(self) -> dict[str, Any]:
        """The next frame."""
        async with asyncio.timeout(WAIT_S):
            frame: dict[str, Any] = orjson.loads(await self.socket.recv())
        self.frames.append(frame)
        return frame

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a request and give its reply; what comes before it is in ``frames``."""
        id = next(self._ids)
        await self.send({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        while (frame := await self.next()).get("id") != id:
            pass
        return frame

    async def result(self, method: str, **params: Any) -> Any:
        """The same, and it has to succeed."""
        reply = await self.ask(method, **params)
        assert "result" in reply, reply
        return reply["result"]

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The next so many events."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            frame = await self.next()
            if "type" in frame:
                found.append(frame)
        return found

    async def notice(self, name: str) -> dict[str, Any]:
        """The next notice of that name."""
        while (frame := await self.next()).get("method") != name:
            pass
        params: dict[str, Any] = frame["params"]
        return params

    async def closed(self) -> tuple[int | None, str | None]:
        """Wait for the end; its code and reason."""
        async with asyncio.timeout(WAIT_S):
            await self.socket.wait_closed()
        return self.socket.close_code, self.socket.close_reason


@contextlib.asynccontextmanager
async def wire(
    here: World, *, subprotocols: Iterable[str] = (), path: str = "/ws", **options: Any
) -> AsyncIterator[Wire]:
    """Open a WebSocket and send nothing."""
    names = [Subprotocol(name) for name in subprotocols] or None
    async with connect(
        f"ws://127.0.0.1:{here.port}{path}",
        subprotocols=names,
        compression=None,
        ping_interval=None,
        max_size=None,
        proxy=None,
        close_timeout=1,
        **options,
    ) as socket:
        yield Wire(socket)


@contextlib.asynccontextmanager
async def connected(here: World, **params: Any) -> AsyncIterator[Wire]:
    """Open a WebSocket and `connect` with these parameters."""
    async with wire(here) as client:
        await client.result("connect", **params)
        yield client


def dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


def offsets(events: Iterable[dict[str, Any]]) -> list[int]:
    return [event["offset"] for event in events]
