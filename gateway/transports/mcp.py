"""
``/mcp``: the operations as tools of the Model Context Protocol, over its streamable HTTP.

This file checks a request as the other doors do: caller, size, strict JSON, JSON-RPC envelope.
The official SDK in ``mcp_tools`` does the rest. The SDK is loaded with the first request, since
it costs half a second and 30 MB.

The door keeps no session. Each request brings its token and is answered by itself, so that every
node can answer it. The session id in the answer to ``initialize`` has one use: together with the
user and the request's id it names the call that ``notifications/cancelled`` ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from gateway.domain.access import Caller
from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import InvalidParams, RequestError
from gateway.execution.service import Service
from gateway.protocol import session
from gateway.protocol.operations import OPERATIONS
from gateway.protocol.session import Refusal, refusal_of, request_of, unreadable
from gateway.protocol.strict_json import PARAMS_LEVELS, BadJson, parse_json
from gateway.transports.access import Access
from gateway.transports.http import json_response, while_there
from gateway.transports.limits import Limits
from gateway.transports.problem import headers_of, problem
from gateway.transports.requests import BODY_BYTES_MAX, body_of, query_of
from gateway.transports.safe_headers import NO_STORE

if TYPE_CHECKING:
    from gateway.transports.mcp_tools import McpTools

__all__ = ["MCP_HEADERS", "SESSION_HEADER", "McpDoor"]

PATH = "/mcp"
SESSION_HEADER = "mcp-session-id"

# Headers that MCP clients add to a request; a preflight request (CORS) asks for each of them.
MCP_HEADERS = (SESSION_HEADER, "mcp-protocol-version", "mcp-method", "mcp-name")

# The extra that installs the SDK, and the modules that are absent without it.
EXTRA = "agent-failure-gateway[mcp]"
_SDK = frozenset({"mcp", "mcp_types"})

# How long the thread that loads the SDK holds the interpreter while the loop wants it, in seconds;
# with Python's own 5 ms each step of the loop would take as long, for a second.
LOADING_TURN_S = 0.000_5
_loading = threading.Lock()

# Levels that a message puts around the parameters: the request, and the call of the tool.
MESSAGE_LEVELS = 2

# The code of LSP 3.17, RequestCancelled, as in the SDK. Streamable HTTP needs an answer to each
# POST, though a client ignores the answer to a request that it has cancelled.
REQUEST_CANCELLED = -32800

# User id, session id, request id: together they name one call of one client.
_Key = tuple[str, str, session.Id]

logger = logger_of(__name__)


class McpDoor:
    """
    Serves ``/mcp``.

    Args:
        service: What answers the operations.
        access: Turns tokens into callers.
        limits: Count the requests, as those of HTTP.
    """

    def __init__(self, service: Service, access: Access, limits: Limits) -> None:
        self._service = service
        self._access = access
        self._limits = limits
        self._tools: McpTools | None = None
        self._missing = False
        self._loading: asyncio.Future[None] | None = None
        # The calls that wait now; `notifications/cancelled` ends one of them.
        self._waiting: dict[_Key, asyncio.Future[None]] = {}

    def route(self) -> Route:
        """Make the route."""
        return Route(PATH, self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request. Cancelling cancels the call that it makes."""
        request = Request(scope, receive)
        out = _Out(send)
        try:
            answer = await self._answer(request, out)
        except RequestError as error:
            answer = _refused(error)
        except ClientDisconnect:
            # The client is gone; no reader is left for this answer.
            answer = Response(status_code=400)
        except Exception:
            logger.exception("%s %s failed", request.method, request.url.path)
            data = {"code": "internal_error"}
            answer = _told(Refusal(None, session.INTERNAL_ERROR, "internal error", data), 500)
        if answer is not None and not out.begun:
            await answer(scope, receive, send)

    async def _answer(self, request: Request, out: _Out) -> Response | None:
        """Give the answer; None: the SDK has sent it."""
        if request.method != "POST":
            # There is no stream of the server's own messages (GET), and no session to end (DELETE).
            detail = f"{PATH} takes POST: one MCP message each"
            return problem(405, "method_not_allowed", detail, headers={"allow": "POST"})
        caller = await self._limits.admitted(request, self._access)
        with self._limits.held(caller):
            return await self._answer_to(caller, request, out)

    async def _answer_to(self, caller: Caller, request: Request, out: _Out) -> Response | None:
        for name in query_of(request):
            raise InvalidParams(f"{name} belongs into the message, not the query", field=name)
        body, message = await _message_in(request)
        if isinstance(message, Response):
            return message
        if "id" not in message:
            return self._notice(request, caller, message)
        asked = request_of(message)
        if isinstance(asked, Refusal):
            return _told(asked, 400)
        if asked.id is None:
            data = {"code": "invalid_request", "field": "id"}
            return _told(Refusal(None, session.INVALID_REQUEST, "id must not be null", data), 400)
        tools = await self._loaded()
        if tools is None:
            data = {"code": "not_installed"}
            remedy = f"MCP is not installed at this gateway: pip install '{EXTRA}'"
            return _told(Refusal(asked.id, session.INTERNAL_ERROR, remedy, data), 501)
        if asked.method == "initialize":
            out.headers[SESSION_HEADER] = self._service.ids.uuid7()
        serving = tools.serve(caller, _scope_of(request), _again(body, request.receive), out)
        if not _waits(asked):
            await serving
            return None
        key = _key(request, caller, asked.id)
        return await self._serve_long(request, key, asyncio.ensure_future(serving))

    def _notice(self, request: Request, caller: Caller, message: Mapping[str, Any]) -> Response:
        """Accept a notification; only a cancellation has an effect."""
        method, params = message.get("method"), message.get("params", {})
        if message.get("jsonrpc") != "2.0" or not isinstance(method, str):
            # This is also for a reply: the gateway sends no requests to clients.
            data = {"code": "invalid_request", "field": "method"}
            refusal = Refusal(None, session.INVALID_REQUEST, "no JSON-RPC 2.0 request", data)
            return _told(refusal, 400)
        if method == "notifications/cancelled" and isinstance(params, dict):
            key = _key(request, caller, params.get("requestId"))
            if key is not None and (waiting := self._waiting.get(key)) is not None:
                waiting.cancel()
        return Response(status_code=202, headers=NO_STORE)

    async def _serve_long(
        self, request: Request, key: _Key | None, serving: asyncio.Future[None]
    ) -> Response | None:
        """Serve a call that may wait for long, until its client disconnects or cancels it."""
        if key is not None:
            self._waiting[key] = serving
        try:
            await while_there(request, serving)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if key is None or task is None or task.cancelling():
                raise
            data = {"code": "cancelled"}
            return _told(Refusal(key[2], REQUEST_CANCELLED, "cancelled by the client", data), 200)
        finally:
            if key is not None and self._waiting.get(key) is serving:
                del self._waiting[key]
        return None

    async def _loaded(self) -> McpTools | None:
        """Give the tools; None: the SDK is not installed."""
        if self._tools is None and not self._missing:
            if self._loading is None:
                # In a thread, so that the loop serves the other connections meanwhile.
                self._loading = asyncio.ensure_future(asyncio.to_thread(self._load))
            try:
                await asyncio.shield(self._loading)
            finally:
                if self._loading is not None and self._loading.done():
                    self._loading = None
        return self._tools

    def _load(self) -> None:
        with _gently():
            try:
                module = importlib.import_module("gateway.transports.mcp_tools")
            except ImportError as error:
                if (error.name or "").partition(".")[0] not in _SDK:
                    raise
                self._missing = True
            else:
                self._tools = module.McpTools(self._service)


