"""
Shapes: the parts that operations are described with, JSON Schemas of parameters and results.

A schema of parameters decides what is accepted; a schema of a result describes it for the
reference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from gateway.domain import names

Schema = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """
    One operation.

    Attributes:
        name: As in JSON-RPC, ``task.create``.
        method: The HTTP method.
        path: The HTTP path, with ``{parameters}``.
        scope: The scope that the caller needs; see ``domain.access.SCOPES``.
        or_scope: A scope that does as well; None: there is none.
        summary: One sentence for the reference.
        params: JSON Schema of the parameters, an object.
        result: JSON Schema of the result.
        status: The HTTP status of success.
        also_at: A second path to the same operation; None: there is none.
        errors: The text codes that it may answer with, beyond invalid_params and not_permitted.
        one_of: Parameters of which exactly one has to be there; its handler refuses others.
        waits: Whether it may wait for long. It is then ended and undone when its caller
            disconnects.
        tool: Whether it is also an MCP tool, of the same name.
        audited: Whether it is recorded for operators that it was carried out, and by whom.
        events: The types of events that its parameters may be, as ``type`` says; the rest of
            each stands in ``event_schemas``. With each the parameters of a report on the caller's
            own task; None: it is on no task. Empty: the parameters are no event.
    """

    name: str
    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    scope: str
    summary: str
    params: Schema
    result: Schema
    status: int = 200
    or_scope: str | None = None
    also_at: str | None = None
    errors: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    waits: bool = False
    tool: bool = False
    audited: bool = False
    events: Mapping[str, Schema | None] = dataclasses.field(default_factory=dict)


# Patterns end with a look-ahead, since Python's `$` also matches before a final newline.
NAME = {"type": "string", "pattern": names.NAME}
USER_ID = {"type": "string", "pattern": names.USER_ID}
COUNT = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
TERM = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
SECONDS = {"type": "number", "exclusiveMinimum": 0, "maximum": 86400 * 7}
TRACEPARENT = {
    "type": "string",
    "pattern": names.TRACEPARENT,
    "description": "the caller's span (W3C Trace Context); every event of the task carries it",
}
NULLABLE_TEXT = {"type": ["string", "null"]}
POSITION = {"type": "string", "pattern": r"^([^\s:]{1,64}:)?[0-9]{1,19}(?![\s\S])"}
CURSOR = {"type": "string", "maxLength": 256}
LIMIT = {"type": "integer", "minimum": 1, "maximum": 500}
TOPIC = {"type": "string", "pattern": names.TOPIC}

TASK_STATUSES = (
    "pending",
    "running",
    "waiting",
    "succeeded",
    "failed",
    "cancelled",
    "dead_lettered",
)
WORKER_STATUSES = ("healthy", "suspect", "unhealthy", "quarantined", "offline")
BREAKER_STATES = ("closed", "open", "half_open")


def params(required: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """Make the schema of an operation's parameters; all others are refused."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def list_of(item: Schema) -> Schema:
    """Make the schema of one page of a list; ``next`` is the cursor of the page after it."""
    return {
        "type": "object",
        "properties": {"items": {"type": "array", "items": item}, "next": NULLABLE_TEXT},
        "required": ["items", "next"],
    }


TASK: Schema = {
    "title": "task",
    "type": "object",
    "properties": {
        "task_id": NAME,
        "status": {"enum": list(TASK_STATUSES)},
        "agent_name": NULLABLE_TEXT,
        "capability": NULLABLE_TEXT,
        "title": NULLABLE_TEXT,
        "user_id": {"type": "string"},
        "priority": {"type": "integer", "minimum": 0, "maximum": 10},
        "attempt": COUNT,
        "max_attempts": COUNT,
        "progress": {"type": ["number", "null"]},
        "step": NULLABLE_TEXT,
        "waiting_for": {
            "description": "why it does not move, as `task_waiting` has told it",
            "type": ["object", "null"],
            "properties": {"waits_for": {"type": "string"}, "name": NAME, "until": NULLABLE_TEXT},
            "required": ["waits_for", "name", "until"],
        },
        "lease": {"type": ["object", "null"]},
        "attempts": {"type": "array", "items": {"type": "object"}},
        "result": {},
        "error": {"type": ["object", "null"]},
        "degraded": {"type": "boolean"},
        "served_by": NULLABLE_TEXT,
        "correlation_id": NULLABLE_TEXT,
        "causation_id": NULLABLE_TEXT,
        "retry_of": NULLABLE_TEXT,
        "next_attempt_at": NULLABLE_TEXT,
        "created_at": {"type": "string"},
        "finished_at": NULLABLE_TEXT,
    },
    "required": ["task_id", "status", "user_id", "priority", "attempt", "max_attempts"],
}
TASK_WHOLE: Schema = {
    **TASK,
    "title": "task with input",
    "properties": {
        **TASK["properties"],
        "input": {},
        "preserved": {
            "description": "what an attempt to come goes on from",
            "type": "object",
            "properties": {"text": {"type": "string"}, "steps": {"type": "object"}},
            "required": ["text", "steps"],
        },
    },
}
SUBMITTED: Schema = {
    "type": "object",
    "properties": {
        "task_id": NAME,
        "status": {"enum": list(TASK_STATUSES)},
        "position": {"type": "object"},
        "retry_of": NULLABLE_TEXT,
        "warning": {"enum": ["no_worker"]},
        "similar": {
            "description": "names of agents that are served, where this one is not",
            "type": "array",
            "items": NAME,
        },
    },
    "required": ["task_id", "status", "position"],
}
PARTIAL: Schema = {
    "type": "object",
    "properties": {
        "task_id": NAME,
        "preserved_data": {"type": "object"},
        "preserved_text": {"type": "string"},
        "lost_data": {"type": "array", "items": {"type": "string"}},
        "progress": {"type": ["number", "null"]},
        "size": COUNT,
        "sha256": {"type": "string"},
        "truncated": {"type": "boolean"},
        "evicted": {"type": "array", "items": {"type": "string"}},
        "expires_at": NULLABLE_TEXT,
    },
    "required": ["task_id", "preserved_data", "preserved_text", "lost_data", "truncated"],
}
BREAKER: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "scope": {"enum": ["agent", "upstream", "domain"]},
        "state": {"enum": list(BREAKER_STATES)},
        "opened_at": NULLABLE_TEXT,
        "probe_at": NULLABLE_TEXT,
        "version": COUNT,
        "failure_rate": {"type": "number"},
        "consecutive_failures": COUNT,
        "outcomes": COUNT,
        "failures": COUNT,
        "permits_in_use": COUNT,
        "estimated_recovery_time": {
            "type": ["number", "null"],
            "minimum": 0,
            "description": "seconds until a probe may close it; null: it is not open",
        },
    },
    "required": ["name", "scope", "state", "version"],
}
RECOVERY_TIMES: Schema = {
    "type": "object",
    "description": "by agent and error type: the median of the last recoveries in seconds, and of "
    "how many; from three on it is what `estimated_recovery_time` says",
    "additionalProperties": {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "properties": {"median": {"type": "number", "minimum": 0}, "count": COUNT},
            "required": ["median", "count"],
        },
    },
}
EVENT: Schema = {"type": "object", "properties": {"type": {"type": "string"}}}

