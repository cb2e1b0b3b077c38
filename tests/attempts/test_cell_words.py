"""What crosses the line between two processes is on the other side as it was."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson
import pytest

from gateway.attempts.cell_words import (
    add_piece,
    assignment_of,
    assignment_words,
    error_of,
    error_words,
    judged_of,
    judged_words,
    piece_words,
)
from gateway.attempts.outcome import Judged
from gateway.attempts.pieces import Piece
from gateway.domain import own_failures
from gateway.domain.errors import AttemptOver, InvalidParams, StaleTerm, TooLarge, Unavailable
from gateway.domain.preserved import Kept
from gateway.domain.redaction import Redacted
from tests.attempts.steps import Attempt, assignment


def crossed(words: dict[str, Any]) -> dict[str, Any]:
    """Say it, and hear it."""
    heard: dict[str, Any] = orjson.loads(orjson.dumps(words))
    return heard


def test_an_assignment() -> None:
    whole = assignment(
        input={"question": "why"}, preserved=Kept({"one": [1]}, "text"), traceparent="00-1"
    )
    assert assignment_of(crossed(assignment_words(whole))) == whole


@pytest.mark.parametrize(
    "piece",
    [
        Piece(text="more"),
        Piece(text="anew", replaces=True),
        Piece(text="", replaces=True),
        Piece(step="one", data=None),
        Piece(step="two", data={"a": 1}),
        Piece(progress=0.5),
        Piece(at_step="halfway"),
        Piece(progress=0.0, at_step="begin", plan=("begin", "end")),
        Piece(plan=()),
        Piece(failure=own_failures.background_failure(), detail=Redacted({"text": "why"})),
    ],
)
def test_a_piece(piece: Piece) -> None:
    there = Attempt()
    there.pieces.go_on()
    add_piece(crossed(piece_words(piece)), there.pieces)
    assert there.pieces.take() == piece
    assert there.pieces.take() is None


def test_a_piece_after_the_end_is_refused() -> None:
    there = Attempt()
    there.pieces.close()
    with pytest.raises(AttemptOver):
        add_piece(piece_words(Piece(text="late")), there.pieces)


def test_a_failure() -> None:
    failure = dataclasses.replace(own_failures.timed_out(5, llm_upstream=True), retry_after_s=2.5)
    judged = Judged(failure, "exception", Redacted({"text": "slow", "chain": []}))
    assert judged_of(crossed(judged_words(judged))) == judged


@pytest.mark.parametrize(
    "error",
    [
        StaleTerm("the task is another worker's"),
        TooLarge("too much", field="preserve('a')"),
        InvalidParams("no text", field="text"),
    ],
)
def test_why_a_flush_was_refused(error: Any) -> None:
    there = error_of(crossed(error_words(error)), assignment())
    assert type(there) is type(error)
    assert (str(there), vars(there)) == (str(error), vars(error))


def test_a_flush_that_the_end_has_overtaken() -> None:
    over = AttemptOver("0190-task", 2)
    there = error_of(crossed(error_words(over)), assignment())
    assert isinstance(there, AttemptOver)
    assert str(there) == str(over)


def test_a_refusal_of_another_kind_keeps_its_code_and_its_time() -> None:
    there: Any = error_of(crossed(error_words(Unavailable("away", retry_after=2))), assignment())
    assert (there.code, there.retry_after, str(there)) == ("unavailable", 2, "away")
