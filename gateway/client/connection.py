"""
A connection to a gateway that reconnects by itself and resumes where it was.

Calls are answered or fail. They are never sent twice, because only the caller knows whether that
would be harmless. Events come once and in order, over any number of reconnects. When the gateway
no longer keeps the events that were missed, the client is told of the gap.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self

import orjson
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from gateway.client.calls import Calls
from gateway.client.errors import CallFailed, Disconnected, Refused
from gateway.domain.errors import GatewayError
from gateway.domain.stream import Position
from gateway.domain.timestamps import seconds_of
from gateway.protocol.codes import CloseCode, comes_back
from gateway.protocol.session import INTERNAL_ERROR

__all__ = ["CallFailed", "Connection", "Disconnected", "Refused", "Subscribed"]

SUBPROTOCOL = Subprotocol("agent-events.v1")

# How many received events may wait for the iteration. At the bound the socket is not read, and
# later events stay in the gateway's log.
EVENTS_WAITING_MAX = 256

# An event may be 256 KiB, an operator's with detail more, a snapshot beside a reply 256 KiB.
FRAME_BYTES_MAX = 4 * 1024 * 1024

# The handshake, and then `connect` with `subscribe`, may each take this long, in seconds; then
# the connection is tried again.
OPEN_WAIT_S = 10.0

# The connection counts as lost when no frame comes for this many heartbeat intervals.
SILENT_HEARTBEATS = 2.5

# How long to wait for the peer's close frame, in seconds.
CLOSE_WAIT_S = 1.0

# Full jitter: a wait is a random part of RECONNECT_BASE_S, doubled with each try up to
# RECONNECT_MAX_S, so that clients that were cut off together do not reconnect together. Clients of
# this kind are few beside browsers, and a worker that stays away counts as lost soon: hence the
# short bound.
RECONNECT_BASE_S, RECONNECT_MAX_S, DOUBLINGS_MAX = 0.5, 5.0, 4
assert RECONNECT_BASE_S * 2**DOUBLINGS_MAX >= RECONNECT_MAX_S

Token = str | Callable[[], str | Awaitable[str]] | None


@dataclasses.dataclass(frozen=True, slots=True)
class Subscribed:
    """
    The gateway's answer to a subscription, the first one or one after a reconnect.

    Attributes:
        position: The log's position at that moment.
        recovered: Whether every event after the last seen one comes.
        was_recovering: Whether the subscription asked to resume.
        replayed: How many events come before what is new.
        snapshot: The state, when events were missed or it was asked for; otherwise None.
    """

    position: Position
    recovered: bool
    was_recovering: bool
    replayed: int
    snapshot: Mapping[str, Any] | None


class Connection:
    """
    One client of one gateway. Use it as a context manager, and iterate over it for events.

    More than eight arguments: each is one that ``connect`` or ``subscribe`` takes on the wire.

    Args:
        url: ``ws://127.0.0.1:8000/ws``.
        token: A token, or a function called for one each time it connects; None: an open
            gateway.
        user_id: The user to act as on an open gateway; None: an operator.
        topics: Topics to follow; empty: the connection is for calls only. A function is called
            with each answer to ``connect``, which says who one is.
        since: The position last seen, ``"start"`` for all that is kept, None for what is new.
        snapshot: Whether each subscription asks for the state.
        types: Only these types of events (operators only); None: all.
        client: A name for the gateway's log; None: none.
        on_notice: Called with everything that is no event: ``subscribed`` (with ``Subscribed``),
            ``gap``, ``drain`` and ``heartbeat`` (with their parameters), ``disconnected`` (with
            ``{code, reason, retry_in}``). None: no callback.
        chance: Gives numbers from [0, 1), for the waits between tries.

    Attributes:
        position: The position of the last event that was taken, or of a later heartbeat; None
            before the first subscription.
        subscribed: The latest answer to a subscription; None before the first.
        hello: The latest answer to ``connect``; None before the first.
        reconnects: How many times it has reconnected; -1 before the first connection.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token = None,
        user_id: str | None = None,
        topics: Iterable[str] | Callable[[Mapping[str, Any]], Iterable[str]] = (),
        since: Position | Literal["start"] | None = None,
        snapshot: bool = False,
        types: Iterable[str] | None = None,
        client: str | None = None,
        on_notice: Callable[[str, Any], None] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.position = since if isinstance(since, Position) else None
        self.subscribed: Subscribed | None = None
        self.hello: Mapping[str, Any] | None = None
        self.reconnects = -1
        self._url = url
        self._token = token
        self._user_id = user_id
        self._topics = topics if callable(topics) else tuple(topics)
        self._from_start = since == "start"
        self._snapshot = snapshot
        self._types = None if types is None else list(types)
        self._client = client
        self._on_notice = on_notice
        self._chance = chance
        self._websocket: ClientConnection | None = None
        self._calls: Calls | None = None
        self._events: collections.deque[dict[str, Any]] = collections.deque()
        self._changed = asyncio.Condition()
        self._closing = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._failure: GatewayError | None = None
        self._over = False
        # Of the last event read from the socket, taken or not: a new connection resumes here.
        self._read_position = self.position
        self._server_ahead_s = 0.0
        self._back_at: float | None = None

    # --- for its owner --------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """
        Connect, and subscribe if there are topics; try until it succeeds.

        Raises:
            Refused: If the gateway refuses this client for good.
        """
        self._running = asyncio.create_task(self._run())
        try:
            await self.opened()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; iteration ends, and running calls fail with ``Disconnected``."""
        self._closing.set()
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def call(
        self, method: str, params: Mapping[str, Any] | None = None, *, timeout: float = 30.0
    ) -> Any:
        """
        Call an operation and wait for its answer. When cancelled, a late answer is ignored.

        Args:
            method: The name of an operation, ``task.create``.
            params: Its parameters; None: it has none.
            timeout: Seconds to wait, for a connection if there is none and for the answer.

        Raises:
            CallFailed: If the gateway refuses it.
            Disconnected: If the connection is lost before the answer.
            Refused: If the gateway refuses this client for good.
            TimeoutError: If there is no answer in time.
        """
        async with asyncio.timeout(timeout):
            calls = await self.opened()
            return await calls.ask(method, params or {})

    async def opened(self) -> Calls:
        """
        Wait for a connection, and give its calls; after a reconnect they fail.

        Raises:
            Disconnected: If ``close`` was called.
            Refused: If the gateway refuses this client for good.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._open is not None or self._over)
        if (calls := self._open) is None:
            raise self._failure or Disconnected("the connection is closed")
        return calls

    @property
    def _open(self) -> Calls | None:
        return None if self._calls is None or self._calls.lost.is_set() else self._calls

    async def drop(self) -> None:
        """Drop the connection without a close frame, as a network would; it reconnects itself."""
        if self._websocket is not None:
            self._websocket.transport.abort()
            await self._websocket.wait_closed()

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """
        Give the events, in order, over any number of reconnects, until closed.

        Raises:
            Refused: If the gateway refuses this client for good.
        """
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._events or self._over)
                if not self._events:
                    break
                event = self._events.popleft()
                self._changed.notify_all()
            self.position = Position(event["epoch"], event["offset"])
            yield event
        if self._failure is not None and not self._closing.is_set():
            raise self._failure

    # --- the life of connections ----------------------------------------------------------

    async def _run(self) -> None:
        tries = 0
        try:
            while True:
                before = self.reconnects
                code, reason = await self._run_once()
                if not comes_back(code) or (code == CloseCode.token_expired and self._is_fixed):
                    raise Refused(code, reason)
                tries = 0 if self.reconnects > before else tries + 1
                wait_s = self._wait_s(tries)
                self._tell("disconnected", {"code": code, "reason": reason, "retry_in": wait_s})
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._closing.wait()
        except GatewayError as failure:
            self._failure = failure
        finally:
            self._over = True
            async with self._changed:
                self._changed.notify_all()

    @property
    def _is_fixed(self) -> bool:
        """Whether the next try would use the same token."""
        return not callable(self._token)

    def _wait_s(self, tries: int) -> float:
        if self._back_at is not None:
            wait_s = self._back_at - self._server_time()
            self._back_at = None
            if wait_s > 0:
                return wait_s
        return self._chance() * min(
            RECONNECT_MAX_S, RECONNECT_BASE_S * 2.0 ** min(tries, DOUBLINGS_MAX)
        )

    def _server_time(self) -> float:
        return asyncio.get_running_loop().time() + self._server_ahead_s

    async def _run_once(self) -> tuple[int, str]:
        """Connect, serve the connection until it ends, return its close code and reason."""
        try:
            websocket = await open_websocket(
                self._url,
                subprotocols=[SUBPROTOCOL],
                compression=None,
                max_size=FRAME_BYTES_MAX,
                open_timeout=OPEN_WAIT_S,
                close_timeout=CLOSE_WAIT_S,
                # The gateway sends heartbeats; `_read` notices when they stop.
                ping_interval=None,
                proxy=None,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            if status < 500 and status != 429:
                raise Refused(status, "the handshake was refused") from error
            return CloseCode.try_again_later, f"HTTP {status}"
        except (OSError, EOFError, InvalidHandshake, ConnectionClosed) as error:
            return CloseCode.try_again_later, str(error) or type(error).__name__
        self._websocket = websocket
        calls = Calls(websocket)
        reading = asyncio.create_task(self._read(websocket, calls))
        try:
            with contextlib.suppress(Disconnected, TimeoutError):
                await self._begin(websocket, calls)
                await reading
        finally:
            self._websocket = self._calls = None
            await websocket.close()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        return websocket.close_code or 1006, websocket.close_reason or ""

    async def _begin(self, websocket: ClientConnection, calls: Calls) -> None:
        token = self._token() if callable(self._token) else self._token
        if token is not None and not isinstance(token, str):
            token = await token
        hello = {"token": token, "user_id": self._user_id, "client": self._client}
        try:
            async with asyncio.timeout(OPEN_WAIT_S):
                await calls.ask(
                    "connect",
                    {name: value for name, value in hello.items() if value is not None},
                    on_result=self._has_connected,
                )
                if self._topics:
                    await self._subscribe(calls)
        except CallFailed as error:
            if error.retry_after is not None or error.number == INTERNAL_ERROR:
                return
            # If the gateway now closes the connection, its close code says whether to reconnect.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_WAIT_S):
                    await websocket.wait_closed()
            if websocket.close_code is None:
                raise
            return
        if calls.lost.is_set():
            return  # Lost right after the answer: no caller may get these calls.
        self.reconnects += 1
        self._calls = calls
        async with self._changed:
            self._changed.notify_all()

    def _has_connected(self, result: Mapping[str, Any]) -> None:
        self.hello = result
        now = asyncio.get_running_loop().time()
        self._server_ahead_s = seconds_of(result["server_time"]) - now

    async def _subscribe(self, calls: Calls) -> None:
        topics = self._topics
        if callable(topics):
            assert self.hello is not None
            topics = tuple(topics(self.hello))
        params: dict[str, Any] = {"topics": topics, "snapshot": self._snapshot}
        if self._read_position is not None:
            params["since"] = self._read_position.as_dict()
        elif self._from_start:
            params["since"] = "start"
        if self._types is not None:
            params["types"] = self._types
        await calls.ask("subscribe", params, on_result=self._has_subscribed)

    def _has_subscribed(self, result: Mapping[str, Any]) -> None:
        position = Position(result["epoch"], result["offset"])
        if not result["recovered"]:
            self._read_position = position
            if not self._events:
                self.position = position
        self.subscribed = Subscribed(
            position,
            result["recovered"],
            result["was_recovering"],
            result["replayed"],
            result.get("snapshot"),
        )
        self._tell("subscribed", self.subscribed)

    # --- frames ---------------------------------------------------------------------------

    async def _read(self, websocket: ClientConnection, calls: Calls) -> None:
        try:
            while True:
                async with asyncio.timeout(self._silence_s()):
                    frame = await websocket.recv(decode=False)
                await self._take(orjson.loads(frame), calls)
        except TimeoutError:
            websocket.transport.abort()
        except ConnectionClosed:
            pass
        finally:
            calls.lose()

    def _silence_s(self) -> float:
        heartbeat_s = self.hello["heartbeat_interval"] if self.hello else OPEN_WAIT_S
        return float(heartbeat_s) * SILENT_HEARTBEATS

    async def _take(self, message: dict[str, Any], calls: Calls) -> None:
        if "type" in message:
            async with self._changed:
                await self._changed.wait_for(lambda: len(self._events) < EVENTS_WAITING_MAX)
                self._events.append(message)
                # Not before the wait: if that is cancelled, the event has to come again.
                self._read_position = Position(message["epoch"], message["offset"])
                self._changed.notify_all()
        elif "method" in message:
            if message["method"] == "heartbeat":
                self._move_on(message["params"]["offset"])
            if message["method"] == "drain":
                self._back_at = seconds_of(message["params"]["reconnect_at"])
            self._tell(message["method"], message["params"])
        else:
            calls.take(message)

    def _move_on(self, offset: int) -> None:
        """Everything for this subscription up to ``offset`` has come: resume after it."""
        read = self._read_position
        if read is not None and offset > read.offset:
            self._read_position = Position(read.epoch, offset)
            if not self._events:
                self.position = self._read_position

    def _tell(self, name: str, about: Any) -> None:
        if self._on_notice is not None:
            self._on_notice(name, about)
