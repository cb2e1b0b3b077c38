"""
``GET /api/events/stream``: the events of some topics as server-sent events.

The stream gives a reader the same as a subscription over a WebSocket: positions, replay, gaps
and bounds are the hub's. ``id:`` is ``epoch:offset``. A browser sends the last id it received as
``Last-Event-ID`` when it reconnects (HTML Living Standard, 9.2.4), and the stream resumes there.

An ``EventSource`` never comes back after another status than 200 (9.2.3). So what may be tried
again later, when a gateway is full, about to end or without its store, is told inside a stream that
ends at once, with the time to come back.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.domain.access import Caller
from gateway.domain.errors import (
    InvalidParams,
    NotPermitted,
    RateLimitedRequest,
    RequestError,
    StoreUnavailable,
    TooManyConnections,
    Unavailable,
)
from gateway.domain.stream import Position, parse_position
from gateway.domain.timestamps import rfc3339
from gateway.execution.service import Service
from gateway.protocol.codes import CloseCode
from gateway.transports.access import Access
from gateway.transports.follower import EVERYTHING, Audience, EventStreamForm
from gateway.transports.http import answer_errors
from gateway.transports.hub import RECONNECT_SPREAD_S, RESTART_S, Hub
from gateway.transports.limits import RETRY_S, Limits
from gateway.transports.places import place_of
from gateway.transports.requests import query_of, wait_disconnect
from gateway.transports.sink import ABORT_EXTENSION, PumpedSink
from gateway.transports.subscription import Start, begin, check_topics

__all__ = ["PATH", "EventStreamDoor"]

PATH = "/api/events/stream"

# A comma separates topics; one inside a user id (`user:Doe, Jane`) does not.
_BETWEEN_TOPICS = re.compile(r",(?=(?:\*|system)(?:,|$)|(?:user|task|agent|channel|recipient):)")
_LISTS = ("topic", "types")
# For a last id that cannot be read: no log is called so, and its reader is told to begin anew.
_UNREADABLE = Position("?", 0)
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    # A proxy that compresses would hold events back.
    "cache-control": "no-store, no-transform",
    # Without it nginx buffers the events.
    "x-accel-buffering": "no",
}


class EventStreamDoor:
    """
    Serves the stream.

    Args:
        hub: Feeds the streams.
        service: Checks parameters and topics, and gives snapshots.
        access: Turns tokens into callers.
        limits: Count the streams and the requests for them.
    """

    def __init__(self, hub: Hub, service: Service, access: Access, limits: Limits) -> None:
        self.hub = hub
        self.service = service
        self.limits = limits
        self._access = access
        self.form = EventStreamForm(lambda: service.log.epoch)
        self._audiences = {
            operator: Audience(self.form, operator=operator, types=None)
            for operator in (False, True)
        }

    def route(self) -> Route:
        """Make the route for an application."""
        return Route(PATH, answer_errors(self._answer), methods=["GET"])

    async def _answer(self, request: Request) -> Response:
        if not self.hub.running and not self.hub.draining:
            raise Unavailable("the gateway does not run", retry_after=RETRY_S)
        try:
            return await self._open(request)
        except (Unavailable, RateLimitedRequest) as error:
            return self._later(request, error)
        except StoreUnavailable as error:
            return self._later(request, _away(error.retry_after))

    def _later(self, request: Request, error: RequestError) -> Response:
        """Tell what is wrong and when to come back, and end."""
        told = {"message": error.message, **error.data()}
        if (degradation := self.service.degradation) is not None:
            told["degradation"] = degradation
        # Apart from each other, since many readers may be told so at once.
        wait_s = (error.retry_after or 0.0) + RECONNECT_SPREAD_S * self.service.ids.random()
        body = f"retry: {math.ceil(wait_s * 1000)}\n".encode()
        headers = dict(_HEADERS)
        if (place := place_of(request.scope)) is not None and place.crowded is not None:
            headers["connection"] = "close"
        return Response(body + self.form.notice("unavailable", told), 200, headers)

    async def _open(self, request: Request) -> Response:
        hub, service = self.hub, self.service
        caller = await self.limits.admitted(request, self._access)
        params = self._params(request, caller)
        service.check_params("subscribe", params)
        check_topics(service, caller, params["topics"])
        if hub.draining:
            raise Unavailable("the gateway is about to end", retry_after=RESTART_S)
        if service.degradation is not None:
            raise _away(RETRY_S)
        place = place_of(request.scope)
        if hub.full or (place is not None and place.crowded is not None):
            full = TooManyConnections.code
            raise self.limits.refused(
                Unavailable("there are too many connections", code=full, retry_after=RETRY_S)
            )
        if request.method == "HEAD":
            return Response(headers=_HEADERS)  # what a GET would begin with, and no stream
        audience = self._audiences[caller.operator]
        if "types" in params:
            if not caller.operator:
                raise NotPermitted("only operators may narrow by types", field="types")
            types = frozenset(params["types"])
            audience = Audience(self.form, operator=True, types=types)
        start = await begin(
            hub,
            service,
            caller,
            topics=params["topics"],
            audience=audience,
            since=params.get("since"),
            snapshot=params.get("snapshot", False),
        )
        self.limits.require_room(caller)
        return _Stream(self, caller, params["topics"], audience, start)

    def _params(self, request: Request, caller: Caller) -> dict[str, Any]:
        query = query_of(request, repeated=_LISTS)
        own = EVERYTHING if caller.operator else f"user:{caller.user_id}"
        params: dict[str, Any] = {"topics": _BETWEEN_TOPICS.split(query.get("topic", own))}
        if "types" in query:
            params["types"] = query["types"].split(",")
        if "snapshot" in query:
            if query["snapshot"] not in ("true", "false"):
                raise InvalidParams("snapshot has to be true or false", field="snapshot")
            params["snapshot"] = query["snapshot"] == "true"
        # A browser reconnects to the same URL, so `since` is as old as the first request.
        # Last-Event-ID is newer.
        # Last-Event-ID is newer. Where a script stands in for EventSource it may not set headers.
        last = request.headers.get("last-event-id") or query.get("lastEventId")
        if last:
            params["since"] = self._seen_last(last).as_dict()
        elif (since := query.get("since")) == "start":
            params["since"] = since
        elif since is not None:
            position = parse_position(since, epoch=self.service.log.epoch, field="since")
            params["since"] = position.as_dict()
        return params

    def _seen_last(self, id: str) -> Position:
        """
        Read the id that a browser has repeated; nobody chose it, and nobody could mend it.

        Refused, an ``EventSource`` would never come back. So one that cannot be read is that of
        another log, as after a gateway of another kind at the same address.
        """
        try:
            position = parse_position(id, epoch=self.service.log.epoch, field="last-event-id")
        except InvalidParams:
            return _UNREADABLE
        return position if position.epoch else _UNREADABLE


class _Stream(Response):
    """One reader's response."""

    def __init__(
        self,
        door: EventStreamDoor,
        caller: Caller,
        topics: Sequence[str],
        audience: Audience,
        start: Start,
    ) -> None:
        super().__init__(None, 200, _HEADERS)
        # Starlette has set the length of the empty body.
        del self.headers["content-length"]
        self._door = door
        self._hub = door.hub
        self._service = door.service
        self._clock = door.service.clock
        self._log_time = door.service.log_time
        self._caller = caller
        self._topics = topics
        self._audience = audience
        self._start = start

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the reader disconnects or the hub ends it. Cancelling ends it, too."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        with self._door.limits.held(self._caller):
            await self._stream(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_some(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        async def end(code: int, reason: str) -> None:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        def abort() -> None:
            drop = (scope.get("extensions") or {}).get(ABORT_EXTENSION)
            if drop is not None:
                drop()
            gone.cancel()  # which ends the pump; it would hold the sink, which holds this

        sink = PumpedSink(send_some, end, abort)
        pump = asyncio.create_task(sink.pump())
        gone = asyncio.create_task(wait_disconnect(receive))
        follower = self._hub.join(sink, self._audience)
        heartbeat_at = self._clock.monotonic()
        degradation: Mapping[str, Any] | None = None

        def look(now: float) -> float:
            nonlocal heartbeat_at, degradation
            expires_at = self._caller.expires_at
            if expires_at is not None and self._clock.wall() >= expires_at:
                # The client reconnects with a new token and resumes.
                sink.close(CloseCode.token_expired, "token expired")
                return math.inf
            if degradation is not self._service.degradation:
                # A comment would not reach the page.
                degradation = self._service.degradation
                told = {
                    "offset": self._hub.told(follower),
                    "server_time": rfc3339(self._log_time()),
                    **({} if degradation is None else {"degradation": degradation}),
                }
                follower.tell("heartbeat", told)
            if now >= heartbeat_at:
                time = rfc3339(self._log_time())
                # An id without data is no event, and moves the browser's Last-Event-ID (HTML
                # standard, 9.2.6): a quiet stream resumes where the log was, not where it began.
                position = Position(self._hub.log.epoch, self._hub.told(follower))
                follower.write(f"id: {position}\n: heartbeat {time}\n\n".encode())
                # Two looks early: the hub calls at its own pace, and a heartbeat is never late.
                interval_s = self._hub.settings.heartbeat_interval
                heartbeat_at = now + interval_s - 2 * self._hub.look_s
            return min(heartbeat_at, now + 1.0) if expires_at is not None else heartbeat_at

        try:
            follower.write(self._opening())
            self._hub.follow(follower, self._topics, after=self._start.after)
            follower.on_due, follower.due = look, heartbeat_at
            await asyncio.wait({pump, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.leave(follower)
            pump.cancel()
            gone.cancel()
            await asyncio.gather(pump, gone, return_exceptions=True)

    def _opening(self) -> bytes:
        """The notices before the first event; their id makes a reader resume from the start."""
        form, told = self._door.form, dict(self._start.result)
        snapshot = told.pop("snapshot", None)
        opening = f"id: {told['epoch']}:{self._start.after}\n".encode()
        opening += form.notice("subscribed", told)
        if snapshot is not None:
            opening += form.notice("snapshot", snapshot)
        return opening


def _away(retry_after: float) -> Unavailable:
    return Unavailable("the store is away", retry_after=retry_after)
