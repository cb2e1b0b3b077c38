"""Refusals over HTTP: RFC 9457 problem details, the same text codes as through every door."""

from __future__ import annotations

import math
from http import HTTPStatus

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.domain.errors import RequestError, StoreUnavailable, Unauthenticated, Unavailable

__all__ = ["http_problem", "problem", "problem_of"]

MEDIA_TYPE = "application/problem+json"

# Text codes of what never reaches an operation.
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    field: str | None = None,
    retry_after: float | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """
    Answer with a problem.

    Args:
        status: The HTTP status.
        code: The text code.
        detail: What is wrong with this request, for developers.
        field: The parameter at fault; None: no single one.
        retry_after: Seconds after which it is worth trying again; None: waiting is no help.
        headers: More headers.
    """
    # "about:blank": the status says what kind of problem it is, `code` which one exactly.
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    headers = dict(headers or {})
    if field is not None:
        body["field"] = field
    if retry_after is not None:
        body["retry_after"] = round(retry_after, 3)
        # Whole seconds (RFC 9110, 10.2.3), rounded up: earlier would be refused again.
        headers["retry-after"] = str(max(1, math.ceil(retry_after)))
    return Response(orjson.dumps(body), status, headers, MEDIA_TYPE)


def problem_of(error: RequestError | StoreUnavailable) -> Response:
    """Answer with an error of ours."""
    if isinstance(error, StoreUnavailable):
        error = Unavailable("the store is away", retry_after=error.retry_after)
    headers = {"www-authenticate": "Bearer"} if isinstance(error, Unauthenticated) else None
    return problem(
        error.http_status,
        error.code,
        error.message,
        field=error.field,
        retry_after=error.retry_after,
        headers=headers,
    )


async def http_problem(request: Request, error: Exception) -> Response:
    """Answer what Starlette refuses by itself: no such path, no such method."""
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "http_error")
    headers = dict(error.headers) if error.headers else None
    return problem(error.status_code, code, str(error.detail), headers=headers)
