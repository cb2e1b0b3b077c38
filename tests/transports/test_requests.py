"""Parameters from a request: each from one place, by the schema's type, up to a bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from gateway.domain.errors import InvalidParams, TooLarge
from gateway.protocol.operations import OPERATIONS
from gateway.transports import requests
from gateway.transports.requests import (
    bearer,
    body_of,
    params_of,
    query_of,
    wait_disconnect,
)

DISCONNECT: Message = {"type": "http.disconnect"}


def request(
    *chunks: bytes,
    query: str = "",
    headers: Sequence[tuple[str, str]] = (),
    path: dict[str, str] | None = None,
    disconnects: bool = False,
) -> Request:
    """A request whose body comes in these chunks."""
    messages: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
    ]
    messages.append(DISCONNECT if disconnects else {"type": "http.request", "body": b""})

    async def receive() -> Message:
        return messages.pop(0)

    raw = [(name.encode(), value.encode()) for name, value in headers]
    scope: dict[str, Any] = {"type": "http", "method": "POST", "headers": raw}
    scope |= {"query_string": query.encode(), "path_params": path or {}}
    return Request(scope, receive)


# --- parameters -----------------------------------------------------------------------------


async def test_path_body_and_header_are_joined() -> None:
    cancel = OPERATIONS["task.cancel"]
    assert await params_of(request(path={"task_id": "t"}), cancel) == {"task_id": "t"}
    create = OPERATIONS["task.create"]
    headers = [("idempotency-key", "k")]
    found = await params_of(request(b'{"agent"', b':"a"}', headers=headers), create)
    assert found == {"agent": "a", "idempotency_key": "k"}


async def test_a_header_that_the_operation_does_not_know_is_no_parameter() -> None:
    listing = OPERATIONS["task.list"]
    assert await params_of(request(headers=[("idempotency-key", "k")]), listing) == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("7", 7), ("-7", -7), ("0", 0), ("007", "007"), ("1.0", "1.0"), ("1e2", "1e2")],
        *[("+7", "+7"), (" 7", " 7"), ("", ""), ("9" * 19, int("9" * 19)), ("9" * 20, "9" * 20)],
    ],
)
async def test_a_query_is_read_as_the_schema_says_and_else_stays_text(
    text: str, value: object
) -> None:
    """The schema then refuses it with the field; int() alone would take ' ٧ ' and '1_0'."""
    query = f"limit={text}".replace("+", "%2B").replace(" ", "%20")
    found = await params_of(request(query=query), OPERATIONS["task.list"])
    assert found == {"limit": value}
    assert type(found["limit"]) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        *[("number", "1.5", 1.5), ("number", "-2e3", -2000.0), ("number", "nan", "nan")],
        *[("number", "inf", "inf"), ("boolean", "true", True), ("boolean", "false", False)],
        *[("boolean", "1", "1"), ("string", "7", "7"), (None, "7", "7")],
    ],
)
def test_other_kinds_are_read_exactly_too(kind: str | None, text: str, value: object) -> None:
    assert requests._value(text, None if kind is None else {"type": kind}) == value


@pytest.mark.parametrize(
    ("given", "name", "field"),
    [
        (request(query="limit=1&limit=2"), "task.list", "limit"),
        (request(query="task_id=t", path={"task_id": "t"}), "task.get", "task_id"),
        (request(b'{"task_id":"t"}', path={"task_id": "t"}), "task.cancel", "task_id"),
        (request(b"{}", query="agent=a"), "task.create", "agent"),
        (
            request(b'{"idempotency_key":"k"}', headers=[("idempotency-key", "k")]),
            "task.create",
            "idempotency_key",
        ),
        (
            request(headers=[("idempotency-key", "a"), ("idempotency-key", "b")]),
            "task.create",
            "idempotency_key",
        ),
        (request(headers=[("agent-secret", "ü")]), "agent.heartbeat", "agent_secret"),
    ],
    ids=[
        *["query twice", "path and query", "path and body", "wrong place", "header", "headers"],
        "header that two readers read as two texts",
    ],
)
async def test_a_parameter_from_two_places_or_the_wrong_one_is_refused(
    given: Request, name: str, field: str
) -> None:
    with pytest.raises(InvalidParams) as refused:
        await params_of(given, OPERATIONS[name])
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "parse_error"),
        (b"\xff", "parse_error"),
        (b'{"a":NaN}', "parse_error"),
        (b"[]", "invalid_params"),
        (b"null", "invalid_params"),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(InvalidParams) as refused:
        await params_of(request(body), OPERATIONS["task.create"])
    assert refused.value.code == code


def test_a_name_that_may_be_repeated_comes_joined() -> None:
    found = query_of(request(query="topic=a,b&topic=c&x=1"), repeated=("topic",))
    assert found == {"topic": "a,b,c", "x": "1"}


# --- the body -------------------------------------------------------------------------------


async def test_a_body_of_the_bound_is_taken_and_one_byte_more_is_not() -> None:
    assert await body_of(request(b"12", b"34"), bytes_max=4) == b"1234"
    with pytest.raises(TooLarge):
        await body_of(request(b"12", b"345"), bytes_max=4)
    with pytest.raises(TooLarge):
        await body_of(request(headers=[("content-length", "5")]), bytes_max=4)
    # A length that is none is the server's to refuse.
    assert await body_of(request(b"1", headers=[("content-length", "x")]), bytes_max=4) == b"1"


async def test_a_client_that_disconnects_ends_its_body() -> None:
    with pytest.raises(ClientDisconnect):
        await body_of(request(b"12", disconnects=True), bytes_max=4)


async def test_a_disconnect_is_waited_for_past_the_body() -> None:
    given = request(b"12", b"34", disconnects=True)
    await wait_disconnect(given.receive)
    with pytest.raises(IndexError):
        await given.receive()


# --- the token ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "token"), [(None, None), ("Bearer x.y.z", "x.y.z"), ("bearer  x ", "x")]
)
def test_a_bearer_token_is_taken_whatever_its_case(value: str | None, token: str | None) -> None:
    """RFC 9110, 11.1: the name of a scheme has no case."""
    headers = [] if value is None else [("authorization", value)]
    assert bearer(request(headers=headers)) == token


@pytest.mark.parametrize("values", [["Basic x"], ["Bearer"], ["Bearer "], ["Bearer a"] * 2, [""]])
def test_an_authorization_of_another_kind_or_twice_is_refused(values: list[str]) -> None:
    with pytest.raises(InvalidParams):
        bearer(request(headers=[("authorization", value) for value in values]))
