"""
The words between an attempt's own process, its cell, and the process that asked for it.

One message is one line of JSON. The rule: what one side has made is on the other side as it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gateway.attempts.assignment import Assignment
from gateway.attempts.outcome import Judged
from gateway.attempts.pieces import Piece, Pieces
from gateway.domain.errors import AttemptOver, InvalidParams, RequestError, StaleTerm, TooLarge
from gateway.domain.failure import Failure
from gateway.domain.preserved import Kept
from gateway.domain.redaction import Redacted

__all__ = [
    "add_piece",
    "assignment_of",
    "assignment_words",
    "error_of",
    "error_words",
    "judged_of",
    "judged_words",
    "piece_words",
]

Words = dict[str, Any]

# What a flush may be refused with, besides what its code alone tells.
REFUSALS: Mapping[str, type[RequestError]] = {
    kind.code: kind for kind in (InvalidParams, StaleTerm, TooLarge)
}


def assignment_words(assignment: Assignment) -> Words:
    """Put an assignment into words."""
    fields = dataclasses.fields(assignment)
    words = {field.name: getattr(assignment, field.name) for field in fields}
    kept = assignment.preserved
    return {**words, "preserved": {"steps": dict(kept.steps), "text": kept.text}}


def assignment_of(words: Words) -> Assignment:
    """Give the assignment of these words."""
    return Assignment(**{**words, "preserved": Kept(**words["preserved"])})


def piece_words(piece: Piece) -> Words:
    """Put a piece into words; what it does not tell is left out."""
    words: Words = {}
    if piece.text is not None:
        words["text"] = piece.text
    if piece.replaces:
        words["replaces"] = True
    if piece.step is not None:
        words |= {"step": piece.step, "data": piece.data}
    if piece.progress is not None or piece.at_step is not None:
        words |= {"progress": piece.progress, "at_step": piece.at_step}
    if piece.plan is not None:
        words["plan"] = piece.plan
    if piece.failure is not None:
        words |= {"failure": _failure_words(piece.failure), "detail": piece.detail or {}}
    return words


def add_piece(words: Words, pieces: Pieces) -> None:
    """
    Add a piece to those of an attempt.

    Raises:
        AttemptOver: If the attempt has ended.
    """
    if words.get("replaces"):
        pieces.restart_text(words.get("text", ""))
    elif "text" in words:
        pieces.add_text(words["text"])
    if "step" in words:
        pieces.add_step(words["step"], words["data"])
    if "plan" in words:
        pieces.set_plan(tuple(words["plan"]))
    if "at_step" in words:
        pieces.set_progress(words["progress"], words["at_step"])
    if "failure" in words:
        pieces.add_failure(Failure(**words["failure"]), Redacted(words["detail"]))


def judged_words(judged: Judged) -> Words:
    """Put a failure into words."""
    failure = _failure_words(judged.failure)
    return {"failure": failure, "cause": judged.cause, "detail": judged.detail}


def judged_of(words: Words) -> Judged:
    """Give the failure of these words."""
    return Judged(Failure(**words["failure"]), words["cause"], Redacted(words["detail"]))


def error_words(error: Exception) -> Words:
    """Put into words why something could not be told."""
    if isinstance(error, RequestError):
        return {"message": error.message, **error.data()}
    code = "attempt_over" if isinstance(error, AttemptOver) else RequestError.code
    return {"message": str(error), "code": code}


def error_of(words: Words, assignment: Assignment) -> Exception:
    """Give the exception of these words."""
    code, message, more = words["code"], words["message"], words
    if code == "attempt_over":
        return AttemptOver(assignment.task_id, assignment.attempt)
    kind = REFUSALS.get(code, RequestError)
    field, retry_after = more.get("field"), more.get("retry_after")
    return kind(message, code=code, field=field, retry_after=retry_after)


def _failure_words(failure: Failure) -> Words:
    fields = dataclasses.fields(failure)
    words = {field.name: getattr(failure, field.name) for field in fields}
    return {**words, "facts": dict(failure.facts)}
