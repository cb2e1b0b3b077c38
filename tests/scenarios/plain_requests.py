"""GET requests over sockets of our own: it is known which of them share a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import orjson

from gateway.app.clock import SystemClock

__all__ = ["Answered", "over_new_connections", "over_one_connection", "p99_ms"]

CLOCK = SystemClock()
REQUEST = "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: {after}\r\n\r\n"
ANSWER_BYTES_MAX = 2**20


class Answered(NamedTuple):
    """One answer: its status, whether it is a JSON object, and the seconds that it took."""

    status: int
    whole: bool
    took_s: float


async def over_one_connection(port: int, paths: Sequence[str], count: int) -> list[Answered]:
    """Ask ``count`` times, one after the other, over one connection that stays open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=ANSWER_BYTES_MAX)
    try:
        return [
            await _ask(reader, writer, port, paths[n % len(paths)], "keep-alive", CLOCK.monotonic())
            for n in range(count)
        ]
    finally:
        writer.close()


async def over_new_connections(port: int, paths: Sequence[str], count: int) -> list[Answered]:
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
    path: str,
    after: str,
    began: float,
) -> Answered:
    async with asyncio.timeout(5):  # each of the original's requests had to be answered by then
        writer.write(REQUEST.format(path=path, port=port, after=after).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(size)
    whole = isinstance(orjson.loads(body), dict)
    return Answered(int(head.split()[1]), whole, CLOCK.monotonic() - began)
