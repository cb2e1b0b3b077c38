"""MCP as tests speak it: the official client, and single messages as they are."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

from tests.transports.http_client import Answer, ask
from tests.transports.world import WAIT_S, World

# The handshake of 2025 and earlier, and the single exchanges of 2026.
ERAS = ("legacy", "2026-07-28")

HEADERS = {
    "accept": "application/json, text/event-stream",
    "content-type": "application/json",
    "mcp-protocol-version": "2025-06-18",
}


@contextlib.asynccontextmanager
async def client_at(
    url: str,
    *,
    era: str = "legacy",
    token: str | None = None,
    hear: Callable[[httpx2.Response], None] = lambda response: None,
) -> AsyncIterator[Client]:
    """
    Connect the official client.

    Args:
        url: The gateway's HTTP address.
        hear: Is given each response, read to its end, before the client looks at it.
    """

    async def heard(response: httpx2.Response) -> None:
        await response.aread()
        hear(response)

    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(
            headers=headers,
            timeout=WAIT_S,
            trust_env=False,
            verify=False,
            event_hooks={"response": [heard]},
        ) as plain,
        Client(streamable_http_client(f"{url}/mcp", http_client=plain), mode=era) as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def mcp_client(
    here: World, *, era: str = "legacy", token: str | None = None
) -> AsyncIterator[Client]:
    """Connect the official client to a gateway in this process."""
    async with client_at(here.http, era=era, token=token) as client:
        yield client


async def done(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool, which has to succeed; the client compares the answer with the tool's schema."""
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def refused(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool, which has to answer why not."""
    result: CallToolResult = await client.call_tool(name, arguments)
    assert result.is_error, result
    assert isinstance(result.structured_content, dict)
    (text,) = result.content
    assert result.structured_content["code"] in getattr(text, "text", "")
    return result.structured_content


async def say(
    here: World,
    message: Any = None,
    *,
    content: bytes | None = None,
    token: str | None = None,
    method: str = "POST",
    path: str = "/mcp",
    **headers: str | None,
) -> Answer:
    """Send one message (``content``: as it is); a header that is None is left out."""
    whole = {**HEADERS, **{name.replace("_", "-"): text for name, text in headers.items()}}
    sent = {name: text for name, text in whole.items() if text is not None}
    if message is not None:
        sent.pop("content-type")
    return await ask(here, method, path, token=token, body=message, content=content, headers=sent)


def call(name: Any, arguments: Any = None, *, id: Any = 1) -> dict[str, Any]:
    """A ``tools/call``."""
    params = {"name": name, "arguments": {} if arguments is None else arguments}
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}
