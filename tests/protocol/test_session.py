"""The conversation of one connection, without a wire: what is admitted, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import Rejected
from gateway.protocol.codes import CloseCode
from gateway.protocol.session import (
    MALFORMED_IN_A_ROW_MAX,
    Phase,
    Refusal,
    Request,
    Session,
    notice,
    refusal_of,
    reply,
    request_of,
    unreadable,
)
from gateway.protocol.strict_json import BadJson

METHODS = frozenset({"connect", "ping"})
PING = '{"jsonrpc":"2.0","id":1,"method":"ping"}'


def ready() -> Session:
    return Session(METHODS, phase=Phase.READY)


def test_a_request_comes_out_as_it_was_said() -> None:
    frame = '{"jsonrpc":"2.0","id":"a","method":"ping","params":{"x":[1]},"more":0}'
    assert ready().receive(frame) == Request("a", "ping", {"x": [1]})
    assert ready().receive(PING) == Request(1, "ping", {})


@pytest.mark.parametrize(
    ("frame", "code", "field", "id"),
    [
        (b"{}", "invalid_request", None, None),
        ("", "parse_error", None, None),
        ('{"id":1,"id":2}', "parse_error", None, None),
        ("7", "invalid_request", None, None),
        (f"[{PING}]", "invalid_request", None, None),
        ('{"jsonrpc":"2.0","method":"ping"}', "invalid_request", "id", None),
        ('{"jsonrpc":"2.0","id":true,"method":"ping"}', "invalid_request", "id", None),
        ('{"jsonrpc":"2.0","id":1.5,"method":"ping"}', "invalid_request", "id", None),
        ('{"jsonrpc":"2.0","id":[1],"method":"ping"}', "invalid_request", "id", None),
        ('{"jsonrpc":"1.0","id":7,"method":"ping"}', "invalid_request", "jsonrpc", 7),
        ('{"id":"a","method":"ping"}', "invalid_request", "jsonrpc", "a"),
        ('{"jsonrpc":"2.0","id":7}', "invalid_request", "method", 7),
        ('{"jsonrpc":"2.0","id":7,"method":["ping"]}', "invalid_request", "method", 7),
        ('{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}', "invalid_params", "params", 7),
        ('{"jsonrpc":"2.0","id":7,"method":"fly"}', "method_not_found", "method", 7),
    ],
)
def test_a_frame_that_is_no_request_is_refused_with_the_field_at_fault(
    frame: str | bytes, code: str, field: str | None, id: object
) -> None:
    refused = ready().receive(frame)
    assert isinstance(refused, Refusal)
    assert (refused.data["code"], refused.data.get("field"), refused.id) == (code, field, id)
    assert refused.close is None
    assert refused.as_dict()["error"]["data"] == refused.data


@pytest.mark.parametrize("id", ["null", '""', "0", "-1", '"a"'])
def test_an_id_may_be_text_an_integer_or_null(id: str) -> None:
    request = ready().receive(f'{{"jsonrpc":"2.0","id":{id},"method":"ping"}}')
    assert isinstance(request, Request)


def test_before_connect_only_connect_is_admitted() -> None:
    session = Session(METHODS)
    for method in ("ping", "fly"):
        refused = session.receive(f'{{"jsonrpc":"2.0","id":1,"method":"{method}"}}')
        assert isinstance(refused, Refusal)
        assert refused.data["code"] == "unauthenticated"
    admitted = session.receive('{"jsonrpc":"2.0","id":1,"method":"connect"}')
    assert isinstance(admitted, Request)
    session.phase = Phase.READY
    assert isinstance(session.receive(PING), Request)


def test_malformed_frames_count_in_a_row_only() -> None:
    session = ready()
    for _ in range(3):
        for _ in range(MALFORMED_IN_A_ROW_MAX - 1):
            refused = session.receive("{")
            assert isinstance(refused, Refusal)
            assert refused.close is None
        session.receive(PING)
    for number in range(1, MALFORMED_IN_A_ROW_MAX + 1):
        refused = session.receive(b"")
        assert isinstance(refused, Refusal)
        last = number == MALFORMED_IN_A_ROW_MAX
        assert refused.close == (CloseCode.bad_request if last else None)


def test_a_well_formed_request_that_is_refused_is_not_malformed() -> None:
    session = ready()
    for _ in range(MALFORMED_IN_A_ROW_MAX * 2):
        refused = session.receive('{"jsonrpc":"2.0","id":1,"method":"fly"}')
        assert isinstance(refused, Refusal)
        assert refused.close is None


def test_a_value_that_is_already_read_is_a_request_or_refused() -> None:
    """For doors that read JSON themselves."""
    value = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert request_of(value) == Request(1, "ping", {})
    for wrong in ([value], 7, {**value, "id": []}, {**value, "method": None}):
        refused = request_of(wrong)
        assert isinstance(refused, Refusal)
        assert (refused.code, refused.data["code"]) == (-32600, "invalid_request")
    told = unreadable(BadJson("not UTF-8"))
    assert (told.code, told.message, told.data) == (-32700, "not UTF-8", {"code": "parse_error"})


def test_what_we_say_is_json_rpc() -> None:
    assert reply(None, []) == {"jsonrpc": "2.0", "id": None, "result": []}
    assert notice("gap", {"from": 1}) == {
        "jsonrpc": "2.0",
        "method": "gap",
        "params": {"from": 1},
    }
    error = Rejected("shed", code="read_only", retry_after=1.23456)
    assert refusal_of(error, 7).as_dict() == {
        "jsonrpc": "2.0",
        "id": 7,
        "error": {
            "code": -32010,
            "message": "shed",
            "data": {"code": "read_only", "retry_after": 1.235},
        },
    }


@given(st.one_of(st.text(), st.binary(), st.from_regex(r'\{"jsonrpc":"2.0",.*\}')))
def test_no_frame_breaks_the_session(frame: Any) -> None:
    found = ready().receive(frame)
    assert isinstance(found, Request | Refusal)


@pytest.mark.parametrize("code", list(CloseCode))
def test_reasons_fit_into_a_close_frame(code: CloseCode) -> None:
    """125 bytes of payload, two of them the code (RFC 6455, 5.5)."""
    assert len(code.name.encode()) <= 123
