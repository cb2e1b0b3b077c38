"""A gateway in a few lines, for what a real one does too rarely: a test plays each connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.async_api import Page, Route, WebSocketRoute

__all__ = ["ADDRESS", "Connection", "ScriptedGateway", "open_blank", "serve_modules"]

FRONTEND = Path(__file__).parent.parent.parent / "frontend_stub"
ADDRESS = "http://page.test"
WAIT_S = 20.0

# Loads the client and records everything that it tells, in order. Of `tokens` each is given once;
# null is one that never comes.
BEGIN = """
async ({ tokens, ...options }) => {
  if (tokens) options.token = () => tokens.shift() ?? new Promise(() => {});
  const { GatewayClient } = await import("/client/gateway-client.js");
  globalThis.told = [];
  globalThis.client = new GatewayClient("ws://page.test/ws", options);
  for (const name of ["state", "snapshot", "event", "missed", "degradation"])
    client.on(name, (detail) => told.push([name, detail]));
  client.start();
}
"""


async def serve_modules(page: Page) -> None:
    """Serve the frontend's modules to a page at ``ADDRESS``, and an empty page elsewhere."""

    async def serve(route: Route) -> None:
        path = route.request.url.removeprefix(f"{ADDRESS}/")
        if not path or not (FRONTEND / path).is_file():
            await route.fulfill(content_type="text/html", body="<!doctype html>")
        else:
            await route.fulfill(path=FRONTEND / path)

    await page.route(f"{ADDRESS}/**", serve)
    await open_blank(page)


async def open_blank(page: Page) -> None:
    """Reload a page that ``serve_modules`` has prepared."""
    await page.goto(f"{ADDRESS}/")
    await page.evaluate("sessionStorage.clear()")


class Connection:
    """One connection of the client, seen from the gateway's end."""

    def __init__(self, socket: WebSocketRoute) -> None:
        self._socket = socket
        self._frames: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        socket.on_message(lambda frame: self._frames.put_nowait(json.loads(frame)))

    async def request(self, method: str) -> Mapping[str, Any]:
        """Wait for the next request, leaving pings out."""
        async with asyncio.timeout(WAIT_S):
            while (frame := await self._frames.get())["method"] != method:
                assert frame["method"] == "ping", frame
        return frame

    def answer(self, request: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        self._send({"jsonrpc": "2.0", "id": request["id"], "result": result})

    def refuse(self, request: Mapping[str, Any], code: int, data: Mapping[str, Any]) -> None:
        error = {"code": code, "message": "refused", "data": data}
        self._send({"jsonrpc": "2.0", "id": request["id"], "error": error})

    def notice(self, method: str, **params: Any) -> None:
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def event(self, offset: int, *, epoch: str = "e1", type: str = "task_progress") -> None:
        self._send({"type": type, "epoch": epoch, "offset": offset})

    async def welcome(self, **subscribed: Any) -> Mapping[str, Any]:
        """Answer ``connect`` and ``subscribe``; returns the parameters of ``subscribe``."""
        connect = await self.request("connect")
        self.answer(connect, {"user_id": "demo", "scopes": [], "heartbeat_interval": 25})
        subscribe = await self.request("subscribe")
        result = {"epoch": "e1", "offset": 0, "recovered": True, "replayed": 0, **subscribed}
        self.answer(subscribe, result)
        params: Mapping[str, Any] = subscribe["params"]
        return params

    async def close(self, code: int) -> None:
        await self._socket.close(code=code)

    def _send(self, frame: Mapping[str, Any]) -> None:
        self._socket.send(json.dumps(frame))


class ScriptedGateway:
    """Gives a test the connections that a page makes, one after the other."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._connections: asyncio.Queue[Connection] = asyncio.Queue()

    async def begin(self, **options: Any) -> None:
        """Start the client in the page."""
        await open_blank(self._page)
        await self._page.route_web_socket(
            "ws://page.test/ws", lambda socket: self._connections.put_nowait(Connection(socket))
        )
        await self._page.evaluate(BEGIN, {"backoff_base_ms": 20, **options})

    async def connection(self) -> Connection:
        async with asyncio.timeout(WAIT_S):
            return await self._connections.get()

    async def told(self, *names: str) -> list[Any]:
        """Give what the client has told under these names so far."""
        everything: list[tuple[str, Any]] = await self._page.evaluate("told")
        return [detail for name, detail in everything if name in names]

    async def until(self, condition: str) -> None:
        """Wait until a JavaScript expression over ``told`` and ``client`` is true."""
        await self._page.wait_for_function(condition, timeout=WAIT_S * 1000)
