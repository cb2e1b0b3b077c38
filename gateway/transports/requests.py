"""
An operation's parameters from an HTTP request: path, query or JSON body, and named headers.

The operation's schema gives the type of each query parameter. A parameter that comes twice, from
one place or from two, is refused: it would not be clear which value counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from gateway.domain.access import Caller
from gateway.domain.errors import InvalidParams, TooLarge, UnsupportedMedia
from gateway.domain.names import is_traceparent
from gateway.domain.redaction import quoted
from gateway.protocol.operations import HEADER_PARAMS, Operation
from gateway.protocol.strict_json import PARAMS_LEVELS, BadJson, parse_json
from gateway.transports.access import Access

__all__ = [
    "BODY_BYTES_MAX",
    "bearer",
    "body_of",
    "body_size_of",
    "caller_of",
    "params_of",
    "query_of",
    "wait_disconnect",
]

# A result of 256 KiB may be longer in the body, where its characters may be escaped. The values
# have bounds of their own.
BODY_BYTES_MAX = 1024 * 1024

JSON = "application/json"

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?")
# Methods that take their parameters from the body alone; DELETE may take some from the query.
_WITH_BODY = ("POST", "PUT")


async def params_of(request: Request, operation: Operation) -> dict[str, Any]:
    """
    Collect the parameters of an operation.

    Raises:
        InvalidParams: If the body is not a JSON object, or a parameter came twice.
        TooLarge: If the body is over ``BODY_BYTES_MAX``.
        UnsupportedMedia: If it says that it is no JSON.
    """
    properties = operation.params.get("properties", {})
    params: dict[str, Any] = dict(request.path_params)
    query = query_of(request)
    if operation.method in _WITH_BODY and query:
        field = next(iter(query))
        raise InvalidParams(f"{field} belongs into the JSON body, not the query", field=field)
    _merge(params, {name: _value(text, properties.get(name)) for name, text in query.items()})
    if operation.method == "GET":
        _require_no_body(request)
    else:
        _merge(params, await _object_of(request))
    for header, name in HEADER_PARAMS.items():
        if name in properties and (values := request.headers.getlist(header)):
            if len(values) > 1:
                raise InvalidParams(f"the header {header} is given twice", field=name)
            # Clients write other letters in one encoding or another (RFC 9110, 5.5). Read in the
            # wrong one, a key would not be the same that came through another door.
            if not values[0].isascii():
                raise InvalidParams(
                    f"the header {header} has to be ASCII; give {name} in the body", field=name
                )
            # Instrumented clients send it with everything, and one that cannot be read is to be
            # treated as absent (W3C Trace Context, 3.2.2.3 and 4.3).
            if name == "traceparent" and (name in params or not is_traceparent(values[0])):
                continue
            _merge(params, {name: values[0]})
    return params


def query_of(request: Request, *, repeated: tuple[str, ...] = ()) -> dict[str, str]:
    """
    Read the query, each name once.

    Args:
        request: The request.
        repeated: Names that may come several times, or with several values separated by
            commas; they come back joined by commas.

    Raises:
        InvalidParams: If another name comes twice.
    """
    query: dict[str, str] = {}
    for name, text in request.query_params.multi_items():
        if name in query and name not in repeated:
            raise InvalidParams(f"{name} is given twice", field=name)
        query[name] = f"{query[name]},{text}" if name in query else text
    return query


def bearer(request: Request) -> str | None:
    """
    Take the token of ``Authorization: Bearer`` (RFC 6750, 2.1); None: there is no such header.

    Raises:
        InvalidParams: If the header is of another kind, or comes twice.
    """
    values = request.headers.getlist("authorization")
    if not values:
        return None
    kind, _, token = values[0].partition(" ")
    if len(values) > 1 or kind.lower() != "bearer" or not token.strip():
        raise InvalidParams("the header has to be `Authorization: Bearer TOKEN`, once")
    return token.strip()


async def caller_of(request: Request, access: Access) -> Caller:
    """
    Give the caller of a request, by its token. An open gateway does not look at the header.

    Raises:
        InvalidParams: If the header is of another kind, or comes twice.
        Unauthenticated, TokenExpired, Unavailable: As for ``Access.caller``.
    """
    return await access.caller(None if access.open else bearer(request))


async def body_of(request: Request, *, bytes_max: int) -> bytes:
    """
    Read a request's body. How fast it arrives is for the server to judge.

    Args:
        request: The request.
        bytes_max: How long the body may be, in bytes.

    Raises:
        TooLarge: If the body is longer.
        ClientDisconnect: If the client disconnects before its end.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > bytes_max:
        raise _too_large(int(declared), bytes_max)
    body = bytearray()
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > bytes_max:
            raise _too_large(len(body), bytes_max)
        more = message.get("more_body", False)
    return bytes(body)


def body_size_of(request: Request) -> int:
    """Tell how many bytes of a body a request announces; one that does not say may be long."""
    if "transfer-encoding" in request.headers:
        return BODY_BYTES_MAX
    declared = request.headers.get("content-length", "0")
    return min(int(declared), BODY_BYTES_MAX) if declared.isdigit() else BODY_BYTES_MAX


async def wait_disconnect(receive: Receive) -> None:
    """Wait until the client disconnects; what is left of the body is thrown away."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _merge(params: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if name in params:
            raise InvalidParams(f"{name} is given twice", field=name)
        params[name] = value


async def _object_of(request: Request) -> dict[str, Any]:
    body = await body_of(request, bytes_max=BODY_BYTES_MAX)
    if not body:
        return {}
    _require_json(request)
    try:
        value = parse_json(body, around=PARAMS_LEVELS)
    except BadJson as error:
        raise InvalidParams(f"the body is refused: {error}", code="parse_error") from None
    if not isinstance(value, dict):
        raise InvalidParams("the body has to be a JSON object")
    return value


def _require_no_body(request: Request) -> None:
    length = request.headers.get("content-length", "0")
    if "transfer-encoding" in request.headers or length.strip("0"):
        raise InvalidParams("a GET takes its parameters from the query, and no body")


def _require_json(request: Request) -> None:
    """
    Refuse a body that says it is something else; one that says nothing is taken for JSON.

    Raises:
        UnsupportedMedia: If it is not JSON, not UTF-8, or compressed.
    """
    kind = request.headers.get("content-type", JSON)
    if kind != JSON:
        _require_plain_json(kind.lower())
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("compressed bodies are not read; leave Content-Encoding out")


def _require_plain_json(content_type: str) -> None:
    kind, _, parameters = content_type.partition(";")
    if kind.strip() != JSON:
        raise UnsupportedMedia(
            f"the body has to be {JSON}, this one says {quoted(kind.strip())}; "
            f"send `Content-Type: {JSON}`"
        )
    charset = parameters.replace('"', "").replace(" ", "").partition("charset=")[2]
    if charset.partition(";")[0] not in ("", "utf-8", "utf8"):
        raise UnsupportedMedia("JSON is UTF-8 (RFC 8259, 8.1); leave the charset out")


def _too_large(size: int, bytes_max: int) -> TooLarge:
    return TooLarge(f"the body has at least {size} bytes, at most {bytes_max} are taken")


def _value(text: str, schema: Mapping[str, Any] | None) -> Any:
    """Read a query's text as its schema's type. Other text stays text: the schema refuses it."""
    kind = (schema or {}).get("type")
    if kind == "integer" and _INTEGER.fullmatch(text):
        return int(text)
    if kind == "number" and _NUMBER.fullmatch(text):
        return float(text)
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    return text