@contextlib.contextmanager
def _gently() -> Iterator[None]:
    """Let the other threads have the interpreter soon, while this one works; one at a time does."""
    with _loading:
        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(LOADING_TURN_S)
        try:
            yield
        finally:
            sys.setswitchinterval(interval_s)


class _Out:
    """A ``send`` that adds headers to the answer, and knows whether an answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.headers: dict[str, str] = dict(NO_STORE)
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            MutableHeaders(scope=message).update(self.headers)
        await self._send(message)


async def _message_in(request: Request) -> tuple[bytes, Mapping[str, Any] | Response]:
    """Read the body as one JSON object; a response instead of the object refuses it."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        data = {"code": "unsupported_media_type", "field": "content-type"}
        refusal = Refusal(None, session.INVALID_REQUEST, "send application/json", data)
        return b"", _told(refusal, 415)
    body = await body_of(request, bytes_max=BODY_BYTES_MAX)
    try:
        value = parse_json(body, around=PARAMS_LEVELS + MESSAGE_LEVELS)
    except BadJson as error:
        return body, _told(unreadable(error), 400)
    if not isinstance(value, dict):
        refused = request_of(value)
        assert isinstance(refused, Refusal)
        return body, _told(refused, 400)
    return body, value


def _key(request: Request, caller: Caller, id: Any) -> _Key | None:
    """Name a call for its cancellation; None: without a session its id may be another client's."""
    session_id = request.headers.get(SESSION_HEADER)
    if session_id is None or isinstance(id, bool) or not isinstance(id, str | int):
        return None
    return caller.user_id, session_id, id


def _waits(asked: session.Request) -> bool:
    name = asked.params.get("name") if asked.method == "tools/call" else None
    return isinstance(name, str) and name in OPERATIONS and OPERATIONS[name].waits


def _scope_of(request: Request) -> Scope:
    """Write the media type as the SDK does, which compares upper case too (RFC 9110, 8.3.1)."""
    headers = [header for header in request.scope["headers"] if header[0] != b"content-type"]
    return {**request.scope, "headers": [*headers, (b"content-type", b"application/json")]}


def _again(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body once more, then what comes after the body."""
    given = False

    async def once_more() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once_more


def _refused(error: RequestError) -> Response:
    return _told(refusal_of(error, None), error.http_status, headers_of(error))


def _told(refusal: Refusal, status: int, headers: dict[str, str] = NO_STORE) -> Response:
    """Answer with a JSON-RPC error; MCP clients read one under every HTTP status."""
    return json_response(refusal.as_dict(), status, headers)
