"""Calls over HTTP: the same answers and refusals as over a WebSocket, and no answer at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.client.errors import CallFailed, Disconnected
from gateway.client.http_calls import HttpCalls
from gateway.domain.errors import InvalidParams, Rejected
from tests.transports.world import CLOCK, SECRET, WAIT_S, World, token, until, world


def noting(here: World, answer: Any) -> list[tuple[str, Any]]:
    """Let the gateway answer this, and note what it is asked."""
    asked: list[tuple[str, Any]] = []

    async def script(name: str, params: Any, caller: Any) -> Any:
        asked.append((name, dict(params)))
        if isinstance(answer, Exception):
            raise answer
        return answer

    here.engine.script = script
    return asked


async def test_parameters_go_into_the_path_and_the_body() -> None:
    async with world() as here:
        asked = noting(here, {"task_id": "a:b c"})
        result = await HttpCalls(here.ws).call("task.retry", {"task_id": "a:b c"})
        assert result == {"task_id": "a:b c"}
        await HttpCalls(here.ws).call("task.create", {"agent": "é", "input": [1]})
    assert asked == [
        ("task.retry", {"task_id": "a:b c"}),
        ("task.create", {"agent": "é", "input": [1]}),
    ]


async def test_a_get_and_a_delete_have_their_parameters_in_the_query_and_no_secret_there() -> None:
    async with world() as here:
        asked = noting(here, {})
        calls = HttpCalls(here.ws)
        await calls.call("task.list", {"limit": 5, "cursor": "a&b c", "status": "failed"})
        await calls.call("task.list", {})
        await calls.call("agent.remove", {"agent_id": "w1", "agent_secret": "s1"})
    assert asked == [
        ("task.list", {"limit": 5, "cursor": "a&b c", "status": "failed"}),
        ("task.list", {}),
        ("agent.remove", {"agent_id": "w1", "agent_secret": "s1"}),
    ]


async def test_a_gateway_is_found_by_its_http_address_too() -> None:
    async with world() as here:
        asked = noting(here, {})
        root = here.ws.replace("ws", "http", 1).removesuffix("/ws")
        for url in (root, f"{root}/"):
            await HttpCalls(url).call("task.get", {"task_id": "t1"})
    assert asked == [("task.get", {"task_id": "t1"})] * 2


async def test_an_answer_without_a_body_is_none() -> None:
    async with world() as here:
        noting(here, None)
        assert await HttpCalls(here.ws).call("task.cancel", {"task_id": "t"}) is None


@pytest.mark.parametrize(
    "error",
    [
        InvalidParams("wrong", field="agent"),
        Rejected("open", code="circuit_breaker_open", retry_after=2.5),
    ],
)
async def test_a_refusal_has_code_field_and_wait(error: InvalidParams | Rejected) -> None:
    async with world() as here:
        noting(here, error)
        with pytest.raises(CallFailed) as failed:
            await HttpCalls(here.ws).call("task.create", {"agent": "a"})
    refused = failed.value
    assert (refused.code, refused.field) == (error.code, error.field)
    assert (refused.message, refused.retry_after) == (error.message, error.retry_after)
    assert refused.number is None


async def test_the_token_goes_with_each_call() -> None:
    async with world(secret=SECRET) as here:
        noting(here, {})
        allowed = HttpCalls(here.ws, token=token("ann", "tasks:write"))
        assert await allowed.call("task.create", {"agent": "a"}) == {}
        with pytest.raises(CallFailed) as failed:
            await HttpCalls(here.ws).call("task.create", {"agent": "a"})
        assert failed.value.code == "unauthenticated"


@contextlib.asynccontextmanager
async def peer(*lines: bytes, on_request: Callable[[], None] = lambda: None) -> AsyncIterator[str]:
    """A server that answers every request with these bytes, or with nothing until the end."""
    over, before = asyncio.Event(), asyncio.all_tasks()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            on_request()
            writer.writelines(lines)
            if not lines:
                await over.wait()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}/ws"
        over.set()
        # One whose client has gone may just have been accepted: asyncio leaves it open when the
        # server is closed before it is served.
        await until(lambda: asyncio.all_tasks() <= before)
    await CLOCK.sleep(0)


@pytest.mark.parametrize(
    ("status", "body", "code", "retry_after"),
    [
        (b"502 Bad Gateway", b"<html>", "unavailable", 1.0),
        (b"503 Busy", b'"later"', "unavailable", 1.0),
        (b"404 Not Found", b"<html>", None, None),
        (b"429 Slow", b'{"code": "rate_limited", "retry_after": 3}', "rate_limited", 3),
    ],
)
async def test_a_proxys_answer_is_a_refusal_and_worth_a_retry_if_the_gateway_is_away(
    status: bytes, body: bytes, code: str | None, retry_after: float | None
) -> None:
    head = b"HTTP/1.1 " + status + b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n"
    async with peer(head, body) as url:
        with pytest.raises(CallFailed) as failed:
            await HttpCalls(url).call("task.create", {"agent": "a"})
    assert failed.value.retry_after == retry_after
    assert code is None or failed.value.code == code
    assert f"HTTP {status[:3].decode()}" in failed.value.message


@pytest.mark.parametrize("lines", [(b"nonsense\r\n\r\n",), (b"HTTP/1.1 2",)])
async def test_an_answer_that_is_no_http_is_no_answer(lines: tuple[bytes, ...]) -> None:
    async with peer(*lines) as url:
        with pytest.raises(Disconnected, match="no answer over HTTP"):
            await HttpCalls(url).call("task.create", {"agent": "a"})


async def test_a_gateway_that_is_not_there_gives_no_answer() -> None:
    with pytest.raises(Disconnected):
        await HttpCalls("ws://127.0.0.1:9/ws").call("task.create", {"agent": "a"})


async def test_a_gateway_that_says_nothing_is_waited_for_up_to_the_limit() -> None:
    async with peer() as url:
        with pytest.raises(Disconnected):
            await HttpCalls(url).call("task.create", {"agent": "a"}, timeout=0.05)


@pytest.mark.parametrize("at", ["once", "the answer"])
async def test_cancelling_ends_the_wait_and_its_thread(at: str) -> None:
    """At once, before it has connected, too: a thread that waited on would hold the process."""
    asked = asyncio.Event()
    async with peer(on_request=asked.set) as url:
        call = asyncio.create_task(HttpCalls(url).call("task.create", {"agent": "a"}, timeout=60))
        loop = asyncio.get_running_loop()
        await (CLOCK.sleep(0) if at == "once" else asked.wait())
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(WAIT_S):
            await loop.shutdown_default_executor()


@pytest.mark.parametrize(
    ("url", "host", "root", "secure"),
    [
        ("ws://127.0.0.1:8000/ws", "127.0.0.1:8000", "", False),
        ("wss://gate.example/agents/ws", "gate.example", "/agents", True),
        ("ws://user:secret@gate.example:81/ws", "gate.example:81", "", False),
        ("ws://[::1]:8000/ws", "[::1]:8000", "", False),
    ],
)
def test_the_address_is_the_websockets(url: str, host: str, root: str, secure: bool) -> None:
    calls = HttpCalls(url)
    assert (calls._host, calls._root, calls._secure) == (host, root, secure)
