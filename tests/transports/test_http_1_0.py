"""HTTP/1.0 over real sockets: a stream has no chunks and ends with its connection."""

from __future__ import annotations

import asyncio

import pytest

from tests.transports.raw_client import Raw, raw, request
from tests.transports.world import WAIT_S, World, connected, world

STREAM = "/api/events/stream?topic=user:ann"


def old(here: World, start: str) -> bytes:
    return request(here, start, "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")


async def head_of(client: Raw) -> str:
    async with asyncio.timeout(WAIT_S):
        return (await client.reader.readuntil(b"\r\n\r\n")).decode().lower()


async def test_an_event_stream_has_no_chunks() -> None:
    async with world() as here, raw(here) as client:
        await client.send(old(here, f"GET {STREAM}"))
        head = await head_of(client)
        assert "transfer-encoding" not in head
        assert "connection: close" in head
        await here.publish()
        async with asyncio.timeout(WAIT_S):
            said = await client.reader.readuntil(b"data: {")
        lines = said.decode().split("\n")
        assert all(not line or ":" in line for line in lines), lines


async def test_a_stream_that_is_over_ends_its_connection() -> None:
    """That there is no place for it is said in one event."""
    async with world(max_connections=1) as here, connected(here), raw(here) as client:
        await client.send(old(here, f"GET {STREAM}"))
        await head_of(client)
        said = await client.ended()
        assert said.startswith(b"retry:")
        assert said.endswith(b"\n\n")


@pytest.mark.parametrize("start", [f"HEAD {STREAM}", "HEAD /", "GET /static/icon.svg", "GET /"])
async def test_what_has_a_length_or_no_body_is_answered_as_ever(start: str) -> None:
    async with world() as here, raw(here) as client:
        await client.send(old(here, start))
        head = await head_of(client)
        body = await client.ended()
        assert "transfer-encoding" not in head
        assert ("content-length: " + str(len(body))) in head or start.startswith("HEAD")
        assert (body == b"") == start.startswith("HEAD")
