"""
A connection to a gateway that comes back by itself and goes on where it was.

Calls are answered or fail; they are never sent twice, since only the caller knows whether that
would be harmless. Events come once and in order, over any number of reconnects; when the
gateway no longer keeps what was missed, that is told and not hidden.
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

# Events that have come and that nobody has taken yet. Beyond it nothing more is read from the
# socket, and the gateway keeps what follows in its log.
EVENTS_WAITING_MAX = 256

# An event may be 256 KiB, an operator's with detail more, a snapshot beside a reply 256 KiB.
FRAME_BYTES_MAX = 4 * 1024 * 1024

# The handshake and `connect` together may take this long, in seconds; then it is tried again.
OPEN_WAIT_S = 10.0

# Without a word from the gateway for this many heartbeats the connection counts as lost.
SILENT_HEARTBEATS = 2.5

# How long either side's goodbye is waited for, in seconds.
CLOSE_WAIT_S = 1.0

# Full jitter: a wait is anything from 0 to the first of these seconds, doubled with each try up
# to the second, so that those who were cut off together do not come back together. Backends are
# few beside browsers, and a worker that stays away is soon taken for lost: the bound is short.
RECONNECT_BASE_S, RECONNECT_MAX_S, DOUBLINGS_MAX = 0.5, 5.0, 4
assert RECONNECT_BASE_S * 2**DOUBLINGS_MAX >= RECONNECT_MAX_S

Token = str | Callable[[], str | Awaitable[str]] | None


@dataclasses.dataclass(frozen=True, slots=True)
class Subscribed:
    """
    What the gateway said when this connection subscribed, first or again.

    Attributes:
        position: The log's position at that moment.
        recovered: Whether everything after the last seen event comes.
        was_recovering: Whether that had been asked for.
        replayed: How many events come before what is new.
        snapshot: The state, when something was missed or it was asked for.
    """

    position: Position
    recovered: bool
    was_recovering: bool
    replayed: int
    snapshot: Mapping[str, Any] | None


class Connection:
    """
    One client of one gateway. Use it as a context manager, and iterate over it for events.

    Args:
        url: ``ws://127.0.0.1:8000/ws``.
        token: A token, or what gives one each time it connects; None: an open gateway.
        user_id: Whom to play on an open gateway; None: an operator.
        topics: What to follow; none: only calls are made.
        since: The position last seen, ``"start"`` for all that is kept, None for what is new.
        snapshot: Whether the state is wanted with the first subscription.
        types: Only these types of events (operators only); None: all.
        client: What to call oneself.
        on_notice: Called with whatever is no event: ``subscribed`` (with ``Subscribed``),
            ``gap``, ``drain`` and ``heartbeat`` (with their parameters), ``disconnected`` (with
            ``{code, reason, retry_in}``).
        chance: Gives numbers from [0, 1), for the waits between tries.

    Attributes:
        position: Up to where events have been taken; None before the first subscription.
        subscribed: The latest answer to a subscription; None before the first.
        hello: The latest answer to ``connect``; None before the first.
        reconnects: How many times a connection was made again.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token = None,
        user_id: str | None = None,
        topics: Iterable[str] = (),
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
        self._topics = tuple(topics)
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
        # Read from the socket, yet perhaps not taken: what a new connection resumes from.
        self._read_position = self.position
        self._server_ahead_s = 0.0
        self._back_at: float | None = None

    # --- for its owner --------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """
        Connect, and subscribe if there are topics; tries until it succeeds.

        Raises:
            Refused: If the gateway does not want this client.
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
        """End the connection; iteration ends, calls that run fail with ``Disconnected``."""
        self._closing.set()
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def call(
        self, method: str, params: Mapping[str, Any] | None = None, *, timeout: float = 30.0
    ) -> Any:
        """
        Ask for something and wait for the answer. Cancelling forgets the answer.

        Args:
            method: The name of an operation, ``task.create``.
            params: Its parameters.
            timeout: Seconds to wait, for a connection if there is none and for the answer.

        Raises:
            CallFailed: If it is refused.
            Disconnected: If the connection was lost meanwhile.
            Refused: If the gateway does not want this client.
            TimeoutError: If there was no answer in time.
        """
        async with asyncio.timeout(timeout):
            calls = await self.opened()
            return await calls.ask(method, params or {})

    async def opened(self) -> Calls:
        """
        Wait for a connection, and give what calls over this one and over no later one.

        Raises:
            Disconnected: If it was closed.
            Refused: If the gateway does not want this client.
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
        """Lose the connection without a word, as a network would; it comes back by itself."""
        if self._websocket is not None:
            self._websocket.transport.abort()
            await self._websocket.wait_closed()

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        """
        Give the events, in order, over any number of reconnects, until closed.

        Raises:
            Refused: If the gateway does not want this client back.
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
        """Whether the next token would be the same."""
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
        """Connect, and stay until the connection ends; say how it did."""
        try:
            websocket = await open_websocket(
                self._url,
                subprotocols=[SUBPROTOCOL],
                compression=None,
                max_size=FRAME_BYTES_MAX,
                open_timeout=OPEN_WAIT_S,
                close_timeout=CLOSE_WAIT_S,
                # The gateway sends heartbeats; their absence is noticed in `_read`.
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
            # Where this ends the connection, the close code says whether to come back.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_WAIT_S):
                    await websocket.wait_closed()
            if websocket.close_code is None:
                raise
            return
        if calls.lost.is_set():
            return  # Right after the answer: nobody may be sent there.
        self.reconnects += 1
        self._calls = calls
        async with self._changed:
            self._changed.notify_all()

    def _has_connected(self, result: Mapping[str, Any]) -> None:
        self.hello = result
        now = asyncio.get_running_loop().time()
        self._server_ahead_s = seconds_of(result["server_time"]) - now

    async def _subscribe(self, calls: Calls) -> None:
        params: dict[str, Any] = {"topics": self._topics, "snapshot": self._snapshot}
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
                # Only now: whoever is cut off while it waits reads it again.
                self._read_position = Position(message["epoch"], message["offset"])
                self._changed.notify_all()
        elif "method" in message:
            if message["method"] == "drain":
                self._back_at = seconds_of(message["params"]["reconnect_at"])
            self._tell(message["method"], message["params"])
        else:
            calls.take(message)

    def _tell(self, name: str, about: Any) -> None:
        if self._on_notice is not None:
            self._on_notice(name, about)
