"""Reaching a gateway: every error is a sentence with the address and what to do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.app.reaching import NotReached, Reached
from gateway.client.errors import CallFailed
from gateway.domain.errors import Unavailable
from tests.transports.world import SECRET, token, world

HTML = b"<!doctype html><title>Welcome to nginx!</title>"


@contextlib.asynccontextmanager
async def answering(status: str, kind: str, body: bytes) -> AsyncIterator[str]:
    """A server that answers everything with this."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n".encode())
        writer.write(f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def refusal(url: str, given: str | None = None, name: str = "stats.get") -> str:
    with pytest.raises(NotReached) as refused:
        await Reached(url, given).call(name)
    said = str(refused.value)
    assert said.startswith(url)
    assert "\n" not in said
    return said


async def test_no_gateway_there() -> None:
    said = await refusal("http://127.0.0.1:9")
    assert "refused" in said
    assert "`gateway serve`" in said
    with pytest.raises(NotReached, match="--url"):
        await Reached("http://127.0.0.1:9", None).ready()


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        ("200 OK", "text/html", HTML),
        ("404 Not Found", "text/html", HTML),
        ("404 Not Found", "application/json", b'{"detail":"Not Found"}'),
        ("200 OK", "application/json", b'{"hello":"world"}'),
        ("200 OK", "application/json", b"[]"),
    ],
)
async def test_something_else_answers(status: str, kind: str, body: bytes) -> None:
    async with answering(status, kind, body) as url:
        assert "is no gateway" in await refusal(url)
        with pytest.raises(NotReached, match="no gateway"):
            await Reached(url, None).ready()


async def test_a_proxy_says_that_the_gateway_is_away() -> None:
    async with answering("502 Bad Gateway", "text/html", HTML) as url:
        assert "HTTP 502; try again" in await refusal(url)
        assert await Reached(url, None).ready() == "HTTP 502"


async def test_a_wrong_path_of_a_gateway() -> None:
    async with world() as here:
        assert "nothing at this path" in await refusal(f"{here.http}/elsewhere")


async def test_no_token_a_wrong_one_and_one_without_the_scope() -> None:
    async with world(secret=SECRET) as here:
        assert "it asks for a token" in await refusal(here.http)
        assert "does not take this token" in await refusal(here.http, "nonsense")
        said = await refusal(here.http, token("ann", "events:read"))
        assert "needs the scope events:read:all" in said
        assert "`gateway token --user NAME --scope events:read:all`" in said
        said = await refusal(here.http, token("ann", "events:read:all"), "breaker.list")
        assert "`gateway token --user NAME --scope admin`" in said
        assert await Reached(here.http, None).ready() is None


async def test_a_gateway_that_cannot_answer_now() -> None:
    async def away(name: str, params: Any, caller: Any) -> Any:
        raise Unavailable("the log is still being read", retry_after=1.0)

    async with world() as here:
        here.engine.script = away
        assert "still being read; try again" in await refusal(here.http)


async def test_a_refusal_of_one_call_is_told_as_it_is() -> None:
    async with world() as here:
        with pytest.raises(CallFailed) as failed:
            await Reached(here.http, None).call("task.get", {"task_id": "none"})
    assert (failed.value.code, failed.value.field) == ("not_found", "task_id")
