"""The upstream over a real socket with the real SDK: answers, streams and faults."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx2
import pytest
from openai import APIStatusError, AsyncOpenAI, OpenAIError, RateLimitError

from gateway.app.demo.clients import async_client
from gateway.app.demo.faults import BY_SCHEDULE, FAULTS
from gateway.app.demo.model import reply
from gateway.app.demo.upstream import BODY_BYTES_MAX, RETRY_AFTER_S
from tests.app.demo.conversations import conversation
from tests.app.demo.upstreams import PACE, upstream
from tests.transports.http_client import plain_http

MESSAGES: Any = conversation("Summarise.", "the lights of Eddystone")


@contextlib.asynccontextmanager
async def client_of(
    mode: str = BY_SCHEDULE, *, schedule: Sequence[str] = ("fine",), timeout: float = 20.0
) -> AsyncIterator[AsyncOpenAI]:
    async with (
        upstream({"any": schedule}) as server,
        async_client(server.base_url, timeout=timeout) as client,
    ):
        server.plan.choose(mode)
        yield client


async def ask(client: AsyncOpenAI, *, stream: bool) -> str:
    if not stream:
        whole = await client.chat.completions.create(model="any", messages=MESSAGES)
        return whole.choices[0].message.content or ""
    words = ""
    async for chunk in await client.chat.completions.create(
        model="any", messages=MESSAGES, stream=True
    ):
        words += chunk.choices[0].delta.content or ""
    return words


async def test_a_stream_and_a_whole_answer_say_the_same() -> None:
    async with client_of("fine") as client:
        whole = await client.chat.completions.create(model="any", messages=MESSAGES)
        stream = await client.chat.completions.create(model="any", messages=MESSAGES, stream=True)
        pieces = [chunk.choices[0] async for chunk in stream]
    said = "".join(piece.delta.content or "" for piece in pieces)
    assert said == whole.choices[0].message.content == reply(MESSAGES)
    assert pieces[-1].finish_reason == "stop"


@pytest.mark.parametrize("mode", [fault.name for fault in FAULTS if fault.name != "fine"])
@pytest.mark.parametrize("stream", [True, False])
async def test_every_fault_fails_in_the_sdk(mode: str, stream: bool) -> None:
    """And a server with a stalled connection still ends at once."""
    async with client_of(mode, timeout=0.5) as client:
        with pytest.raises((OpenAIError, httpx2.HTTPError, ValueError)):
            await ask(client, stream=stream)


async def test_a_call_over_the_limit_is_told_when_to_retry_divided_by_the_pace() -> None:
    async with client_of("429") as client:
        with pytest.raises(RateLimitError) as refused:
            await ask(client, stream=False)
    headers = refused.value.response.headers
    assert headers["retry-after"] == "1"
    assert headers["retry-after-ms"] == str(round(1000 * RETRY_AFTER_S / PACE))


async def test_calls_follow_the_schedule_of_their_model() -> None:
    async with client_of(schedule=("500", "fine")) as client:
        with pytest.raises(APIStatusError) as failed:
            await ask(client, stream=True)
        assert failed.value.status_code == 500
        assert await ask(client, stream=True) == reply(MESSAGES)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"model": 1}',
        b'{"model": "m"}',
        b'{"model": "m", "messages": []}',
        b'{"model": "m", "messages": ["hello"]}',
        b" " * (BODY_BYTES_MAX + 1),
    ],
    ids=["empty", "no model", "array", "number", "no messages", "none", "text", "too long"],
)
async def test_a_call_that_is_no_conversation_is_refused(body: bytes) -> None:
    async with client_of("fine") as client, plain_http(str(client.base_url)) as http:
        answer = await http.post("chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
