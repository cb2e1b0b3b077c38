"""Documents that need no caller: the page with its files, the event schemas, the API's own."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

import event_schemas
from gateway.transports.asyncapi import asyncapi_document
from gateway.transports.http import answer_errors, json_response
from gateway.transports.openapi import openapi_document
from gateway.transports.problem import problem

__all__ = ["document_routes", "page_routes"]

# Scripts, styles and pictures from here only, and connections home (`ws:` since `'self'` does
# not cover WebSockets in every browser).
_PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; connect-src 'self' ws: wss:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # Asked again each time, answered 304 while it is the same: no stale page after an update.
    "cache-control": "no-cache",
}


def page_routes(directory: Path | None) -> list[BaseRoute]:
    """
    Make the routes of the page, ``/``, and of its files, ``/static/…``.

    Args:
        directory: Where they are, with ``index.html``; None: this gateway has no page.
    """
    if directory is None:
        return []
    index = directory / "index.html"

    async def page(request: Request) -> Response:
        try:
            text = await asyncio.to_thread(index.read_bytes)
        except OSError:
            return problem(404, "not_found", "this gateway has no page")
        return Response(text, 200, _PAGE_HEADERS, "text/html; charset=utf-8")

    return [Route("/", page), Mount("/static", _Files(directory=directory, check_dir=False))]


class _Files(StaticFiles):
    """Static files with the page's headers; links that lead out of the directory lead nowhere."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(name.encode(), value.encode()) for name, value in _PAGE_HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        await super().__call__(scope, receive, with_headers)


def document_routes(*, open_gateway: bool) -> list[BaseRoute]:
    """
    Make the routes of the schemas and of the API's descriptions.

    Args:
        open_gateway: Whether no token is looked at, which the description says.
    """
    openapi = functools.partial(openapi_document, open_gateway=open_gateway)

    async def schemas(request: Request) -> Response:
        root = request.scope.get("root_path", "")
        items = [
            {"type": name, "url": f"{root}/schemas/{name}.json"} for name in event_schemas.TYPES
        ]
        return json_response({"items": items, "next": None})

    async def schema(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in event_schemas.TYPES:
            return problem(404, "not_found", "there is no such event type")
        return Response(
            json_response(event_schemas.bundle(name)).body, 200, None, "application/schema+json"
        )

    def document(make: Callable[[str], dict[str, Any]]) -> Callable[[Request], Any]:
        async def show(request: Request) -> Response:
            return json_response(make(request.scope.get("root_path", "") or "/"))

        return answer_errors(show)

    return [
        Route("/schemas", answer_errors(schemas)),
        Route("/schemas/{name}.json", answer_errors(schema)),
        Route("/openapi.json", document(openapi)),
        Route("/asyncapi.json", document(asyncapi_document)),
    ]
