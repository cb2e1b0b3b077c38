"""Requests that are too large, too slow or too many, byte by byte over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.transports.http_protocol import (
    BODY_BYTES_S,
    FIELDS_MAX,
    HEAD_BYTES_MAX,
    PIPELINED_MAX,
    URL_BYTES_MAX,
)
from tests.transports.raw_client import Raw, RawAnswer, handshake, raw, request
from tests.transports.world import CLOCK, World, connected, until, world

HEALTH = "GET /health"
# A request's time in the tests about slow ones, in seconds.
BRIEF_S = 0.3


def refusal(answer: RawAnswer) -> tuple[int, str]:
    """Status and code of a refusal, which ends the connection and is a problem with its headers."""
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json["status"] == answer.status
    return answer.status, answer.json["code"]


# --- size -----------------------------------------------------------------------------------


async def test_a_head_of_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    async with world() as here:
        small = request(here, HEALTH, "X-Fill: ")
        # The words around the URL do not count.
        fill = HEAD_BYTES_MAX - len(small) + len("GET  HTTP/1.1\r\n\r\n")
        for more, status in ((0, 200), (1, 431)):
            head = request(here, HEALTH, "X-Fill: " + "x" * (fill + more))
            async with raw(here) as client:
                await client.send(head)
                assert (await client.answer()).status == status
            # The same in pieces, which the parser puts together.
            async with raw(here) as client:
                for at in range(0, len(head), 20_000):
                    await client.send(head[at : at + 20_000])
                    await CLOCK.sleep(0.005)
                assert (await client.answer()).status == status


@pytest.mark.parametrize(
    ("start", "endless", "refused"),
    [
        ("GET /health HTTP/1.1\r\nX-Fill: ", b"x", (431, "head_too_large")),
        ("GET /health HTTP/1.1\r\n", b"A: b\r\n", (431, "head_too_large")),
        ("GET /health?", b"x", (414, "url_too_long")),
        ("GET /health HTTP/1.1\r\nHost: h\r\n", b"X" * 100, (431, "head_too_large")),
    ],
    ids=["one field", "many fields", "url", "a name"],
)
async def test_a_head_without_end_is_refused_while_it_is_sent(
    start: str, endless: bytes, refused: tuple[int, str]
) -> None:
    """39 MB of one header were taken before anybody had signed in."""
    async with world() as here:
        async with raw(here) as client:
            await client.send(start.encode())
            sent = 0
            piece = endless * (65_536 // len(endless))
            while not client.reader._buffer and sent < 40_000_000:  # type: ignore[attr-defined]
                await client.send(piece)
                await CLOCK.sleep(0)
                sent += len(piece)
            assert sent < 4_000_000
            assert refusal(await client.answer()) == refused
            await client.ended()
        await until(lambda: here.limits.places.taken == 0)


async def test_a_url_of_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    async with world() as here:
        for more, status in ((0, 200), (1, 414)):
            path = "/health?" + "x" * (URL_BYTES_MAX - len("/health?") + more)
            async with raw(here) as client:
                await client.send(request(here, f"GET {path}"))
                assert (await client.answer()).status == status


async def test_fields_have_a_number() -> None:
    """Each name that is asked for is looked for in all of them."""
    async with world() as here:
        for count, status in ((FIELDS_MAX - 1, 200), (FIELDS_MAX, 431)):
            async with raw(here) as client:
                await client.send(request(here, HEALTH, *["A: b"] * count))
                assert (await client.answer()).status == status


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda here: handshake(here, "X-Fill: " + "x" * 8200), 431),
        (lambda here: handshake(here, *["A: b"] * 130), 431),
        (lambda here: handshake(here, path="/ws?" + "x" * 8190), 414),
        (lambda here: handshake(here, path="/ws?" + "x" * 8170), 101),
        (lambda here: handshake(here, "X-Fill: " + "x" * 8170, *["A: b"] * 110), 101),
    ],
    ids=["a line", "lines", "url", "a url that fits", "lines that fit"],
)
async def test_a_handshake_that_is_too_large_is_answered(
    change: Callable[[World], bytes], status: int
) -> None:
    """The parser of handshakes has its own bounds, and said nothing at all beyond them."""
    async with world() as here, raw(here) as client:
        await client.send(change(here))
        answer = await client.answer()
        assert answer.status == status
        if status != 101:
            refusal(answer)


async def test_what_follows_a_chunked_body_is_bounded_and_no_header() -> None:
    async with world(secret="s" * 32) as here:
        chunked = request(here, "POST /api/tasks", "Transfer-Encoding: chunked")
        async with raw(here) as client:
            # A field in the trailer is not a field of the head.
            await client.send(chunked + b"2\r\n{}\r\n0\r\nAuthorization: Basic x\r\n\r\n")
            assert (await client.answer()).status == 401
            await client.send(request(here, HEALTH))
            assert (await client.answer()).status == 200
    # And it is not a way to send fields without end. This caller waits for the body.
    async with world() as here, raw(here) as client:
        chunked = request(here, "POST /api/tasks", "Transfer-Encoding: chunked")
        await client.send(chunked + b"2\r\n{}\r\n0\r\nX-Fill: ")
        for _ in range(10):
            await client.send(b"x" * 65_536)
        assert refusal(await client.answer()) == (431, "head_too_large")


async def test_requests_that_are_sent_ahead_have_a_number() -> None:
    """Each that waits behind another one costs some kilobytes; a read may hold 14,000 of them."""
    async with world() as here, raw(here) as client:
        await client.send(request(here, HEALTH) * (PIPELINED_MAX + 1))
        for _ in range(PIPELINED_MAX + 1):
            assert (await client.answer()).status == 200
    async with world() as here, raw(here) as client:
        await client.send(request(here, HEALTH) * 3000)
        for _ in range(PIPELINED_MAX + 1):
            assert (await client.answer()).status == 200
        assert refusal(await client.answer()) == (429, "too_many_requests")
        await client.ended()
        await until(lambda: here.limits.places.taken == 0)


# --- time -----------------------------------------------------------------------------------


@pytest.fixture
async def brief() -> AsyncIterator[World]:
    async with world(head_timeout=BRIEF_S) as here:
        yield here


async def dripped(client: Raw, data: bytes, *, each_s: float) -> None:
    """Send byte by byte until the peer answers or it is all sent."""
    for at in range(len(data)):
        if client.reader._buffer or client.reader.at_eof():  # type: ignore[attr-defined]
            return
        await client.send(data[at : at + 1])
        await CLOCK.sleep(each_s)


async def test_half_a_head_is_told_and_ended(brief: World) -> None:
    """Fifty of them stood open for ever, outside every limit."""
    async with raw(brief) as client:
        await client.send(request(brief, HEALTH)[:-2])
        answer = await client.answer()
        assert refusal(answer) == (408, "timeout")
        assert answer.headers["retry-after"] == "1"
        assert await client.ended() == b""


async def test_a_head_that_drips_is_ended(brief: World) -> None:
    """A byte now and then is no progress."""
    async with raw(brief) as client:
        await dripped(client, request(brief, HEALTH) * 10, each_s=0.01)
        assert refusal(await client.answer()) == (408, "timeout")


async def test_the_next_head_on_a_connection_has_its_own_time(brief: World) -> None:
    async with raw(brief) as client:
        for _ in range(3):
            await client.send(request(brief, HEALTH))
            assert (await client.answer()).status == 200
            # To be idle is no fault.
            await CLOCK.sleep(BRIEF_S * 1.5)
            await client.send(request(brief, HEALTH)[:10])
            await CLOCK.sleep(BRIEF_S / 3)
            await client.send(request(brief, HEALTH)[10:])
            assert (await client.answer()).status == 200
        await client.send(request(brief, HEALTH)[:10])
        assert refusal(await client.answer()) == (408, "timeout")


async def test_empty_lines_between_requests_are_the_beginning_of_one(brief: World) -> None:
    """They ended the wait for an idle connection, and nothing else began."""
    async with raw(brief) as client:
        await client.send(request(brief, HEALTH))
        assert (await client.answer()).status == 200
        await client.send(b"\r\n")
        await client.send(b"\r\n" + request(brief, HEALTH))
        assert (await client.answer()).status == 200
        await client.send(b"\r\n")
        assert refusal(await client.answer()) == (408, "timeout")


def posted(here: World, length: int) -> bytes:
    return request(
        here, "POST /api/tasks", f"Content-Length: {length}", "Content-Type: application/json"
    )


@pytest.mark.parametrize("first", [b"", b"{", b"{" + b" " * 500_000], ids=["none", "one", "most"])
async def test_a_body_that_stops_is_told_and_ended(brief: World, first: bytes) -> None:
    """However much of it has come: a client cannot save up time."""
    async with raw(brief) as client:
        await client.send(posted(brief, 900_000) + first)
        assert refusal(await client.answer()) == (408, "timeout")
    await until(lambda: brief.limits.places.taken == 0)
    assert len(brief.server.server_state.tasks) == 0


async def test_a_body_that_drips_is_ended_and_a_slow_one_is_taken(brief: World) -> None:
    async with raw(brief) as client:
        await client.send(posted(brief, 900_000))
        await dripped(client, b" " * 900_000, each_s=0.01)
        assert refusal(await client.answer()) == (408, "timeout")
    body = b'{"agent": "a"}' + b" " * (2 * BODY_BYTES_S)
    async with raw(brief) as client:
        await client.send(posted(brief, len(body)))
        # Half as fast again as it has to be, and longer than a body that stops is waited for.
        for at in range(0, len(body), BODY_BYTES_S * 3 // 20):
            await client.send(body[at : at + BODY_BYTES_S * 3 // 20])
            await CLOCK.sleep(0.1)
        assert (await client.answer()).status == 201


async def test_chunks_without_content_are_no_body(brief: World) -> None:
    async with raw(brief) as client:
        await client.send(request(brief, "POST /api/tasks", "Transfer-Encoding: chunked"))
        await dripped(client, b"1;" + b"x" * 60_000, each_s=0.001)
        assert refusal(await client.answer()) == (408, "timeout")


async def test_the_rest_of_a_refused_body_does_not_hold_the_connection(brief: World) -> None:
    async with raw(brief) as client:
        await client.send(posted(brief, 10**9) + b"{")
        assert (await client.answer()).status == 413
        await until(client.reader.at_eof)
    # One that is sent to its end is idle again, and may go on.
    async with raw(brief) as client:
        body = b" " * (2**20 + 1)
        await client.send(posted(brief, len(body)) + body)
        assert (await client.answer()).status == 413
        await client.send(request(brief, HEALTH))
        assert (await client.answer()).status == 200


async def test_a_request_that_waits_for_its_answer_is_not_late(brief: World) -> None:
    async def slow(*args: Any) -> str:
        await CLOCK.sleep(BRIEF_S * 3)
        return "done"

    brief.engine.script = slow
    async with raw(brief) as client:
        # The next one is begun meanwhile; its time begins when it is read.
        whole = posted(brief, 2) + b"{}"
        await client.send(whole + whole[:20])
        await until(lambda: len(brief.server.server_state.tasks) > 0)
        assert (await client.answer()).status == 201
        await client.send(whole[20:])
        assert (await client.answer()).status == 201


async def test_what_follows_a_request_does_not_cost_its_answer(brief: World) -> None:
    """Neither nonsense nor a handshake that comes too early; the connection ends after it."""

    async def slow(*args: Any) -> dict[str, Any]:
        await CLOCK.sleep(BRIEF_S * 2)
        return {}

    brief.engine.script = slow
    for follows in (b"\x00\x01\r\n\r\n", handshake(brief), request(brief, HEALTH)[:9] + b"\x00"):
        for apart in (False, True):
            async with raw(brief) as client:
                asked = request(brief, "GET /api/tasks")
                await client.send(asked if apart else asked + follows)
                if apart:
                    await until(lambda: len(brief.server.server_state.tasks) > 0)
                    await client.send(follows)
                assert (await client.answer()).status == 200
                assert await client.ended() == b""


BODY = b'{"agent":"writer","input":{}}'
JSON = "Content-Type: application/json"
LENGTH = f"Content-Length: {len(BODY)}"
CHUNKED = b"%x;x=1\r\n%b\r\n0\r\nX-Sum: 1\r\n\r\n" % (len(BODY), BODY)
H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ((LENGTH, *H2C), BODY),
        (("Upgrade: TLS/1.0, foo/2", "Connection: keep-alive, upgrade", LENGTH), BODY),
        (("Transfer-Encoding: chunked", "Trailer: X-Sum", *H2C), CHUNKED),
        (("Transfer-Encoding: chunked", "Trailer: X-Sum"), CHUNKED),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
async def test_who_asks_for_another_protocol_is_served_with_its_body(
    brief: World, fields: tuple[str, ...], body: bytes, apart: bool
) -> None:
    """uvicorn#2722: Java's HttpClient, Spring and ``curl --http2`` ask so, with every request."""
    whole = request(brief, "POST /api/tasks", JSON, *fields, body=body)
    async with raw(brief) as client:
        for _ in range(3):
            for part in (whole[:50], whole[50:-40], whole[-40:]) if apart else (whole,):
                await client.send(part)
            assert (await client.answer()).status == 201
        # Others may follow at once, of either kind.
        await client.send(whole + request(brief, HEALTH) + whole)
        assert [(await client.answer()).status for _ in range(3)] == [201, 200, 201]


