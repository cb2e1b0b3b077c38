"""The client's errors say what happened, in attributes and in words."""

from __future__ import annotations

from gateway.client.errors import CallFailed, Disconnected, Refused
from gateway.domain.errors import GatewayError, RequestError


def test_a_refusal_for_good_names_its_code_and_reason() -> None:
    refused = Refused(4503, "not permitted")
    assert (refused.code, refused.reason) == (4503, "not permitted")
    assert str(refused) == "refused with 4503: not permitted"
    assert str(Refused(1006, "")) == "refused with 1006: no reason given"


def test_a_failed_call_has_what_the_gateway_said_and_nothing_invented() -> None:
    data = {"code": "invalid_params", "field": "topics", "retry_after": 2.0}
    failed = CallFailed({"code": -32602, "message": "wrong", "data": data})
    assert (failed.number, failed.code, failed.field) == (-32602, "invalid_params", "topics")
    assert (failed.message, failed.retry_after) == ("wrong", 2.0)
    bare = CallFailed({})
    assert (bare.number, bare.field, bare.retry_after, bare.message) == (None, None, None, "")
    assert CallFailed({"data": None}).field is None


def test_a_caller_can_tell_a_refusal_from_a_lost_connection() -> None:
    """A lost call may have been done, a refused one was not."""
    assert issubclass(CallFailed, RequestError)
    assert not issubclass(Disconnected, RequestError)
    assert issubclass(Disconnected, GatewayError)
