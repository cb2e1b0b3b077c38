"""
Every operation, once: name, door, rights, parameters and result.

WebSocket JSON-RPC and HTTP serve the same table; handlers are bound by name in
``execution.handlers``, and a test checks that none is missing. The parameters' schema is the
whole truth about what is accepted: unknown parameters are refused through every door.

An HTTP request's parameters come from its path, its query (GET, DELETE) or its JSON body, and
from the headers that ``HEADER_PARAMS`` names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

__all__ = ["HEADER_PARAMS", "OPERATIONS", "Operation"]

Schema = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """
    One operation.

    Attributes:
        name: As in JSON-RPC, ``task.create``.
        method: The HTTP method.
        path: The HTTP path, with ``{parameters}``.
        scope: What the caller needs; see ``domain.access.SCOPES``.
        summary: One sentence for the reference.
        params: JSON Schema of the parameters, an object.
        result: JSON Schema of the result.
        status: The HTTP status of success.
        errors: The text codes it may answer with, beyond invalid_params and not_permitted.
    """

    name: str
    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    scope: str
    summary: str
    params: Schema
    result: Schema
    status: int = 200
    errors: tuple[str, ...] = ()


HEADER_PARAMS: Mapping[str, str] = {"idempotency-key": "idempotency_key"}

# Patterns end with a look-ahead, since `$` would let a newline pass.
_NAME = {"type": "string", "pattern": r"^[A-Za-z0-9._~@:-]{1,128}(?![\s\S])"}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
_SECONDS = {"type": "number", "exclusiveMinimum": 0, "maximum": 86400 * 7}
_NULLABLE_TEXT = {"type": ["string", "null"]}
_POSITION = {"type": "string", "pattern": r"^([^\s:]{1,64}:)?[0-9]{1,19}(?![\s\S])"}
_CURSOR = {"type": "string", "maxLength": 256}
_LIMIT = {"type": "integer", "minimum": 1, "maximum": 500}
_TOPIC = {
    "type": "string",
    "pattern": (
        r"^(\*|system|(user|task|agent|channel|recipient):[A-Za-z0-9._~@:-]{1,128})(?![\s\S])"
    ),
}

TASK_STATUSES = (
    "pending",
    "running",
    "waiting",
    "succeeded",
    "failed",
    "cancelled",
    "dead_lettered",
)


def _params(required: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _list_of(item: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {"items": {"type": "array", "items": item}, "next": _NULLABLE_TEXT},
        "required": ["items", "next"],
    }


TASK: Schema = {
    "title": "task",
    "type": "object",
    "properties": {
        "task_id": _NAME,
        "status": {"enum": list(TASK_STATUSES)},
        "agent_name": _NULLABLE_TEXT,
        "capability": _NULLABLE_TEXT,
        "user_id": {"type": "string"},
        "priority": {"type": "integer", "minimum": 0, "maximum": 10},
        "attempt": _COUNT,
        "max_attempts": _COUNT,
        "progress": {"type": ["number", "null"]},
        "step": _NULLABLE_TEXT,
        "lease": {"type": ["object", "null"]},
        "attempts": {"type": "array", "items": {"type": "object"}},
        "result": {},
        "error": {"type": ["object", "null"]},
        "degraded": {"type": "boolean"},
        "served_by": _NULLABLE_TEXT,
        "correlation_id": _NULLABLE_TEXT,
        "causation_id": _NULLABLE_TEXT,
        "retry_of": _NULLABLE_TEXT,
        "next_attempt_at": _NULLABLE_TEXT,
        "created_at": {"type": "string"},
        "finished_at": _NULLABLE_TEXT,
    },
    "required": ["task_id", "status", "user_id", "priority", "attempt", "max_attempts"],
}
_SUBMITTED: Schema = {
    "type": "object",
    "properties": {
        "task_id": _NAME,
        "status": {"enum": list(TASK_STATUSES)},
        "position": {"type": "object"},
        "retry_of": _NULLABLE_TEXT,
        "warning": {"enum": ["no_worker"]},
    },
    "required": ["task_id", "status", "position"],
}
_PARTIAL: Schema = {
    "type": "object",
    "properties": {
        "task_id": _NAME,
        "preserved_data": {"type": "object"},
        "preserved_text": {"type": "string"},
        "lost_data": {"type": "array", "items": {"type": "string"}},
        "progress": {"type": ["number", "null"]},
        "size": _COUNT,
        "sha256": {"type": "string"},
        "truncated": {"type": "boolean"},
        "evicted": {"type": "array", "items": {"type": "string"}},
        "expires_at": _NULLABLE_TEXT,
    },
    "required": ["task_id", "preserved_data", "preserved_text", "lost_data", "truncated"],
}
_BREAKER: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "scope": {"type": "string"},
        "state": {"enum": ["closed", "open", "half_open"]},
        "opened_at": _NULLABLE_TEXT,
        "probe_at": _NULLABLE_TEXT,
        "version": _COUNT,
        "failure_rate": {"type": "number"},
        "consecutive_failures": _COUNT,
        "outcomes": _COUNT,
        "failures": _COUNT,
        "permits_in_use": _COUNT,
    },
    "required": ["name", "scope", "state", "version"],
}
_EVENT: Schema = {"type": "object", "properties": {"type": {"type": "string"}}}

_TASK_ID = _params(("task_id",), task_id=_NAME)

_TABLE = (
    Operation(
        "task.create",
        "POST",
        "/api/tasks",
        "tasks:write",
        "Ask an agent to do something; what happens to it arrives as events.",
        _params(
            (),
            agent=_NAME,
            capability=_NAME,
            input={"description": "a JSON value, at most 64 KiB; an object becomes keywords"},
            user_id=_NAME,
            priority={"type": "integer", "minimum": 0, "maximum": 10},
            timeout=_SECONDS,
            max_attempts={"type": "integer", "minimum": 1, "maximum": 100},
            correlation_id=_NAME,
            causation_id=_NAME,
            idempotency_key={"type": "string", "minLength": 1, "maxLength": 255},
        ),
        _SUBMITTED,
        status=201,
        errors=("not_found", "too_large", "circuit_breaker_open", "priority_load_shedding"),
    ),
    Operation(
        "task.list",
        "GET",
        "/api/tasks",
        "events:read",
        "List tasks, newest first.",
        _params(
            (),
            status={"enum": list(TASK_STATUSES)},
            agent=_NAME,
            user_id=_NAME,
            cursor=_CURSOR,
            limit=_LIMIT,
            min_position=_POSITION,
        ),
        _list_of(TASK),
    ),
    Operation(
        "task.get",
        "GET",
        "/api/tasks/{task_id}",
        "events:read",
        "Show one task with its attempts.",
        _params(("task_id",), task_id=_NAME, min_position=_POSITION),
        TASK,
        errors=("not_found",),
    ),
    Operation(
        "task.partial",
        "GET",
        "/api/tasks/{task_id}/partial",
        "events:read",
        "Show what is preserved of a task's work.",
        _params(("task_id",), task_id=_NAME, min_position=_POSITION),
        _PARTIAL,
        errors=("not_found",),
    ),
    Operation(
        "task.cancel",
        "POST",
        "/api/tasks/{task_id}/cancel",
        "tasks:write",
        "End a task now; what it has done so far stays preserved.",
        _TASK_ID,
        TASK,
        errors=("not_found", "conflict"),
    ),
    Operation(
        "task.retry",
        "POST",
        "/api/tasks/{task_id}/retry",
        "tasks:write",
        "Try now: ends a backoff, or makes a new task of one that did not succeed.",
        _TASK_ID,
        _SUBMITTED,
        errors=("not_found", "conflict", "circuit_breaker_open"),
    ),
    Operation(
        "breaker.list",
        "GET",
        "/api/breakers",
        "admin",
        "List the circuit breakers with their counts.",
        _params((), cursor=_CURSOR, limit=_LIMIT),
        _list_of(_BREAKER),
    ),
    Operation(
        "event.publish",
        "POST",
        "/api/events",
        "events:read",
        "Publish a notification, or report on an agent's own work.",
        {
            "type": "object",
            "properties": {"type": {"type": "string", "maxLength": 64}},
            "required": ["type"],
        },
        {
            "type": "object",
            "properties": {
                "event_id": {"type": "string"},
                "position": {"type": "object"},
                "error_id": _NULLABLE_TEXT,
            },
            "required": ["event_id", "position"],
        },
        status=201,
        errors=("invalid_event", "not_found", "stale_term", "too_large"),
    ),
    Operation(
        "event.list",
        "GET",
        "/api/events",
        "events:read",
        "Read events that are still kept, in order.",
        _params(
            (),
            topic=_TOPIC,
            type={"type": "string", "maxLength": 64},
            recipient_id=_NAME,
            channel=_NAME,
            parent_event_id=_NAME,
            since=_POSITION,
            cursor=_CURSOR,
            limit=_LIMIT,
        ),
        _list_of(_EVENT),
        errors=("not_permitted",),
    ),
)

OPERATIONS: Mapping[str, Operation] = {operation.name: operation for operation in _TABLE}

# What concerns one connection alone; served over WebSocket only.
SESSION_PARAMS: Mapping[str, Schema] = {
    "connect": _params(
        (),
        token={"type": "string", "maxLength": 8192},
        user_id=_NAME,
        client={"type": "string", "maxLength": 256},
    ),
    "subscribe": _params(
        ("topics",),
        topics={"type": "array", "items": _TOPIC, "minItems": 1, "maxItems": 64},
        since={
            "anyOf": [
                {"type": "null"},
                {"const": "start"},
                {
                    "type": "object",
                    "properties": {
                        "epoch": {"type": "string", "minLength": 1, "maxLength": 64},
                        "offset": _COUNT,
                    },
                    "required": ["epoch", "offset"],
                    "additionalProperties": False,
                },
            ]
        },
        snapshot={"type": "boolean"},
        types={
            "type": "array",
            "items": {"type": "string", "maxLength": 64},
            "minItems": 1,
            "maxItems": 64,
        },
    ),
    "unsubscribe": _params(
        ("topics",),
        topics={"type": "array", "items": _TOPIC, "minItems": 1, "maxItems": 64},
    ),
    "ping": _params(),
}
