"""
The faults of ``tests.upstream``: what each one writes to a connection, and how it ends it.

A fault is a function of an ``Exchange``; ``FAULTS`` lists all. ``tests.upstream`` documents
their names.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import email.utils
import json
import re
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

__all__ = ["FAULTS", "Drop", "Exchange", "Request", "check_fault", "play"]

# Seconds between the good beginning and the bad end, in which the client reads the beginning: at
# an RST the kernel throws away what has arrived and was not read.
BEFORE_BREAK_S = 0.05


class Drop(Exception):
    """The connection ends here."""


@dataclasses.dataclass(frozen=True)
class Request:
    """A request as it was read."""

    path: str
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body; {} when it is not a JSON object."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


class Exchange:
    """One call and the ways to answer it."""

    def __init__(
        self,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        text: str,
        released: asyncio.Event,
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.text = text
        self.released = released
        path = request.path.partition("?")[0]
        self.protocol = "anthropic" if path.endswith("/messages") else "openai"
        self.wants_stream = request.json.get("stream") is True

    @property
    def anthropic(self) -> bool:
        return self.protocol == "anthropic"

    async def send(self, status: int, kind: str, body: bytes, **headers: str) -> None:
        await self.start(status, kind, length=len(body), **headers)
        await self.write(body)

    async def send_json(self, status: int, body: object, **headers: str) -> None:
        await self.send(status, "application/json", json.dumps(body).encode(), **headers)

    async def start(self, status: int, kind: str, *, length: int | None, **headers: str) -> None:
        fields = {
            "content-type": kind,
            "x-request-id": "req_upstream",
            "request-id": "req_upstream",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if length is None:
            fields["connection"] = "close"  # the body ends with the connection, unless chunked
            fields["transfer-encoding"] = "chunked"
        else:
            fields["content-length"] = str(length)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self.write(f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode())

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_answer(self) -> None:
        if not self.wants_stream:
            await self.send_json(200, _completion(self.text, anthropic=self.anthropic))
            return
        await self.begin_stream()
        for piece in re.findall(r"\S*\s*", self.text):
            if piece:
                await self.send_event(_piece(piece, anthropic=self.anthropic))
        await self.end_stream()

    async def begin_stream(self) -> None:
        await self.start(200, "text/event-stream", length=None)
        if self.anthropic:
            message = _completion("", anthropic=True) | {"content": [], "stop_reason": None}
            await self.send_event({"type": "message_start", "message": message})
            block = {"type": "text", "text": ""}
            await self.send_event(
                {"type": "content_block_start", "index": 0, "content_block": block}
            )

    async def send_event(self, data: dict[str, Any] | str, *, event: str | None = None) -> None:
        if isinstance(data, dict):
            event = event or (data["type"] if self.anthropic else None)
            data = json.dumps(data)
        await self.send_chunk((f"event: {event}\n" if event else "") + f"data: {data}\n\n")

    async def send_chunk(self, text: str) -> None:
        data = text.encode()
        await self.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end_stream(self) -> None:
        if self.anthropic:
            await self.send_event({"type": "content_block_stop", "index": 0})
            await self.send_event(
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                    "usage": {"output_tokens": 2},
                }
            )
            await self.send_event({"type": "message_stop"})
        else:
            await self.send_event(_piece("", anthropic=False, finish="stop"))
            await self.send_event("[DONE]")
        await self.finish_chunks()

    async def finish_chunks(self) -> None:
        await self.write(b"0\r\n\r\n")
        raise Drop

    async def stall(self) -> None:
        """Say nothing more until the client hangs up, or the server stops."""
        await self.reader.read()
        raise Drop

    async def pause(self, seconds: float) -> None:
        """Let time pass; a client that hangs up ends it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stall()

    def reset(self) -> None:
        """Close with RST: with a linger time of zero, the kernel throws the connection away."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        raise Drop


def error_body(
    anthropic: bool, *, openai: tuple[str | None, str], kind: str, message: str
) -> dict[str, Any]:
    if anthropic:
        return {"type": "error", "error": {"type": kind, "message": message}}
    code, type_ = openai
    return {"error": {"message": message, "type": type_, "param": None, "code": code}}


def _completion(text: str, *, anthropic: bool) -> dict[str, Any]:
    if anthropic:
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "model-1",
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 2},
        }
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "model-1",
        "choices": [choice],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }


def _piece(text: str, *, anthropic: bool, finish: str | None = None) -> dict[str, Any]:
    if anthropic:
        delta = {"type": "text_delta", "text": text}
        return {"type": "content_block_delta", "index": 0, "delta": delta}
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "model-1",
        "choices": [choice],
    }


# --- the faults -----------------------------------------------------------------------------

INVALID = "invalid_request_error"
BUSY = ("overloaded", "service_unavailable")
PAGE = b"<html><body><h1>Bad Gateway</h1></body></html>"

# status: OpenAI's (code, type), Anthropic's type, message to OpenAI, message to Anthropic
ERRORS: dict[str, tuple[int, tuple[str | None, str], str, str, str]] = {
    "400_context": (
        400,
        ("context_length_exceeded", INVALID),
        INVALID,
        "This model's maximum context length is 8192 tokens.",
        "prompt is too long: 210000 tokens > 200000 maximum",
    ),
    "400_content_filter": (
        400,
        ("content_filter", INVALID),
        INVALID,
        "The response was filtered.",
        "Output blocked by content filtering policy",
    ),
    "400_billing": (
        400,
        ("billing_hard_limit_reached", INVALID),
        INVALID,
        "Billing hard limit has been reached",
        "Your credit balance is too low to access the API. Please go to Plans & Billing.",
    ),
    "400_plain": (400, (None, INVALID), INVALID, "Unknown parameter.", "messages: required"),
    "401": (401, ("invalid_api_key", INVALID), "authentication_error", "Bad key sk-abc123", ""),
    "402": (402, ("billing", "billing"), "billing_error", "Payment required", ""),
    "403": (
        403,
        ("unsupported_country_region_territory", "request_forbidden"),
        "permission_error",
        "Not here.",
        "Not permitted.",
    ),
    "404": (404, ("model_not_found", INVALID), "not_found_error", "No such model", ""),
    "408": (408, (None, "timeout"), "timeout_error", "Request timed out", ""),
    "409": (409, (None, "conflict"), "conflict_error", "Conflict", ""),
    "413": (413, (None, INVALID), "request_too_large", "Too large", ""),
    "422": (422, (None, INVALID), INVALID, "Unprocessable", ""),
    "429_quota": (
        429,
        ("insufficient_quota", "insufficient_quota"),
        "rate_limit_error",
        "You exceeded your current quota, please check your plan and billing details.",
        "",
    ),
    "500": (500, (None, "server_error"), "api_error", "Internal error", ""),
    "504": (504, (None, "server_error"), "api_error", "Gateway timeout", ""),
    "529": (529, BUSY, "overloaded_error", "Overloaded", ""),
}


async def _send_error(exchange: Exchange, name: str, **headers: str) -> None:
    status, openai, kind, to_openai, to_anthropic = ERRORS[name]
    message = (to_anthropic if exchange.anthropic else "") or to_openai
    body = error_body(exchange.anthropic, openai=openai, kind=kind, message=message)
    await exchange.send_json(status, body, **headers)


def _error(name: str) -> Callable[[Exchange], Any]:
    return lambda exchange: _send_error(exchange, name)


async def _busy(exchange: Exchange, status: int, **headers: str) -> None:
    if status == 429:
        openai: tuple[str | None, str] = ("rate_limit_exceeded", "tokens")
        kind = "rate_limit_error"
    else:
        openai, kind = BUSY, "overloaded_error"
    body = error_body(exchange.anthropic, openai=openai, kind=kind, message="Please slow down.")
    await exchange.send_json(status, body, **headers)


async def _limit_date(exchange: Exchange, seconds: int) -> None:
    await _busy(exchange, 429, retry_after=email.utils.formatdate(_wall() + seconds, usegmt=True))


async def _limit_reset(exchange: Exchange) -> None:
    """Send no Retry-After, only reset headers: one limit is used up for 90 s, one is not."""
    if exchange.anthropic:
        reset = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(_wall() + 90))
        soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(_wall() + 300))
        headers = {
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": reset,
            "anthropic-ratelimit-tokens-remaining": "5000",
            "anthropic-ratelimit-tokens-reset": soon,
        }
    else:
        headers = {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "1m30s",
            "x-ratelimit-remaining-tokens": "5000",
            "x-ratelimit-reset-tokens": "5m0s",
        }
    await _busy(exchange, 429, **headers)


def _wall() -> float:
    return time.time()  # noqa: TID251 - a server in the world, whose dates are compared with ours


async def _fine(exchange: Exchange) -> None:
    await exchange.send_answer()


async def _hold(exchange: Exchange) -> None:
    await exchange.released.wait()
    await exchange.send_answer()


async def _slow(exchange: Exchange, milliseconds: int) -> None:
    await exchange.pause(milliseconds / 1000)
    await exchange.send_answer()


async def _garbage(exchange: Exchange) -> None:
    await exchange.send(200, "application/json", b'{"id": "x", "choices": [')


async def _page(exchange: Exchange, status: int) -> None:
    await exchange.send(status, "text/html", PAGE)


async def _error_body(exchange: Exchange) -> None:
    await exchange.send_json(200, {"error": {"message": "boom", "type": "server_error"}})


async def _empty_obj(exchange: Exchange) -> None:
    await exchange.send_json(200, {})


async def _stall(exchange: Exchange) -> None:
    await exchange.stall()


async def _close(exchange: Exchange) -> None:
    raise Drop


async def _reset(exchange: Exchange) -> None:
    exchange.reset()


async def _bad_http(exchange: Exchange) -> None:
    await exchange.write(b"this is no HTTP\r\n\r\n")
    raise Drop


async def _body_cut(exchange: Exchange) -> None:
    await exchange.start(200, "application/json", length=1000)
    await exchange.write(b'{"id": "x", ')
    raise Drop


async def _body_stall(exchange: Exchange) -> None:
    await exchange.start(200, "application/json", length=1000)
    await exchange.write(b'{"id": "x", ')
    await exchange.stall()


def _stream(end: Callable[[Exchange], Any]) -> Callable[[Exchange], Any]:
    """Make a fault that begins a stream well, and then goes on as ``end`` does."""

    async def play(exchange: Exchange) -> None:
        await exchange.begin_stream()
        await exchange.send_event(_piece("hel", anthropic=exchange.anthropic))
        await exchange.pause(BEFORE_BREAK_S)
        await end(exchange)

    return play


async def _early_end(exchange: Exchange) -> None:
    await exchange.finish_chunks()


async def _bad_event(exchange: Exchange) -> None:
    event = "content_block_delta" if exchange.anthropic else None
    await exchange.send_event('{"choices": [', event=event)
    await exchange.finish_chunks()


async def _error_event(exchange: Exchange) -> None:
    message = "Overloaded" if exchange.anthropic else "The server had an error"
    body = error_body(
        exchange.anthropic,
        openai=(None, "server_error"),
        kind="overloaded_error",
        message=message,
    )
    await exchange.send_event(body)
    await exchange.finish_chunks()


# By the pattern of its name; the numbers in the name are arguments.
FAULTS: dict[str, Callable[..., Any]] = {
    "fine": _fine,
    "hold": _hold,
    r"slow_(\d{1,6})": _slow,
    **{name: _error(name) for name in ERRORS},
    r"(429|503)_ra(\d{1,6})": lambda e, status, s: _busy(e, status, retry_after=str(s)),
    r"(429)_ms(\d{1,9})": lambda e, status, ms: _busy(e, status, retry_after_ms=str(ms)),
    r"429_date(\d{1,6})": _limit_date,
    "429_none": lambda e: _busy(e, 429),
    "429_xratelimit": _limit_reset,
    "503": lambda e: _busy(e, 503),
    "502_html": lambda e: _page(e, 502),
    "200_html": lambda e: _page(e, 200),
    "200_garbage": _garbage,
    "200_empty_obj": _empty_obj,
    "200_error_body": _error_body,
    "timeout": _stall,
    "close_before": _close,
    "reset_before": _reset,
    "bad_http": _bad_http,
    "body_cut": _body_cut,
    "body_stall": _body_stall,
    "s_drop": _stream(_close),
    "s_reset": _stream(_reset),
    "s_stall": _stream(_stall),
    "s_early_end": _stream(_early_end),
    "s_badjson": _stream(_bad_event),
    "s_error": _stream(_error_event),
}


async def play(fault: str, exchange: Exchange) -> None:
    """
    Answer one call with a fault.

    Raises:
        Drop: To end the connection.
    """
    for pattern, act in FAULTS.items():
        if match := re.fullmatch(pattern, fault):
            await act(exchange, *map(int, match.groups()))
            return
    await exchange.send_json(404, {"error": f"no such fault: {fault}"})


def check_fault(fault: str) -> None:
    """
    Refuse the name of a fault that does not exist.

    Raises:
        ValueError: If there is no such fault.
    """
    if not any(re.fullmatch(pattern, fault) for pattern in FAULTS):
        raise ValueError(f"no such fault: {fault}")
