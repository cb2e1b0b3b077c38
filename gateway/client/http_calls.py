"""
Calls over HTTP: for results that do not fit in a frame, and for callers with few calls.

Each call is one request on a connection of its own, made in a thread; nothing is kept between
two calls. Answers and refusals are those that the same call over a WebSocket would get.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from gateway.client.errors import CallFailed, Disconnected, NoGateway
from gateway.domain.timestamps import seconds_of
from gateway.protocol.operations import HEADER_PARAMS, OPERATIONS

__all__ = ["HttpCalls"]

Headers = dict[str, str]
# Method, target, body, headers.
Request = tuple[str, str, bytes | None, Headers]

# More of an answer is not read; as much as a frame may hold over a WebSocket.
ANSWER_BYTES_MAX = 4 * 1024 * 1024


class HttpCalls:
    """
    Calls to one gateway.

    Args:
        url: The gateway's WebSocket, ``ws://127.0.0.1:8000/ws``; HTTP has the same host and root.
            Or its HTTP root, ``http://127.0.0.1:8000``.
        token: The bearer token; None: an open gateway.
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        parts = urlsplit(url)
        self._secure = parts.scheme in ("wss", "https")
        self._host = parts.netloc.rpartition("@")[2]
        over_http = parts.scheme in ("http", "https")
        self._root = parts.path.rstrip("/") if over_http else parts.path.rpartition("/")[0]
        self._token = token

    async def call(self, method: str, params: Mapping[str, Any], *, timeout: float = 10.0) -> Any:
        """
        Call an operation and wait for its answer.

        Cancelling ends the wait at once. What was not sent yet is not sent any more.

        Args:
            method: The name of an operation.
            params: Its parameters.
            timeout: Seconds for connecting, and for each wait on the socket.

        Raises:
            CallFailed: If the gateway refuses it.
            Disconnected: If there was no answer; the gateway may have done it or not.
            NoGateway: If what answers is none.
        """
        return await self._exchange(*self._request_of(method, params), timeout)

    async def ready(self, *, timeout: float = 10.0) -> str | None:
        """
        Ask whether this gateway should be asked now.

        Returns:
            Why it should not, as it tells this caller; None: it should.

        Raises:
            CallFailed: If it answers neither.
            Disconnected, NoGateway: As for ``call``.
        """
        request = "GET", f"{self._root}/ready", None, self._headers()
        try:
            answer = await self._exchange(*request, timeout)
        except CallFailed as error:
            if error.code != "unavailable":
                raise
            return error.message.removeprefix("not ready: ")
        if not isinstance(answer, dict) or answer.get("status") != "ready":
            raise NoGateway("its /ready says something else")
        return None

    async def now(self, *, timeout: float = 10.0) -> float:
        """
        Ask for the gateway's time, in seconds since the Unix epoch.

        Raises:
            CallFailed, Disconnected, NoGateway: As for ``ready``.
        """
        answer = await self._exchange("GET", f"{self._root}/health", None, self._headers(), timeout)
        try:
            return seconds_of(answer["timestamp"])
        except (TypeError, KeyError, ValueError) as error:
            raise NoGateway("its /health says something else") from error

    async def _exchange(
        self, method: str, target: str, body: bytes | None, headers: Headers, timeout: float
    ) -> Any:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, timeout=timeout)
        cancelled = threading.Event()
        try:
            return await asyncio.to_thread(
                _answer_to, connection, (method, target, body, headers), cancelled
            )
        except asyncio.CancelledError:
            # Wake the thread, or it would wait on, and this process would wait for it at its end.
            # A thread that has no socket yet looks at the flag when it has.
            cancelled.set()
            with contextlib.suppress(OSError):
                if (raw := connection.sock) is not None:
                    raw.shutdown(socket.SHUT_RDWR)
            raise

    def _request_of(self, method: str, params: Mapping[str, Any]) -> Request:
        operation = OPERATIONS[method]
        in_path = {name: quote(str(value), safe="") for name, value in params.items()}
        names = [name for name in params if f"{{{name}}}" in operation.path]
        rest = {name: value for name, value in params.items() if name not in names}
        target = self._root + operation.path.format(**in_path)
        body, headers = None, self._headers()
        if operation.method in ("POST", "PUT"):
            body = orjson.dumps(rest)
            headers["Content-Type"] = "application/json"
        else:
            for header, name in HEADER_PARAMS.items():  # a secret does not belong into a URL
                if name in rest:
                    headers[header] = rest.pop(name)
            if rest:
                target += "?" + urlencode(rest)
        return operation.method, target, body, headers

    def _headers(self) -> Headers:
        return {} if self._token is None else {"Authorization": f"Bearer {self._token}"}


def _answer_to(
    connection: http.client.HTTPConnection, request: Request, cancelled: threading.Event
) -> Any:
    try:
        connection.connect()
        if cancelled.is_set():
            raise Disconnected("the call was cancelled")
        connection.request(*request)
        response = connection.getresponse()
        answer = response.read(ANSWER_BYTES_MAX)
    except (OSError, http.client.HTTPException) as error:
        raise Disconnected(f"no answer over HTTP: {error or type(error).__name__}") from error
    finally:
        connection.close()
    answered = f"HTTP {response.status}, {response.headers.get_content_type()}"
    if response.status >= 400:
        refusal = _refusal(response.status, answer)
        raise NoGateway(answered) if refusal is None else CallFailed(refusal)
    if not answer:
        return None
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise NoGateway(answered) from error


def _refusal(status: int, body: bytes) -> dict[str, Any] | None:
    """Turn a problem (RFC 9457) into the error object of JSON-RPC; None: it is no gateway's."""
    try:
        problem = orjson.loads(body)
    except orjson.JSONDecodeError:
        problem = None
    if not isinstance(problem, dict) or "code" not in problem:
        if status < 500:
            return None
        # A proxy answered instead of the gateway; the gateway may be back later.
        problem = {"code": "unavailable", "retry_after": 1.0}
    data = {name: problem[name] for name in ("code", "field", "retry_after") if name in problem}
    return {"message": problem.get("detail") or f"HTTP {status}", "data": data}
