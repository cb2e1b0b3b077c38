"""Requests over sockets of our own: it is known which of them share a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from gateway.app.clock import SystemClock

__all__ = ["Answered", "over_new_connections", "over_one_connection", "p99_ms", "tool_call"]

CLOCK = SystemClock()
REQUEST = "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: {after}\r\n\r\n"
POST = (
    "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: {after}\r\n"
    "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"
    "Content-Length: {size}\r\n\r\n"
)
ANSWER_BYTES_MAX = 2**20


class Answered(NamedTuple):
    """One answer: its status, whether it is JSON and no error, and the seconds that it took."""

    status: int
    whole: bool
    took_s: float


class Posted(NamedTuple):
    """A request with a body."""

    path: str
    body: bytes


def tool_call(name: str, **arguments: Any) -> Posted:
    """Make the request for one call of a tool, as an MCP client without a session sends it."""
    params = {"name": name, "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return Posted("/mcp", orjson.dumps(message))


async def over_one_connection(
    port: int, paths: Sequence[str | Posted], count: int
) -> list[Answered]:
    """Ask ``count`` times, one after the other, over one connection that stays open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=ANSWER_BYTES_MAX)
    try:
        return [
            await _ask(reader, writer, port, paths[n % len(paths)], "keep-alive", CLOCK.monotonic())
            for n in range(count)
        ]
    finally:
        writer.close()


async def over_new_connections(
    port: int, paths: Sequence[str | Posted], count: int
) -> list[Answered]:
    """Ask ``count`` times, one after the other, each over a connection of its own."""
    answers = []
    for number in range(count):
        began = CLOCK.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=ANSWER_BYTES_MAX)
        try:
            path = paths[number % len(paths)]
            answers.append(await _ask(reader, writer, port, path, "close", began))
            assert await reader.read() == b"", "it was asked to close"
        finally:
            writer.close()
    return answers


def p99_ms(answers: Sequence[Answered]) -> float:
    """Give the 99th percentile in milliseconds."""
    return sorted(answer.took_s for answer in answers)[len(answers) * 99 // 100] * 1000


async def _ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    port: int,
    asked: str | Posted,
    after: str,
    began: float,
) -> Answered:
    async with asyncio.timeout(5):  # each of the original's requests had to be answered by then
        if isinstance(asked, str):
            writer.write(REQUEST.format(path=asked, port=port, after=after).encode())
        else:
            path, size = asked.path, len(asked.body)
            begin = POST.format(path=path, port=port, after=after, size=size)
            writer.write(begin.encode() + asked.body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(size)
    answer = orjson.loads(body)
    # An error of JSON-RPC, or a tool that refuses, is no answer either.
    whole = isinstance(answer, dict) and "error" not in answer
    whole = whole and not (answer.get("result") or {}).get("isError", False)
    return Answered(int(head.split()[1]), whole, CLOCK.monotonic() - began)
