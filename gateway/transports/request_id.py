"""
Request ids: one name for each HTTP request, in its answer, in its problem and in the log.

Since it sees each answer, it adds the headers that every answer has, too.

A caller may give it, ``X-Request-Id``; one that is missing, or that is no name of ours, is made
here. It is echoed in the answer, so that a report of a failure leads to the line in the log.
"""

from __future__ import annotations

import re
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.ports import IdSource
from gateway.transports.safe_headers import SAFE_HEADERS

__all__ = ["HEADER", "RequestIds", "request_id"]

HEADER = "x-request-id"
_HEADER = HEADER.encode()

_NAME = re.compile(r"[A-Za-z0-9._~@:-]{1,128}")
_current: ContextVar[str | None] = ContextVar("request_id", default=None)


def request_id() -> str | None:
    """Give the id of the request that is being answered; None: there is none."""
    return _current.get()


class RequestIds:
    """
    ASGI middleware that names each HTTP request.

    Args:
        app: The application behind it.
        ids: Makes the ids that no caller has given.
    """

    def __init__(self, app: ASGIApp, ids: IdSource) -> None:
        self._app = app
        self._ids = ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = [value for header, value in scope["headers"] if header == _HEADER]
        usable = len(given) == 1 and _NAME.fullmatch(given[0].decode("latin-1"))
        name = usable[0] if usable else self._ids.uuid7()

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                named_by = (_HEADER, name.encode())
                message["headers"] = [*message.get("headers", ()), named_by, *SAFE_HEADERS]
            await send(message)

        token = _current.set(name)
        try:
            await self._app(scope, receive, named)
        finally:
            _current.reset(token)