async def test_a_client_that_waits_for_100_is_told_to_go_on_though_it_asked_for_more(
    brief: World,
) -> None:
    asked = request(brief, "POST /api/tasks", JSON, LENGTH, "Expect: 100-continue", *H2C)
    async with raw(brief) as client:
        await client.send(asked)
        assert (await client.answer()).status == 100
        await client.send(BODY)
        assert (await client.answer()).status == 201


async def test_a_target_may_have_its_host(brief: World) -> None:
    """RFC 9112, 3.2.2: a server takes the absolute form, which is meant for proxies."""
    async with raw(brief) as client:
        await client.send(request(brief, f"GET http://127.0.0.1:{brief.port}/health"))
        assert (await client.answer()).status == 200


async def test_an_old_proxy_is_answered_and_its_connection_ends(brief: World) -> None:
    asked = request(brief, HEALTH, "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")
    async with raw(brief) as client:
        await client.send(asked)
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await client.ended() == b""


@pytest.mark.parametrize("start", ["get /health", "Get /health", "BREW /health"])
async def test_a_method_that_is_none_is_refused_clearly(brief: World, start: str) -> None:
    async with raw(brief) as client:
        await client.send(request(brief, start))
        answer = await client.answer()
        assert answer.status == 400
        assert "written in capitals" in answer.json["detail"]


