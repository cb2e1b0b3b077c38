"""Operations on dead letters, for operators."""

from __future__ import annotations

from gateway.protocol.shapes import (
    COUNT,
    CURSOR,
    LIMIT,
    NAME,
    NULLABLE_TEXT,
    POSITION,
    SUBMITTED,
    TASK_ID,
    USER_ID,
    Operation,
    Schema,
    list_of,
    params,
)

__all__ = ["DEAD_LETTER_OPERATIONS"]

DEAD_LETTER: Schema = {
    "title": "dead letter",
    "type": "object",
    "properties": {
        "task_id": NAME,
        "agent_name": NULLABLE_TEXT,
        "user_id": {"type": "string"},
        "input": {"description": "as the first attempt was given it"},
        "reason": {
            "type": "string",
            "description": "attempts_exhausted, no_worker, retry_budget, fallback_failed",
        },
        "attempts": COUNT,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "attempt": COUNT,
                    "error_type": {"type": "string"},
                    "error_code": {"type": "string"},
                    "message": {"type": "string"},
                    "at": {"type": "string"},
                },
                "required": ["attempt", "error_type", "error_code", "message"],
            },
        },
        "died_at": {"type": "string"},
        "retried_as": {**NAME, "description": "the new task; absent: it was not retried"},
    },
    "required": [
        "task_id",
        "agent_name",
        "user_id",
        "input",
        "reason",
        "attempts",
        "errors",
        "died_at",
    ],
}

DEAD_LETTER_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "dead_letter.list",
        "GET",
        "/api/dead-letters",
        "admin",
        "List tasks that were given up, newest first; each for seven days unless discarded.",
        params(
            (),
            agent=NAME,
            reason={"type": "string", "minLength": 1, "maxLength": 128},
            user_id=USER_ID,
            cursor=CURSOR,
            limit=LIMIT,
            min_position=POSITION,
        ),
        list_of(DEAD_LETTER),
    ),
    Operation(
        "dead_letter.retry",
        "POST",
        "/api/dead-letters/{task_id}/retry",
        "admin",
        "Make a new task of a dead letter, once; asked again it gives the same task.",
        TASK_ID,
        SUBMITTED,
        errors=("not_found", "conflict", "circuit_breaker_open", "priority_load_shedding"),
        audited=True,
    ),
    Operation(
        "dead_letter.discard",
        "DELETE",
        "/api/dead-letters/{task_id}",
        "admin",
        "Let go of a dead letter; gives it for the last time.",
        TASK_ID,
        DEAD_LETTER,
        errors=("not_found",),
        audited=True,
    ),
)
