"""Operations on events, and on breakers, which only operators may list, open and close."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.protocol.shapes import (
    BREAKER,
    CURSOR,
    EVENT,
    LEASE,
    LEASE_NEEDS,
    LIMIT,
    NAME,
    NULLABLE_TEXT,
    POSITION,
    PROOF,
    TOPIC,
    USER_ID,
    Operation,
    Schema,
    list_of,
    params,
)
from gateway.protocol.worker_operations import WORKER_OPERATIONS

__all__ = ["EVENT_OPERATIONS"]

_BY_NAME = {operation.name: operation.params["properties"] for operation in WORKER_OPERATIONS}
# What a worker publishes about its own task is taken as its operations are. The number of a piece
# is the event's; the gateway counts those itself.
_FAIL, _UPDATE = _BY_NAME["task.fail"], _BY_NAME["task.update"]
_PIECE = {name: _UPDATE[name] for name in _UPDATE if name != "piece"}
_PIECE["text"] = {**_UPDATE["text"], "minLength": 1}
PUBLISHED: Mapping[str, Schema | None] = {
    "notification": None,
    "agent_error": params(LEASE_NEEDS, **_FAIL),
    "partial_result": params(LEASE_NEEDS, **_PIECE),
    "partial_result_preserved": None,
    "recovery_attempt": None,
    "resource_cleanup": params(LEASE_NEEDS, **LEASE),
    "system_recovered": None,
}
# A position, or the word that `subscribe` and the stream take as well.
SINCE: Schema = {
    "type": "string",
    "pattern": r"^(start|([^\s:]{1,64}:)?[0-9]{1,19})(?![\s\S])",
    "description": "the position, EPOCH:OFFSET or OFFSET, after which to begin; start, and without "
    "it: at the first event that is still kept",
}
_REPORTS = ", ".join(sorted(PUBLISHED.keys() - {"notification"}))

# Which fields there are, and what they may be, the schema of the type says: it alone judges them,
# so that a failure report that does not comply can be told of in its place.
EVENT_TO_PUBLISH: Schema = {
    "type": "object",
    "properties": {
        "type": {
            "description": "notification, which needs subject, payload, and recipient_id or "
            "channel; or a report, which needs user_id and agent_name, or task_id, agent_id, "
            f"agent_secret and term: {_REPORTS}. The schema of "
            "each is served at /schemas/TYPE.json",
            "type": "string",
            "maxLength": 64,
        },
        "recipient_id": {"description": "of a notification: the user or worker (its agent_id)"},
        "channel": {"description": "of a notification: everyone who follows that channel"},
        "subject": {"description": "of a notification: what it is about, a text"},
        "payload": {"description": "of a notification: a JSON value"},
        "parent_event_id": {"description": "of a notification: the one that it answers"},
        "user_id": {"description": "the user that it concerns"},
        "agent_name": {"description": "of a report: the agent that it is about"},
        "error_type": {"description": "of agent_error: the class of the failure"},
        "error_code": {"description": "of agent_error: the exact kind of the failure"},
        "error_id": {"description": "of system_recovered: the failure that has ended"},
        "task_id": {"description": "of a report on a task: the task that the worker holds"},
        "agent_id": {"description": "of a report on a task: the worker"},
        "agent_secret": PROOF["agent_secret"],
        "term": {"description": "of a report on a task: the term of its lease"},
        "user_message": {"description": "of a report on no task: a sentence for people"},
        "detail": {"description": "of agent_error on no task: what operators alone are to see"},
        "idempotency_key": {
            "description": "the same event under the same key is published once, for as long as "
            "the log keeps it; a report on a task goes by its term instead",
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
        },
    },
    "required": ["type"],
}

SCOPE: Schema = {
    "description": "what the name is of; without it a domain's, where no breaker has it",
    "enum": ["agent", "upstream", "domain"],
}

EVENT_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "breaker.list",
        "GET",
        "/api/breakers",
        "admin",
        "List the circuit breakers with their counts, and after them the failure domains.",
        params((), cursor=CURSOR, limit=LIMIT, min_position=POSITION),
        list_of(BREAKER),
    ),
    Operation(
        "breaker.open",
        "POST",
        "/api/breakers/{name}/open",
        "admin",
        "Open a breaker: no calls for a cooldown, then probes, as if its agent had failed; or slow "
        "a failure domain down.",
        params(("name",), name=NAME, scope=SCOPE),
        BREAKER,
        errors=("not_found",),
        audited=True,
    ),
    Operation(
        "breaker.close",
        "POST",
        "/api/breakers/{name}/close",
        "admin",
        "Close a breaker: its agent is called again at once, also if its upstream has asked not to "
        "be (Retry-After); or let a failure domain go.",
        params(("name",), name=NAME, scope=SCOPE),
        BREAKER,
        errors=("not_found",),
        audited=True,
    ),
    Operation(
        "event.publish",
        "POST",
        "/api/events",
        "events:write",
        "Publish a notification, or report on an agent's own work.",
        EVENT_TO_PUBLISH,
        {
            "type": "object",
            "properties": {
                "event_id": {"type": "string"},
                "position": {"type": "object"},
                "error_id": NULLABLE_TEXT,
            },
            "required": ["event_id", "position"],
        },
        status=201,
        errors=(
            *("invalid_event", "name_taken", "not_found", "rate_limited", "stale_term"),
            *("thread_full", "too_large"),
        ),
        tool=True,
        events=PUBLISHED,
    ),
    Operation(
        "event.list",
        "GET",
        "/api/events",
        "events:read",
        "Read events that are still kept, in order.",
        params(
            (),
            topic=TOPIC,
            type={"type": "string", "maxLength": 64},
            recipient_id=USER_ID,
            channel=NAME,
            parent_event_id=NAME,
            since=SINCE,
            cursor=CURSOR,
            limit=LIMIT,
            min_position=POSITION,
        ),
        list_of(EVENT),
        errors=("not_permitted",),
        tool=True,
    ),
)
