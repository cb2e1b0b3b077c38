"""
Heads of requests that cannot be taken as they are: written anew, or refused.

Another protocol is not offered, and who asks for one in passing is served as if it had not (RFC
9110, 7.8): Java's HttpClient and ``curl --http2`` do so, with a body. The parser takes what follows
such a head for the other protocol; so the head is read again, without that wish.
"""

from __future__ import annotations

from collections.abc import Sequence

import httptools
from starlette.responses import Response

from gateway.transports.problem import problem

__all__ = ["no_http", "without_wish"]

# The fields of a head, and the options of its connection, that ask for another protocol.
WISHES = frozenset({b"upgrade", b"http2-settings"})


def without_wish(
    method: bytes, url: bytes, version: str, fields: Sequence[tuple[bytes, bytes]]
) -> bytes | None:
    """
    Write a head without the wish for another protocol; None: it had none.

    Args:
        fields: Names, in small letters, and values, as the parser gave them.
    """
    if not any(name == b"upgrade" for name, _ in fields):
        return None
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode())]
    for name, value in fields:
        if name == b"connection":
            options = (option.strip() for option in value.split(b","))
            kept = b", ".join(option for option in options if option.lower() not in WISHES)
            lines += [b"connection: " + kept] if kept else []
        elif name not in WISHES:
            lines.append(name + b": " + value)
    return b"\r\n".join([*lines, b"", b""])


def no_http(error: Exception | None = None) -> Response:
    """Refuse what is no request; ``error`` is what the parser said."""
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        words = "this is no method of HTTP; they are written in capitals (GET, POST, PUT, DELETE)"
        return problem(400, "bad_request", words)
    return problem(400, "bad_request", "this is not HTTP/1.1 as RFC 9112 has it")
