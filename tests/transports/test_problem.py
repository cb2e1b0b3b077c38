"""Problems (RFC 9457): members, headers, and waits in whole seconds."""

from __future__ import annotations

import orjson
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.domain.errors import (
    InvalidParams,
    Rejected,
    RequestError,
    StoreUnavailable,
    TooLarge,
    Unauthenticated,
)
from gateway.transports.access import TokenExpired
from gateway.transports.problem import http_problem, problem, problem_of


def body(answer: Response) -> dict[str, object]:
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, object] = orjson.loads(answer.body)
    return found


def test_a_problem_has_the_members_of_the_standard_and_only_what_is_known() -> None:
    answer = problem(409, "conflict", "it has ended")
    assert answer.status_code == 409
    assert body(answer) == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "it has ended",
        "code": "conflict",
    }
    more = problem(400, "invalid_params", "wrong", field="x", headers={"allow": "GET"})
    assert (body(more)["field"], more.headers["allow"]) == ("x", "GET")


@pytest.mark.parametrize(
    ("wait_s", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.001, "2"), (29.3, "30")]
)
def test_a_wait_is_exact_in_the_body_and_rounded_up_in_the_header(
    wait_s: float, header: str
) -> None:
    """RFC 9110, 10.2.3 knows whole seconds only; an earlier retry would be refused again."""
    answer = problem(503, "unavailable", "away", retry_after=wait_s)
    assert body(answer)["retry_after"] == wait_s
    assert answer.headers["retry-after"] == header


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidParams("wrong", field="x"), 400),
        (TooLarge("long"), 413),
        (Rejected("open", code="circuit_breaker_open", retry_after=3.0), 503),
    ],
)
def test_an_error_keeps_its_status_code_and_field(error: RequestError, status: int) -> None:
    told = body(answer := problem_of(error))
    assert (answer.status_code, told["code"]) == (status, error.code)
    assert (told["detail"], told.get("field")) == (error.message, error.field)
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("error", [Unauthenticated("no token"), TokenExpired("over")])
def test_a_missing_token_is_answered_with_a_challenge(error: RequestError) -> None:
    """RFC 9110, 11.6.1: a 401 has to name what would be accepted."""
    answer = problem_of(error)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_a_store_that_is_away_is_unavailable_and_worth_a_retry() -> None:
    answer = problem_of(StoreUnavailable("nats://10.0.0.1:4222 refused"))
    assert answer.status_code == 503
    assert body(answer)["code"] == "unavailable"
    assert "10.0.0.1" not in str(body(answer))
    assert "retry-after" in answer.headers


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "not_found"), (405, "method_not_allowed"), (413, "too_large"), (418, "http_error")],
)
async def test_refusals_of_the_framework_are_problems_too(status: int, code: str) -> None:
    error = HTTPException(status, "said so", headers={"allow": "GET"})
    answer = await http_problem(Request({"type": "http"}), error)
    told = body(answer)
    assert (answer.status_code, told["code"], told["detail"]) == (status, code, "said so")
    assert answer.headers["allow"] == ("GET, OPTIONS" if status == 405 else "GET")