async def test_another_protocol_is_not_offered(
    brief: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw(brief) as client:
        for _ in range(3):
            await client.send(request(brief, HEALTH, "Upgrade: h2c", "Connection: Upgrade"))
            answer = await client.answer()
            assert (answer.status, "upgrade" in answer.headers) == (200, False)
    assert not caplog.records


async def test_fifty_bad_connections_at_once_are_gone_and_others_did_not_notice(
    brief: World,
) -> None:
    starts = (b"", b"G", request(brief, HEALTH)[:-2], posted(brief, 10), b"\r\n")
    async with asyncio.TaskGroup() as group, connected(brief) as client:

        async def hang(start: bytes) -> None:
            async with raw(brief) as bad:
                await bad.send(start)
                await bad.ended()

        hanging = [group.create_task(hang(starts[number % 5])) for number in range(50)]
        while not all(task.done() for task in hanging):
            await client.result("ping")
        await until(lambda: brief.limits.places.taken == 1)


async def test_a_client_that_goes_is_noticed_also_when_it_has_sent_a_request_ahead() -> None:
    """
    Only the request that arrived last was told: a claim went on for nobody.

    On uvloop each answer to such a client was logged as an error, too.
    """
    claiming, gone = asyncio.Event(), asyncio.Event()

    async def script(name: str, params: Any, caller: Any) -> None:
        claiming.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    async with world() as here:
        here.engine.script = script
        async with raw(here) as client:
            body = b'{"agent_id":"a","wait":30}'
            fields = (f"Content-Length: {len(body)}", "Content-Type: application/json")
            await client.send(request(here, "POST /api/tasks/claim", *fields, body=body))
            await client.send(request(here, HEALTH))
            async with asyncio.timeout(10):
                await claiming.wait()
        async with asyncio.timeout(10):
            await gone.wait()
