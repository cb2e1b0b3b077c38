"""
``/ws``: one WebSocket connection from its handshake to its end.

The rules of the protocol stand in ``protocol.session``, and the service carries out operations.
Replies, notices and events go into one sink, in order. Requests run at the same time up to a
bound; at the bound the client's next frame waits in its socket.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, cast

import orjson
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocket

import event_schemas
from gateway.domain.access import Caller
from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import (
    InvalidParams,
    NotPermitted,
    RateLimitedRequest,
    RequestError,
    StoreUnavailable,
    TooManyConnections,
    Unavailable,
)
from gateway.domain.timestamps import rfc3339
from gateway.execution.service import Service
from gateway.protocol.codes import CloseCode
from gateway.protocol.frames import text_frame
from gateway.protocol.operations import OPERATIONS, SESSION_PARAMS
from gateway.protocol.session import (
    INTERNAL_ERROR,
    Id,
    Refusal,
    Request,
    Session,
    refusal_of,
    reply,
)
from gateway.transports.access import Access
from gateway.transports.follower import Audience, Follower, WebSocketForm
from gateway.transports.hub import Hub
from gateway.transports.in_flight import IN_FLIGHT_MAX, InFlight
from gateway.transports.lifeline import Lifeline
from gateway.transports.limits import Closing, Limits
from gateway.transports.places import place_of
from gateway.transports.sink import FRAMES_EXTENSION, Sink, websocket_sink
from gateway.transports.subscription import begin, check_topics
from gateway.values import EVENT_BYTES_MAX

__all__ = ["SUBPROTOCOL", "WebSocketDoor"]

SUBPROTOCOL = "agent-events.v1"
TOKEN_SUBPROTOCOL = "bearer."

# Topics that one connection follows; a page has a handful, an operator follows "*".
TOPICS_MAX = 1_024

# How long the peer has to answer a close frame (RFC 6455, 7.1.1), in seconds; then its connection
# is dropped.
CLOSE_WAIT_S = 5.0

_METHODS = frozenset(OPERATIONS) | SESSION_PARAMS.keys()

logger = logger_of(__name__)


class WebSocketDoor:
    """
    Serves ``/ws``.

    Args:
        hub: Feeds the connections.
        service: Carries out operations.
        access: Turns tokens into callers.
        limits: Count the connections and their frames.
    """

    def __init__(self, hub: Hub, service: Service, access: Access, limits: Limits) -> None:
        self.hub = hub
        self.service = service
        self.access = access
        self.limits = limits
        form = WebSocketForm()
        self._audiences = {
            operator: Audience(form, operator=operator, types=None) for operator in (False, True)
        }
        self._form = form

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one connection until it ends. Cancelling drops it."""
        offered = websocket.scope.get("subprotocols", [])
        await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        # Refusals come after the handshake: a page's script sees a close code, no HTTP status.
        if not self.hub.running:
            logger.error("the gateway does not run; enter gateway.lifespan in the app's lifespan")
            await websocket.close(CloseCode.try_again_later, "the gateway does not run")
            return
        if self.hub.draining:
            await websocket.close(CloseCode.restarting, "restarting")
            return
        place = place_of(websocket.scope)
        if self.hub.full or (place is not None and place.crowded == "gateway"):
            full = self.limits.refused(TooManyConnections("too many connections"))
            await websocket.close(CloseCode.too_many_connections, full.message)
            return
        token = next(
            (
                name.removeprefix(TOKEN_SUBPROTOCOL)
                for name in offered
                if name.startswith(TOKEN_SUBPROTOCOL)
            ),
            None,
        )
        await _Connection(self, websocket).serve(token)

    def audience(self, caller: Caller | None, types: frozenset[str] | None = None) -> Audience:
        """Give the audience of a caller; None: the public one, before ``connect``."""
        operator = caller is not None and caller.operator
        if types is None:
            return self._audiences[operator]
        return Audience(self._form, operator=operator, types=types)


