"""The tree of errors: complete, drawn as it is, and exact in what it tells."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TypeVar

import pytest

from gateway import errors as public
from gateway.domain import agent_failures, errors
from gateway.domain.errors import (
    AttemptOver,
    Conflict,
    ExpectationFailed,
    GatewayError,
    InvalidParams,
    LockHeld,
    LogError,
    NotFound,
    NotPermitted,
    RateLimitedRequest,
    Rejected,
    RequestError,
    StaleTerm,
    StoreUnavailable,
    TaskFailed,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from tests.domain.secret_samples import KEYS

E = TypeVar("E", bound=GatewayError)


def below(root: type[E]) -> Iterator[type[E]]:
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from below(kind)


TREE: list[type[GatewayError]] = [GatewayError, *below(GatewayError)]


@pytest.mark.parametrize("kind", TREE)
def test_every_error_is_exported_and_drawn(kind: type[GatewayError]) -> None:
    assert kind.__name__ in errors.__all__
    assert kind.__name__ in (inspect.getdoc(errors) or "")


def test_the_public_names_are_those_of_the_tree() -> None:
    for name in public.__all__:
        room = agent_failures if name in agent_failures.__all__ else errors
        assert getattr(public, name) is getattr(room, name)
    assert set(agent_failures.__all__) <= set(public.__all__)


# --- answered to callers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "code", "http_status", "jsonrpc_code"),
    [
        (RequestError, "internal_error", 500, -32603),
        (InvalidParams, "invalid_params", 400, -32602),
        (errors.InvalidEvent, "invalid_event", 400, -32602),
        (TooLarge, "too_large", 413, -32008),
        (Unauthenticated, "unauthenticated", 401, -32003),
        (NotPermitted, "not_permitted", 403, -32002),
        (NotFound, "not_found", 404, -32001),
        (Conflict, "conflict", 409, -32004),
        (StaleTerm, "stale_term", 409, -32005),
        (Rejected, "rejected", 503, -32010),
        (RateLimitedRequest, "rate_limited", 429, -32011),
        (errors.TooManyWorkers, "too_many_workers", 429, -32011),
        (errors.TooManyConnections, "too_many_connections", 429, -32011),
        (Unavailable, "unavailable", 503, -32012),
    ],
)
def test_a_refusal_has_one_code_in_words_and_one_for_each_door(
    kind: type[RequestError], code: str, http_status: int, jsonrpc_code: int
) -> None:
    """Clients go by these: they never change."""
    refusal = kind("why")
    assert (refusal.code, refusal.http_status, refusal.jsonrpc_code) == (
        code,
        http_status,
        jsonrpc_code,
    )
    assert refusal.data() == {"code": code}


def test_no_two_refusals_have_the_same_code() -> None:
    codes = [kind.code for kind in below(RequestError)]
    assert len(set(codes)) == len(codes)


def test_a_refusal_tells_the_field_and_when_to_come_back_where_they_are_known() -> None:
    refusal = Rejected("shed", code="read_only", field="agent", retry_after=1.23456)
    assert refusal.data() == {"code": "read_only", "field": "agent", "retry_after": 1.235}
    assert (str(refusal), refusal.message) == ("shed", "shed")
    assert Rejected.code == "rejected"
    assert Unavailable("later", retry_after=0.0).data()["retry_after"] == 0.0


def test_a_refusal_repeats_no_secret() -> None:
    """It goes into logs, and into what operators see of a report that was refused."""
    key = KEYS["github"]
    refusal = InvalidParams(f"there is no agent {key}", field=f"input.{key}")
    assert refusal.message == str(refusal) == "there is no agent [redacted:api-key]"
    assert refusal.data() == {"code": "invalid_params", "field": "input.[redacted:api-key]"}
    held = LockHeld("taken by ann@example.org", holder="ann@example.org", retry_after=None)
    assert held.message == "taken by [redacted:e-mail]"
    assert held.data()["holder"] == "ann@example.org"  # a name that a caller gave is its own


def test_an_older_term_is_a_conflict() -> None:
    assert issubclass(StaleTerm, Conflict)


def test_a_lock_that_is_held_names_its_holder_and_when_to_come_back() -> None:
    held = LockHeld("taken", holder="w1", retry_after=2.0)
    assert (held.code, held.http_status, held.jsonrpc_code) == ("lock_held", 409, -32006)
    assert held.data() == {
        "code": "lock_held",
        "field": "resource_key",
        "retry_after": 2.0,
        "holder": "w1",
    }
    assert LockHeld("taken", holder="w1", retry_after=None, field="term").field == "term"


# --- answered by the log ---------------------------------------------------------------------


def test_a_writer_that_came_second_reads_both_offsets() -> None:
    late = ExpectationFailed("task/t1", expected=3, actual=5)
    assert isinstance(late, LogError)
    assert (late.subject, late.expected, late.actual) == ("task/t1", 3, 5)
    assert str(late) == "subject task/t1: expected last offset 3, it is 5"


def test_a_store_that_is_away_is_not_in_doubt_unless_it_says_so() -> None:
    away = StoreUnavailable("no answer")
    assert (away.retry_after, away.in_doubt) == (1.0, False)
    assert StoreUnavailable("no answer", in_doubt=True).in_doubt


# --- about tasks -----------------------------------------------------------------------------


def test_a_task_that_failed_names_its_last_error() -> None:
    failed = TaskFailed("t1", "failed", {"error_code": "llm_timeout"})
    assert str(failed) == "task t1 failed: llm_timeout"
    assert str(TaskFailed("t1", "cancelled", None)) == "task t1 cancelled"


def test_code_that_runs_on_is_told_which_attempt_is_over() -> None:
    over = AttemptOver("t1", 2)
    assert (over.task_id, over.attempt) == ("t1", 2)
    assert str(over) == "task t1: attempt 2 is over, stop working on it"
