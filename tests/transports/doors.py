"""
The doors through which an operation is called, each told by the operation's row in the table.

A door gives what was refused in one form, whichever way it says so, and fails when the refusal is
not one of its own kind: a problem, a JSON-RPC error with an integer code, a tool's error. None is
given where parameters cannot be written in its requests, such as a list in a query.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlencode

import httpx2
import orjson

from gateway.protocol.operations import Operation
from gateway.transports.http_protocol import URL_BYTES_MAX
from tests.transports.http_client import plain_http
from tests.transports.mcp_client import HEADERS, call
from tests.transports.world import Wire, World, connected

__all__ = ["Door", "Http", "Refused", "Socket", "Tool", "doors", "url_of"]

Params = Mapping[str, Any]


class Refused(NamedTuple):
    """A refusal: its text code, the parameter at fault, and the sentence with the remedy."""

    code: str
    field: str | None
    message: str


class Door(Protocol):
    async def ask(self, operation: Operation, params: Params) -> Any:
        """Call an operation; gives a ``Refused``, or the result."""
        ...

    def takes(self, operation: Operation, params: Params) -> bool:
        """Tell whether these parameters can be written down for it."""
        ...


class Socket:
    """JSON-RPC over a WebSocket."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def takes(self, operation: Operation, params: Params) -> bool:
        return True

    async def ask(self, operation: Operation, params: Params) -> Any:
        reply = await self.wire.ask(operation.name, **params)
        assert reply.keys() in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"}), reply
        if "result" in reply:
            return reply["result"]
        return _of_json_rpc(reply["error"])


class Tool:
    """The tools of MCP, each call a message of its own."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client

    def takes(self, operation: Operation, params: Params) -> bool:
        return operation.tool

    async def ask(self, operation: Operation, params: Params) -> Any:
        return await self.send(orjson.dumps(call(operation.name, dict(params))))

    async def send(self, content: bytes) -> Any:
        """Send a message as it is."""
        answer = await self.client.post("/mcp", content=content, headers=HEADERS)
        assert answer.status_code < 500, answer.text
        said = orjson.loads(answer.content)
        if "error" in said:
            return _of_json_rpc(said["error"])
        result = said["result"]["structuredContent"]
        if not said["result"].get("isError"):
            return result
        (text,) = said["result"]["content"]
        return Refused(result["code"], result.get("field"), text["text"])


class Http:
    """HTTP: path, query or JSON body."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client

    def takes(self, operation: Operation, params: Params) -> bool:
        in_path = _in_path(operation)
        if not all(isinstance(params.get(name), str) and params[name] for name in in_path):
            return False
        # Starlette's routes end at a slash; a query's texts are read by their schema's type.
        whole = not any("/" in params[name] or "\n" in params[name] for name in in_path)
        rest = [value for name, value in params.items() if name not in in_path]
        if operation.method == "GET" and not all(isinstance(each, str) for each in rest):
            return False
        return whole and len(self._written(operation, params)[0]) <= URL_BYTES_MAX

    async def ask(self, operation: Operation, params: Params) -> Any:
        return await self.send(operation.method, *self._written(operation, params))

    async def send(self, method: str, url: str, body: bytes | None = None, **headers: str) -> Any:
        """Send a request as it is."""
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        if body is not None:
            sent.setdefault("content-type", "application/json")
        answer = await self.client.request(method, url, content=body, headers=sent)
        if answer.is_success:
            return orjson.loads(answer.content) if answer.content else None
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        problem = orjson.loads(answer.content)
        assert problem["status"] == answer.status_code
        return Refused(problem["code"], problem.get("field"), problem["detail"])

    def _written(self, operation: Operation, params: Params) -> tuple[str, bytes | None]:
        """The URL and the body."""
        rest = {name: value for name, value in params.items() if name not in _in_path(operation)}
        url = url_of(operation, params)
        if operation.method == "GET":
            return f"{url}?{urlencode(rest)}" if rest else url, None
        return url, orjson.dumps(rest) if rest else None


def url_of(operation: Operation, params: Params) -> str:
    """The path, with what belongs into it."""
    path = operation.path
    for name in _in_path(operation):
        path = path.replace(f"{{{name}}}", quote(params[name], safe=""))
    return path


@contextlib.asynccontextmanager
async def doors(here: World, token: str | None = None) -> AsyncIterator[dict[str, Door]]:
    """Open all of them, for one caller."""
    named = {} if token is None else {"token": token}
    async with connected(here, **named) as wire, plain_http(here.http) as client:
        if token is not None:
            client.headers["authorization"] = f"Bearer {token}"
        yield {"socket": Socket(wire), "http": Http(client), "tool": Tool(client)}


def _in_path(operation: Operation) -> list[str]:
    return [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]


def _of_json_rpc(error: Any) -> Refused:
    assert error.keys() == {"code", "message", "data"}, error
    assert isinstance(error["code"], int)
    assert not isinstance(error["code"], bool)
    assert error["code"] != -32603, error
    assert json.dumps(error["data"]["code"])
    return Refused(error["data"]["code"], error["data"].get("field"), error["message"])
