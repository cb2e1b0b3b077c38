"""Documents that need no caller: the page with its files, the event schemas, the API's own."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

import event_schemas
from gateway.domain.error_codes import CODES, failure_with
from gateway.domain.messages import PROBLEMS
from gateway.transports.asyncapi import asyncapi_document
from gateway.transports.http import answer_errors
from gateway.transports.openapi import openapi_document
from gateway.transports.problem import problem
from gateway.transports.safe_headers import page_policy

__all__ = ["document_routes", "page_routes"]

# Asked again each time, answered 304 while it is the same: nothing is stale after an update.
NO_CACHE = "no-cache"
_ASKED_AGAIN = {"cache-control": NO_CACHE}
# How many descriptions are kept ready; each place that the gateway is mounted at has its own.
PLACES_MAX = 16


def page_routes(directory: Path | None, *, demo: bool = False) -> list[BaseRoute]:
    """
    Make the routes of the page, ``/``, and of its files, ``/static/…``.

    Args:
        directory: Where they are, with ``index.html``; None: this gateway has no page.
        demo: Whether the page is told to show the demonstration, which it need not try out then.
    """
    if directory is None:
        return []
    index = directory / "index.html"

    async def page(request: Request) -> Response:
        try:
            text = await asyncio.to_thread(index.read_bytes)
        except OSError:
            return problem(404, "not_found", "this gateway has no page")
        if demo:
            text = text.replace(b"<html ", b"<html data-demo ", 1)
        headers = _page_headers(request.scope)
        return _document(request, text, "text/html; charset=utf-8", headers)

    return [Route("/", page), Mount("/static", _Files(directory=directory, check_dir=False))]


def _page_headers(scope: Scope) -> dict[str, str]:
    return {"content-security-policy": page_policy(scope), "cache-control": NO_CACHE}


class _Files(StaticFiles):
    """Static files with the page's headers; links that lead out of the directory lead nowhere."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                page = _page_headers(scope)
                more = [(name.encode(), value.encode()) for name, value in page.items()]
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
        return _document(request, orjson.dumps({"items": items, "next": None}))

    async def schema(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in event_schemas.TYPES:
            return problem(404, "not_found", "there is no such event type")
        schema = orjson.dumps(event_schemas.bundle(name))
        return _document(request, schema, "application/schema+json")

    codes = orjson.dumps({"items": [_code(name) for name in CODES], "next": None})

    async def error_codes(request: Request) -> Response:
        return _document(request, codes)

    def described(make: Callable[[str], dict[str, Any]]) -> Callable[[Request], Any]:
        @functools.lru_cache(PLACES_MAX)
        def encoded(root: str) -> bytes:
            return orjson.dumps(make(root or "/"))

        async def show(request: Request) -> Response:
            return _document(request, encoded(request.scope.get("root_path", "")))

        return answer_errors(show)

    return [
        Route("/schemas", answer_errors(schemas)),
        Route("/schemas/{name}.json", answer_errors(schema)),
        Route("/error-codes", answer_errors(error_codes)),
        Route("/openapi.json", described(openapi)),
        Route("/asyncapi.json", described(asyncapi_document)),
    ]


def _code(name: str) -> dict[str, Any]:
    """Tell what follows from an error code; the list of codes is open, for agents' own."""
    failure = failure_with(name)
    return {
        "error_code": name,
        "error_type": failure.error_type,
        "sentence": PROBLEMS[name],
        "suggested_action": failure.suggested_action,
        "is_recoverable": failure.is_recoverable,
        "retry_possible": failure.retry_possible,
        "retried": failure.retryable,
        "counts": failure.counts,
    }


def _document(
    request: Request,
    body: bytes,
    media_type: str = "application/json",
    headers: Mapping[str, str] = _ASKED_AGAIN,
) -> Response:
    """Answer with a document, or that it is the one the client has (RFC 9110, 13.1.2)."""
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {**headers, "etag": etag}
    known = ",".join(request.headers.getlist("if-none-match")).split(",")
    if {"*", etag} & {tag.strip().removeprefix("W/") for tag in known}:
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, media_type)