TASK_ID = params(("task_id",), task_id=NAME)

# A worker names itself and proves that it is the one that registered.
PROOF: Schema = {"agent_id": NAME, "agent_secret": {"type": "string", "maxLength": 256}}
# One that a caller chooses itself has to be hard to guess.
NEW_SECRET: Schema = {"type": "string", "minLength": 16, "maxLength": 256}
LEASE: Schema = {"task_id": NAME, **PROOF, "term": TERM}
LEASE_NEEDS = ("task_id", "agent_id", "term")
LEASE_TTL = {"type": "number", "minimum": 0.1, "maximum": 3600}
STEP = {"type": "string", "minLength": 1, "maxLength": 128}
STEPS = {"type": "object", "maxProperties": 256}
RENEWED: Schema = {
    "type": "object",
    "properties": {"task_id": NAME, "term": COUNT, "lease_expires_at": NULLABLE_TEXT},
    "required": ["task_id", "term", "lease_expires_at"],
}
AGENT_ITEM: Schema = {
    "type": "object",
    "properties": {
        "name": NAME,
        "timeout": SECONDS,
        "max_attempts": {"type": "integer", "minimum": 1, "maximum": 100},
        "fallback": {"type": "boolean"},
        "features": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": 128},
            "maxItems": 64,
        },
        "upstream": {**NAME, "type": ["string", "null"]},
        "breaker": {**NAME, "type": ["string", "null"]},
    },
    "required": ["name"],
    "additionalProperties": False,
}
WORKER: Schema = {
    "title": "worker",
    "type": "object",
    "properties": {
        "agent_id": NAME,
        "handle": NAME,
        "type": NULLABLE_TEXT,
        "agents": {"type": "array", "items": NAME},
        "capabilities": {"type": "array", "items": NAME},
        "domain": NULLABLE_TEXT,
        "status": {"enum": list(WORKER_STATUSES)},
        "reason": {
            "description": "why its status is so, as its last change of status has told it",
            "type": "string",
        },
        "health_score": {"type": "number"},
        "tasks": {"type": "array", "items": NAME},
        "recovery_times": RECOVERY_TIMES,
        "registered_at": {"type": "string"},
        "last_heartbeat": NULLABLE_TEXT,
    },
    "required": ["agent_id", "handle", "status"],
}
CLAIM: Schema = {
    "title": "claim",
    "type": ["object", "null"],
    "properties": {
        "task_id": NAME,
        "agent_id": NAME,
        "agent_name": NAME,
        "user_id": {"type": "string"},
        "term": COUNT,
        "attempt": COUNT,
        "max_attempts": COUNT,
        "mode": {"enum": ["primary", "fallback"]},
        "state": {"enum": ["active"]},
        "limit": {"type": "number", "description": "seconds that the attempt has"},
        "lease_expires_at": {"type": "string"},
        "input": {},
        "preserved": {"type": "object", "description": "steps by name, and text"},
        "lock": {
            "description": "held with the task, and until it leaves its holder",
            "type": ["object", "null"],
            "properties": {"lock_id": NAME, "resource_key": NAME, "term": COUNT},
            "required": ["lock_id", "resource_key", "term"],
        },
        "piece": {**COUNT, "description": "the newest piece of task.update that is known"},
        "alone": {
            "description": "processes ended under it again and again: do nothing else meanwhile",
            "type": "boolean",
        },
        "traceparent": {**NULLABLE_TEXT, "description": "the caller's span (W3C Trace Context)"},
    },
}
