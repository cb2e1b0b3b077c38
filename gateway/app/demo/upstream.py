"""
The upstream: a model server with OpenAI's chat completions, which fails as the plan says.

It runs in this process on a port of its own. Answers and faults go over a real socket to a real
SDK, so that the agents raise what they would raise in production.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Generator, Mapping
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from gateway.app.demo.faults import Plan
from gateway.app.demo.model import reply, words_of
from gateway.app.demo.pauses import Pauses
from gateway.domain.errors import RequestError
from gateway.domain.settings import Settings
from gateway.ports import Clock
from gateway.protocol.strict_json import BadJson, parse_json
from gateway.transports.http_protocol import bounded
from gateway.transports.limits import Limits
from gateway.transports.requests import body_of
from gateway.transports.server import bind
from gateway.transports.sink import ABORT_EXTENSION

__all__ = ["Upstream"]

# Pauses, in seconds, so that a person sees the words come.
THINK_S = 0.35
WORD_S = 0.055
SENTENCE_S = 0.18
RETRY_AFTER_S = 2
# How many words come before a stream fails; of a short answer at most half.
WORDS_BEFORE_FAULT = 16
BODY_BYTES_MAX = 256 * 1024
# How long running requests have to finish when the server ends, in seconds.
END_S = 1


class Upstream:
    """
    The server.

    Args:
        plan: Gives the fault of each call.
        clock: For the time in its answers.
        pauses: How long it takes; their pace shortens Retry-After, too.
    """

    def __init__(self, plan: Plan, clock: Clock, pauses: Pauses) -> None:
        self.plan = plan
        self._clock = clock
        self._pace = pauses.pace
        self._pause = pauses.pause
        self._ending = asyncio.Event()
        self._answers = 0
        self._listener = bind("127.0.0.1", 0)
        app = Starlette(routes=[Route("/v1/chat/completions", self._complete, methods=["POST"])])
        settings = Settings()
        self._server = _Inner(
            uvicorn.Config(
                app,
                http=bounded(Limits(settings, clock), head_s=settings.head_timeout, crowded=app),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=END_S,
            )
        )

    @property
    def base_url(self) -> str:
        """The base URL for an SDK."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve while inside; at the end stalled answers are cut off."""
        serving = asyncio.create_task(self._server.serve([self._listener]), name="upstream")
        try:
            yield
        finally:
            self._ending.set()
            self._server.should_exit = True
            await serving
            self._listener.close()

    # --- a call -----------------------------------------------------------------------------

    async def _complete(self, request: Request) -> Response:
        try:
            call = _checked(parse_json(await body_of(request, bytes_max=BODY_BYTES_MAX)))
        except (BadJson, RequestError, ValueError) as error:
            return _error(400, str(error), kind="invalid_request_error")
        fault = self.plan.next_fault(call["model"])
        await self._pause(THINK_S)
        if fault == "429":
            return _error(
                429,
                "too many requests",
                kind="requests",
                code="rate_limit_exceeded",
                headers=self._retry_after(),
            )
        if fault == "500":
            return _error(500, "the model is not there", kind="server_error")
        self._answers += 1
        answer = _Answer(f"chatcmpl-{self._answers}", call["model"], int(self._clock.wall()))
        text = reply(call["messages"])
        if call.get("stream"):
            pieces = self._stream(request, answer, text, fault)
            return StreamingResponse(pieces, media_type="text/event-stream")
        body = answer.whole(text)
        if fault == "fine":
            return Response(body, media_type="application/json")
        if fault == "broken":
            return Response(body[: len(body) // 2], media_type="application/json")
        return StreamingResponse(
            self._begun(request, body[: len(body) // 2], fault),
            headers={"content-length": str(len(body))},
            media_type="application/json",
        )

    async def _stream(
        self, request: Request, answer: _Answer, text: str, fault: str
    ) -> AsyncIterator[bytes]:
        words = words_of(text)
        last = len(words) if fault == "fine" else min(WORDS_BEFORE_FAULT, len(words) // 2)
        yield answer.chunk({"role": "assistant", "content": ""})
        for word in words[:last]:
            yield answer.chunk({"content": word})
            await self._pause(SENTENCE_S if word[-2:] in (". ", "? ", ": ") else WORD_S)
        if fault == "fine":
            yield answer.chunk({}, finish_reason="stop")
            yield b"data: [DONE]\n\n"
        elif fault == "broken":
            whole = answer.chunk({"content": words[last] if words else ""})
            yield whole[: len(whole) // 2] + b"\n\n"
        else:
            await self._fail(request, fault)

    def _retry_after(self) -> Mapping[str, str]:
        """OpenAI's two headers: in whole seconds (RFC 9110, 10.2.3), and in milliseconds."""
        wait_s = RETRY_AFTER_S / self._pace
        return {"retry-after": str(math.ceil(wait_s)), "retry-after-ms": str(round(wait_s * 1000))}

    async def _begun(self, request: Request, body: bytes, fault: str) -> AsyncIterator[bytes]:
        yield body
        await self._fail(request, fault)

    async def _fail(self, request: Request, fault: str) -> None:
        """Cut the connection, or stay silent until the caller gives up, which cancels this."""
        if fault == "drop":
            request.scope["extensions"][ABORT_EXTENSION]()
        await self._ending.wait()
        request.scope["extensions"][ABORT_EXTENSION]()


class _Answer:
    """One answer as OpenAI's JSON, whole or in chunks."""

    def __init__(self, id: str, model: str, created: int) -> None:
        self._head = {"id": id, "model": model, "created": created}

    def whole(self, text: str) -> bytes:
        message = {"role": "assistant", "content": text}
        tokens = len(text.split())
        return orjson.dumps(
            {
                **self._head,
                "object": "chat.completion",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {
                    "prompt_tokens": 0,
                    "completion_tokens": tokens,
                    "total_tokens": tokens,
                },
            }
        )

    def chunk(self, delta: Mapping[str, str], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
        return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _error(
    status: int,
    message: str,
    *,
    kind: str,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    error = {"message": message, "type": kind, "param": None, "code": code}
    return Response(orjson.dumps({"error": error}), status, headers, media_type="application/json")


def _checked(call: Any) -> dict[str, Any]:
    if not isinstance(call, dict) or not isinstance(call.get("model"), str):
        raise ValueError("model has to be a text")
    messages = call.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages has to be a list with at least one message")
    if not all(isinstance(message, dict) for message in messages):
        raise ValueError("a message has to be an object")
    return call


class _Inner(uvicorn.Server):
    """A server in the gateway's process; signals are for the gateway."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
