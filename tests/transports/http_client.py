"""HTTP as tests speak it: one request, one answer, over a real socket."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import orjson

from tests.transports.world import WAIT_S, World


@dataclasses.dataclass
class Answer:
    status: int
    headers: httpx2.Headers
    text: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.text)


async def ask(
    here: World,
    method: str,
    path: str,
    *,
    token: str | None = None,
    body: Any = None,
    content: bytes | None = None,
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
) -> Answer:
    """Send one request; ``body`` as JSON, ``content`` as it is."""
    whole = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    if token is not None:
        whole.append(("authorization", f"Bearer {token}"))
    if body is not None:
        content = orjson.dumps(body)
        whole.append(("content-type", "application/json"))
    async with plain_http(here.http) as client:
        response = await client.request(method, path, content=content, headers=whole)
        return Answer(response.status_code, response.headers, response.text)


def plain_http(url: str) -> httpx2.AsyncClient:
    """A client without certificates, which cost more to load than the whole exchange."""
    return httpx2.AsyncClient(base_url=url, timeout=WAIT_S, trust_env=False, verify=False)


class Stream:
    """A reader of server-sent events."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> dict[str, Any]:
        """The next block: ``id``, ``event``, ``data``, or ``comment``."""
        block: dict[str, Any] = {}
        async for line in self._lines:
            if not line:
                if block:
                    return block
                continue
            name, _, text = line.partition(":")
            text = text.removeprefix(" ")
            block[name or "comment"] = orjson.loads(text) if name == "data" else text
        raise EOFError("the stream ended")

    async def rest(self) -> list[dict[str, Any]]:
        """Everything up to the end of the stream."""
        blocks = []
        with contextlib.suppress(EOFError):
            while True:
                blocks.append(await self.next())
        return blocks

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The next so many events of the log."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            block = await self.next()
            if "type" in block.get("data", {}):
                assert block["event"] == block["data"]["type"]
                assert block["id"] == f"{block['data']['epoch']}:{block['data']['offset']}"
                found.append(block["data"])
        return found


@contextlib.asynccontextmanager
async def stream(
    here: World, path: str, *, token: str | None = None, last: str | None = None
) -> AsyncIterator[Stream]:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    if last is not None:
        headers["last-event-id"] = last
    async with (
        plain_http(here.http) as client,
        client.stream("GET", path, headers=headers) as response,
    ):
        yield Stream(response)
