"""Refusals over HTTP: problem details (RFC 9457), with the text codes that WebSocket uses, too."""

from __future__ import annotations

import math
from http import HTTPStatus

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.domain.errors import RequestError, StoreUnavailable, Unauthenticated, Unavailable
from gateway.domain.rates import wait_told
from gateway.transports.request_id import request_id
from gateway.transports.safe_headers import NO_STORE, safe

__all__ = ["headers_of", "http_problem", "problem", "problem_of", "server_error"]

MEDIA_TYPE = "application/problem+json"

# Text codes of requests that Starlette refuses before they reach an operation.
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_DETAILS = {
    404: "there is nothing at this path; see /openapi.json",
    405: "this path does not take this method; Allow names those that it takes",
}
# What is allowed where Starlette does not say it: files.
_READ_ONLY = "GET, HEAD"


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    field: str | None = None,
    retry_after: float | None = None,
    headers: dict[str, str] | None = None,
    **members: object,
) -> Response:
    """
    Answer with a problem.

    Args:
        status: The HTTP status.
        code: The text code.
        detail: What is wrong with this request, for developers.
        field: The parameter at fault; None: no single one.
        retry_after: Seconds after which a retry makes sense; None: waiting does not help.
        headers: More headers; None: none.
        members: More members of the problem (RFC 9457, 3.2).
    """
    # "about:blank" (RFC 9457, 4.2.1): the type says no more than the status; `code` is exact.
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    body |= members
    if (name := request_id()) is not None:
        body["request_id"] = name
    headers = {**NO_STORE, **(headers or {})}
    if field is not None:
        body["field"] = field
    if retry_after is not None:
        body["retry_after"] = wait_told(retry_after)
        headers["retry-after"] = _whole_seconds(retry_after)
    return Response(orjson.dumps(body), status, headers, MEDIA_TYPE)


def problem_of(error: RequestError | StoreUnavailable) -> Response:
    """Answer with an error that an operation raised."""
    if isinstance(error, StoreUnavailable):
        error = Unavailable("the store is away", retry_after=error.retry_after)
    known = ("code", "field", "retry_after")
    return problem(
        error.http_status,
        error.code,
        error.message,
        field=error.field,
        retry_after=error.retry_after,
        headers=headers_of(error),
        **{name: value for name, value in error.data().items() if name not in known},
    )


def headers_of(error: RequestError) -> dict[str, str]:
    """Give the headers that the answer to an error has by any HTTP door."""
    headers = dict(NO_STORE)
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["retry-after"] = _whole_seconds(error.retry_after)
    return headers


def _whole_seconds(seconds: float) -> str:
    """As Retry-After has them (RFC 9110, 10.2.3), rounded up: earlier it would be refused again."""
    return str(max(1, math.ceil(seconds)))


async def server_error(request: Request, error: Exception) -> Response:
    """Answer where something broke that no door has caught; the server logs it."""
    return safe(problem(500, "internal_error", "internal error"))


async def http_problem(request: Request, error: Exception) -> Response:
    """
    Answer requests that Starlette refuses by itself, such as an unknown path or method.

    ``OPTIONS`` is one of them: it asks which methods a path has (RFC 9110, 9.3.7).
    """
    assert isinstance(error, HTTPException)
    status = error.status_code
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if status == 405:
        allowed = {name.strip() for name in headers.pop("allow", _READ_ONLY).split(",")}
        headers["allow"] = ", ".join(sorted(allowed | {"OPTIONS"}))
        if request.scope.get("method") == "OPTIONS":
            return Response(status_code=204, headers=headers)
    detail = str(error.detail)
    if detail == HTTPStatus(status).phrase:  # Starlette's own says no more than the status
        detail = _DETAILS.get(status, detail)
    return problem(status, _CODES.get(status, "http_error"), detail, headers=headers)
