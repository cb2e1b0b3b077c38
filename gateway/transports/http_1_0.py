"""
Answers to HTTP/1.0, as old proxies speak it: what has no length ends with its connection.

Such a client knows no chunks and must not be sent any (RFC 9112, 6.1); uvicorn sends them.
"""

from __future__ import annotations

import sys

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

__all__ = ["unchunked"]


def unchunked(app: ASGIApp, cycle: RequestResponseCycle) -> ASGIApp:
    """
    Let ``app`` answer a request of HTTP/1.0.

    Args:
        app: What answers.
        cycle: uvicorn's side of this request.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        is_sized = True

        async def sent(message: Message) -> None:
            nonlocal is_sized
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message.get("headers", ())}
                is_sized = b"content-length" in names
                if not is_sized:
                    cycle.chunked_encoding = False
                    cycle.expected_content_length = sys.maxsize
                    cycle.keep_alive = False
            elif not is_sized and not message.get("more_body", False):
                # uvicorn counts down to the end, which is here.
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, sent)

    return answer