class _Connection:
    """One client's connection."""

    def __init__(self, door: WebSocketDoor, websocket: WebSocket) -> None:
        self._door = door
        self._hub = door.hub
        self._service = door.service
        self._websocket = websocket
        self._clock = door.service.clock
        self._log_time = door.service.log_time
        self._session = Session(_METHODS)
        self._session_id = door.service.ids.uuid7()
        self._caller: Caller | None = None
        self._subscribed = False
        self._reading = asyncio.Lock()
        self._unsent_max = self._hub.settings.send_bytes
        self._in_flight = InFlight()
        self._limits = door.limits.socket(websocket.scope)
        # Bounds the rest of the connection once its end has been decided.
        self._rest = asyncio.timeout(None)
        extensions = websocket.scope.get("extensions") or {}
        offered = extensions.get(FRAMES_EXTENSION)
        self._pumped = None
        if offered is None:
            self._pumped = websocket_sink(websocket, lambda: self._end_within(0))
        self._sink: Sink = self._pumped or cast("Sink", offered)
        self._sink.on_alive = self._take_frame
        self._follower: Follower = self._hub.join(self._sink, door.audience(None))
        self._follower.ids = {"connection_id": self._session_id}
        now = self._clock.monotonic()
        self._life = Lifeline(self._hub.settings, look_s=self._hub.look_s, now=now)
        self._busy = False
        self._follower.on_due = self._look
        self._follower.due = now

    # --- its life -------------------------------------------------------------------------

    async def serve(self, token: str | None) -> None:
        """Serve until either side ends it."""
        pump = asyncio.create_task(self._pumped.pump()) if self._pumped is not None else None
        try:
            async with self._rest:
                if token is not None:
                    await self._take_handshake_token(token)
                await self._receive_all()
        except TimeoutError:
            self._sink.abort()
        finally:
            self._hub.leave(self._follower)
            self._limits.leave()
            # This comes first: a waiting `task.claim` must not take a task for a connection that
            # is gone.
            self._in_flight.stop_waiting()
            await self._service.session_closed(self._session_id)
            await self._in_flight.settle()
            if pump is not None:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)

    async def _receive_all(self) -> None:
        while (message := await self._websocket.receive())["type"] == "websocket.receive":
            wait_s = self._take_frame()
            text = message.get("text")
            frame: str | bytes = text if text is not None else message.get("bytes", b"")
            if self._pumped is not None and self._pumped.is_too_long(frame):
                self._close(CloseCode.frame_too_large)
            if self._rest.when() is not None or self._follower.gone:
                continue
            self._busy = True
            try:
                await self._limits.turn(len(frame))
                if self._rest.when() is not None or self._follower.gone:
                    continue  # it has ended meanwhile
                found = self._session.receive(frame)
                if isinstance(found, Refusal):
                    self._refuse(found)
                elif wait_s:
                    often = RateLimitedRequest("too many requests of this user", retry_after=wait_s)
                    self._refuse(refusal_of(self._door.limits.refused(often), found.id))
                else:
                    await self._take(found)
                # Read the next frame only when its reply has room and its request may run.
                if self._sink.unsent() > self._unsent_max:
                    await self._follower.wait_room(self._unsent_max)
                if self._in_flight.full:
                    await self._in_flight.wait_turn()
            except ClientDisconnect:
                continue  # which is what is received next
            finally:
                self._busy = False
                self._life.alive_at = self._clock.monotonic()

    def _close(self, code: CloseCode) -> None:
        self._in_flight.stop_waiting()
        self._sink.close(code, code.name.replace("_", " "))
        self._end_within(CLOSE_WAIT_S)

    def _end_within(self, seconds: float) -> None:
        # The loop's clock, not ours: this timeout bounds I/O and decides nothing.
        if not self._rest.expired() and self._rest.when() is None:
            self._rest.reschedule(asyncio.get_running_loop().time() + seconds)

    # --- what is due ----------------------------------------------------------------------

    def _take_frame(self) -> float:
        """Take in that a frame came; returns 0, or in how many seconds one may come."""
        self._life.alive_at = now = self._clock.monotonic()
        wait_s = self._limits.take(now)
        if self._limits.hopeless:
            self._close(CloseCode.too_many_requests)
        return wait_s

    def _look(self, now: float) -> float:
        """Close what is over, send a heartbeat when due, return when to look again."""
        life, caller, wall = self._life, self._caller, self._clock.wall()
        code = life.over(now, wall, caller, busy=self._busy)
        if code is not None:
            self._close(code)
            return math.inf
        degradation = self._service.degradation
        if caller is not None and life.beats(now, degradation):
            told = self._hub.told(self._follower)
            beat = {"offset": told, "server_time": rfc3339(wall)}
            if degradation is not None:
                beat["degradation"] = degradation
            self._follower.tell("heartbeat", beat)
        return life.due(now, wall, caller)

    # --- requests -------------------------------------------------------------------------

    async def _take(self, request: Request) -> None:
        own = _SESSION_METHODS.get(request.method)
        if own is None:
            operation = OPERATIONS[request.method]
            # What is read may be long: one answer after the other, so that they do not add up.
            work = self._call_in_turn if operation.method == "GET" else self._call
            self._in_flight.start(work(request), waits=operation.waits)
            return
        # The connection's own methods run in order, before the next frame is read.
        try:
            await own(self, request)
        except Exception as error:  # noqa: BLE001 - told, or logged
            self._tell(request, error)

    async def _call_in_turn(self, request: Request) -> None:
        async with self._reading:
            await self._call(request)

    async def _call(self, request: Request) -> None:
        try:
            if self._sink.unsent() > self._unsent_max:
                await self._follower.wait_room(self._unsent_max)
            if not self._follower.gone:
                assert self._caller is not None
                result = await self._service.call(request.method, request.params, self._caller)
                self._reply(request.id, result)
        except Exception as error:  # noqa: BLE001 - told, or logged
            self._tell(request, error)

    def _tell(self, request: Request, error: Exception) -> None:
        """Answer with an error; one that nobody expected is logged, not shown."""
        if isinstance(error, ClientDisconnect):
            return  # no reader is left for an answer
        if isinstance(error, Closing):
            self._refuse(refusal_of(error.error, request.id, close=error.close))
        elif isinstance(error, RequestError):
            # Before it has connected, a client that is refused again and again is cut off.
            close = self._session.refused() if self._caller is None else None
            self._refuse(refusal_of(error, request.id, close=close))
        elif isinstance(error, StoreUnavailable):
            away = Unavailable("the store is away", retry_after=error.retry_after)
            self._refuse(refusal_of(away, request.id))
        else:
            logger.error("%s failed", request.method, exc_info=error, extra=self._follower.ids)
            data = {"code": "internal_error"}
            self._refuse(Refusal(request.id, INTERNAL_ERROR, "internal error", data))

    def _reply(self, id: Id, result: Any) -> None:
        self._follower.write(text_frame(orjson.dumps(reply(id, result))))

    def _refuse(self, refusal: Refusal) -> None:
        self._follower.write(text_frame(orjson.dumps(refusal.as_dict())))
        if refusal.close is not None:
            self._close(refusal.close)

    # --- the connection's own methods -----------------------------------------------------

    async def _take_handshake_token(self, token: str) -> None:
        try:
            self._admit(await self._limits.sign_in(self._door.access, token))
        except Closing as final:
            self._close(final.close)

    def _admit(self, caller: Caller) -> None:
        self._caller = dataclasses.replace(caller, session_id=self._session_id)
        self._session.ready()
        self._sink.take_up_to(self._hub.settings.frame_bytes)
        self._hub.readdress(
            self._follower, self._door.audience(caller, self._follower.audience.types)
        )
        self._follower.due = self._clock.monotonic()

    async def _connect(self, request: Request) -> None:
        self._service.check_params("connect", request.params)
        token, user_id = request.params.get("token"), request.params.get("user_id")
        if self._caller is None:
            self._admit(await self._limits.sign_in(self._door.access, token, user_id=user_id))
        elif token is not None or user_id is not None:
            self._refresh(await self._door.access.caller(token, user_id=user_id))
        caller = self._caller
        assert caller is not None
        settings = self._hub.settings
        self._reply(
            request.id,
            {
                "session_id": self._session_id,
                "user_id": caller.user_id,
                "scopes": sorted(caller.scopes),
                "server_time": rfc3339(self._log_time()),
                "heartbeat_interval": settings.heartbeat_interval,
                "schema_version": event_schemas.SCHEMA_VERSION,
                "limits": {
                    "frame_bytes": settings.frame_bytes,
                    "event_bytes": EVENT_BYTES_MAX,
                    "unsent_bytes": settings.send_bytes,
                    "in_flight": IN_FLIGHT_MAX,
                    "client_timeout": settings.client_timeout,
                },
            },
        )

    def _refresh(self, caller: Caller) -> None:
        assert self._caller is not None
        if caller.user_id != self._caller.user_id:
            raise NotPermitted("a connection belongs to one user, this token is another's")
        self._limits.belongs_to(caller)
        self._admit(caller)
        # The new token may have fewer scopes; topics that they do not cover end here.
        lost = []
        for topic in self._follower.topics:
            try:
                check_topics(self._service, caller, (topic,))
            except NotPermitted:
                lost.append(topic)
        if lost:
            self._hub.unfollow(self._follower, lost)

    async def _subscribe(self, request: Request) -> None:
        self._service.check_params("subscribe", request.params)
        params, caller = request.params, self._caller
        assert caller is not None
        since = params.get("since")
        if self._subscribed and since is not None:
            raise InvalidParams(
                "since belongs to the first subscribe of a connection", field="since"
            )
        topics = tuple(params["topics"])
        check_topics(self._service, caller, topics)
        if len(self._follower.topics.keys() | set(topics)) > TOPICS_MAX:
            raise InvalidParams(
                f"a connection follows at most {TOPICS_MAX} topics; unsubscribe from some",
                field="topics",
            )
        audience = self._audience_for(caller, params)
        start = await begin(
            self._hub,
            self._service,
            caller,
            topics=topics,
            audience=audience,
            since=since,
            snapshot=params.get("snapshot", False),
        )
        # `readdress` flushes: events of earlier topics go out before the reply, whose offset
        # says that everything up to it has been sent.
        self._hub.readdress(self._follower, audience)
        self._reply(request.id, start.result)
        self._hub.follow(self._follower, topics, after=start.after)
        self._subscribed = True

    def _audience_for(self, caller: Caller, params: Mapping[str, Any]) -> Audience:
        types = params.get("types")
        if types is None:
            return self._follower.audience
        if not caller.operator:
            raise NotPermitted("only operators may narrow by types", field="types")
        return self._door.audience(caller, frozenset(types))

    async def _unsubscribe(self, request: Request) -> None:
        self._service.check_params("unsubscribe", request.params)
        self._hub.unfollow(self._follower, request.params["topics"])
        self._reply(request.id, {"topics": sorted(self._follower.topics)})

    async def _ping(self, request: Request) -> None:
        self._service.check_params("ping", request.params)
        self._reply(request.id, {"server_time": rfc3339(self._log_time())})


_SESSION_METHODS = {
    "connect": _Connection._connect,
    "subscribe": _Connection._subscribe,
    "unsubscribe": _Connection._unsubscribe,
    "ping": _Connection._ping,
}
assert _SESSION_METHODS.keys() == SESSION_PARAMS.keys()
