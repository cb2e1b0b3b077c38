"""
The three doors of a gateway, each as a small object: ``call`` gives an error code, or None, and
the content. What is content and what is the door's own manner is decided here and nowhere else.

Requests over HTTP are made from the table of operations, so that each operation can be called.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any, Protocol
from urllib.parse import quote

import httpx2
from mcp import Client
from mcp.shared.exceptions import MCPError

from gateway.protocol.operations import HEADER_PARAMS, OPERATIONS
from tests.scenarios.harness import Browser, GatewayProcess, browser
from tests.transports.mcp_client import client_at

__all__ = ["Answer", "Door", "Doors", "HttpDoor", "SocketDoor", "ToolDoor", "tools_of"]

# The code of a refusal with its data and message, or None with the result.
Answer = tuple[str | None, Any]

_IN_PATH = re.compile(r"{(\w+)}")
# Members of a problem that HTTP has for itself (RFC 9457, 3.1); ``detail`` is the message.
_OF_HTTP = ("type", "title", "status", "detail", "request_id")
# What a tool's text says besides the message, for a model that reads nothing else.
_FOR_MODELS = r" \({code}\)(; try again in [0-9.]+ s)?"


class Door(Protocol):
    """A way in, for one caller."""

    async def call(self, operation: str, /, **params: Any) -> Answer: ...


class HttpDoor:
    """One request for each call, as the table of operations describes it."""

    def __init__(self, http: httpx2.AsyncClient, token: str | None = None) -> None:
        self._http = http
        self._headers = {} if token is None else {"authorization": f"Bearer {token}"}

    async def call(self, operation: str, /, **params: Any) -> Answer:
        row = OPERATIONS[operation]
        other = row.also_at
        template = other if other and set(_IN_PATH.findall(other)) <= set(params) else row.path
        path = _IN_PATH.sub(lambda found: quote(str(params.pop(found[1])), safe=""), template)
        headers = dict(self._headers)
        for header, name in HEADER_PARAMS.items():
            # A wrong `traceparent` in a header is passed over; in the body it is refused.
            if name != "traceparent" and _fits_a_header(params.get(name)):
                headers[header] = params.pop(name)
        if row.method in ("POST", "PUT"):
            rest: dict[str, Any] = {"json": params}
        else:
            rest = {"params": {name: _text(value) for name, value in params.items()}}
        response = await self._http.request(row.method, path, headers=headers, **rest)
        content: Any = response.json() if response.content else None
        if response.is_error:
            assert response.headers["content-type"] == "application/problem+json"
            data = {name: value for name, value in content.items() if name not in _OF_HTTP}
            return data["code"], {**data, "message": content["detail"]}
        assert response.status_code == (204 if content is None else row.status)
        return None, content


class SocketDoor:
    """A request and its reply on a WebSocket."""

    def __init__(self, page: Browser) -> None:
        self._page = page

    async def call(self, operation: str, /, **params: Any) -> Answer:
        reply = await self._page.call(operation, **params)
        if "error" in reply:
            return _refused(**reply["error"])
        return None, reply["result"]


class ToolDoor:
    """A tool, called by the official client, which compares each answer with the tool's schema."""

    def __init__(self, tools: Client) -> None:
        self._tools = tools

    async def call(self, operation: str, /, **params: Any) -> Answer:
        try:
            result = await self._tools.call_tool(operation, params)
        except MCPError as error:
            return _refused(error.code, error.message, error.data)
        content: Any = result.structured_content
        if result.is_error:
            (block,) = result.content
            code = content["code"]
            suffix = re.search(_FOR_MODELS.format(code=code) + "$", getattr(block, "text", ""))
            assert suffix is not None, block
            return code, {**content, "message": suffix.string[: suffix.start()]}
        # A tool's structured content is an object, so that there is an empty one for null.
        nullable = "null" in OPERATIONS[operation].result["type"]
        return None, None if nullable and content == {} else content


def _refused(code: int, message: str, data: Any) -> Answer:
    assert isinstance(code, int)
    return data["code"], {**data, "message": message}


def _fits_a_header(value: Any) -> bool:
    """A header is ASCII, without space around it; what else there is goes into the body."""
    if not isinstance(value, str):
        return False
    return value.isascii() and value.isprintable() and value == value.strip()


def _text(value: Any) -> str:
    """Write a parameter into a query."""
    assert isinstance(value, str | int | float), f"no query can say {value!r}"
    return str(value).lower() if isinstance(value, bool) else str(value)


@contextlib.asynccontextmanager
async def tools_of(gateway: GatewayProcess, *, token: str | None = None) -> AsyncIterator[Client]:
    """Connect the official client of the MCP door."""
    async with client_at(gateway.url, token=token) as tools:
        yield tools


class Doors:
    """
    The doors of one gateway for its callers, each opened once, when it is first used.

    Args:
        kinds: ``http``, ``socket``, ``tool``: the doors that calls go through, in turn. What is no
            tool goes through the others, or over a socket.
    """

    def __init__(self, gateway: GatewayProcess, kinds: tuple[str, ...]) -> None:
        self._gateway = gateway
        self._kinds = kinds
        self._turn = 0
        self._open: dict[tuple[str, str], Door] = {}
        self._closing = asyncio.Event()
        self._kept: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Let the next call be the first of a turn."""
        self._turn = 0

    async def next(self, operation: str, token: str) -> Door:
        """Give the door of the next call, for the caller whose token this is."""
        tool = OPERATIONS[operation].tool
        fit = [kind for kind in self._kinds if kind != "tool" or tool] or ["socket"]
        kind = fit[self._turn % len(fit)]
        self._turn += 1
        if (kind, token) not in self._open:
            self._open[kind, token] = await self._opened(kind, token)
        return self._open[kind, token]

    async def close(self) -> None:
        """Close them all."""
        self._closing.set()
        await asyncio.gather(*self._kept)

    async def _opened(self, kind: str, token: str) -> Door:
        if kind == "http":
            return HttpDoor(self._gateway.http, token)
        # A client has to be closed by the asyncio task that has opened it, which no test outlives.
        opened: asyncio.Future[Door] = asyncio.get_running_loop().create_future()
        keeping = asyncio.create_task(self._keep(kind, token, opened))
        self._kept.append(keeping)
        waited: set[asyncio.Future[Any]] = {keeping, opened}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if keeping.done():
            keeping.result()
        return opened.result()

    async def _keep(self, kind: str, token: str, opened: asyncio.Future[Door]) -> None:
        if kind == "tool":
            async with tools_of(self._gateway, token=token) as tools:
                opened.set_result(ToolDoor(tools))
                await self._closing.wait()
        else:
            async with browser(self._gateway.url, token=token, topics=[]) as page:
                opened.set_result(SocketDoor(page))
                await self._closing.wait()
