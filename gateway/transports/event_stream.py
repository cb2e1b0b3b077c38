"""
``GET /api/events/stream``: the events of some topics as server-sent events.

The stream gives a reader the same as a subscription over a WebSocket: positions, replay, gaps
and bounds are the hub's. ``id:`` is ``epoch:offset``. A browser sends the last id it received as
``Last-Event-ID`` when it reconnects (HTML Living Standard, 9.2.4), and the stream resumes there.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.domain.access import Caller
from gateway.domain.errors import InvalidParams, NotPermitted, Unavailable
from gateway.domain.stream import Position, parse_position
from gateway.domain.timestamps import rfc3339
from gateway.execution.service import Service
from gateway.ports import Clock
from gateway.protocol.codes import CloseCode
from gateway.transports.access import Access
from gateway.transports.follower import EVERYTHING, Audience, EventStreamForm
from gateway.transports.http import answer_errors
from gateway.transports.hub import Hub
from gateway.transports.requests import caller_of, query_of, wait_disconnect
from gateway.transports.sink import ABORT_EXTENSION, PumpedSink
from gateway.transports.subscription import Start, begin, check_topics

__all__ = ["EventStreamDoor"]

# A comma separates topics; one inside a user id (`user:Doe, Jane`) does not.
_BETWEEN_TOPICS = re.compile(r",(?=(?:\*|system)(?:,|$)|(?:user|task|agent|channel|recipient):)")
_LISTS = ("topic", "types")
_KNOWN = frozenset({"topic", "types", "since", "snapshot"})
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
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
    """

    def __init__(self, hub: Hub, service: Service, access: Access) -> None:
        self._hub = hub
        self._service = service
        self._access = access
        self.form = EventStreamForm(service.log.epoch)
        self._audiences = {
            operator: Audience(self.form, operator=operator, types=None)
            for operator in (False, True)
        }

    def route(self) -> Route:
        """Make the route for an application."""
        return Route("/api/events/stream", answer_errors(self._open), methods=["GET"])

    async def _open(self, request: Request) -> Response:
        hub, service = self._hub, self._service
        caller = await caller_of(request, self._access)
        params = self._params(request, caller)
        service.check_params("subscribe", params)
        check_topics(service, caller, params["topics"])
        if not hub.running or hub.draining:
            raise Unavailable("the gateway does not run, or is about to end", retry_after=2.0)
        if hub.full:
            raise Unavailable("too many connections", code="too_many_connections", retry_after=5.0)
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
        return _Stream(self, hub, service.clock, caller, params["topics"], audience, start)

    def _params(self, request: Request, caller: Caller) -> dict[str, Any]:
        query = query_of(request, repeated=_LISTS)
        for name in query:
            if name not in _KNOWN:
                raise InvalidParams(f"{name} is not a parameter of this", field=name)
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
        last = request.headers.get("last-event-id")
        since, field = (query.get("since"), "since") if last is None else (last, "last-event-id")
        if since == "start":
            params["since"] = since
        elif since is not None:
            position = parse_position(since, epoch=self._service.log.epoch, field=field)
            params["since"] = position.as_dict()
        return params


class _Stream(Response):
    """One reader's response."""

    def __init__(
        self,
        door: EventStreamDoor,
        hub: Hub,
        clock: Clock,
        caller: Caller,
        topics: Sequence[str],
        audience: Audience,
        start: Start,
    ) -> None:
        super().__init__(None, 200, _HEADERS)
        # Starlette has set the length of the empty body.
        del self.headers["content-length"]
        self._door = door
        self._hub = hub
        self._clock = clock
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

        async def send_some(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        async def end(code: int, reason: str) -> None:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        def abort() -> None:
            drop = (scope.get("extensions") or {}).get(ABORT_EXTENSION)
            if drop is not None:
                drop()
            pump.cancel()

        sink = PumpedSink(send_some, end, abort)
        pump = asyncio.create_task(sink.pump())
        gone = asyncio.create_task(wait_disconnect(receive))
        follower = self._hub.join(sink, self._audience)
        heartbeat_at = self._clock.monotonic()

        def look(now: float) -> float:
            nonlocal heartbeat_at
            expires_at = self._caller.expires_at
            if expires_at is not None and self._clock.wall() >= expires_at:
                # The client reconnects with a new token and resumes.
                sink.close(CloseCode.token_expired, "token expired")
                return math.inf
            if now >= heartbeat_at:
                time = rfc3339(self._clock.wall())
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
