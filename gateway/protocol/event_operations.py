"""Operations on events, and on breakers, which only operators may list."""

from __future__ import annotations

from gateway.protocol.shapes import (
    BREAKER,
    CURSOR,
    EVENT,
    LIMIT,
    NAME,
    NULLABLE_TEXT,
    POSITION,
    PROOF,
    TOPIC,
    USER_ID,
    Operation,
    list_of,
    params,
)

__all__ = ["EVENT_OPERATIONS"]

EVENT_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "breaker.list",
        "GET",
        "/api/breakers",
        "admin",
        "List the circuit breakers with their counts.",
        params((), cursor=CURSOR, limit=LIMIT, min_position=POSITION),
        list_of(BREAKER),
    ),
    Operation(
        "event.publish",
        "POST",
        "/api/events",
        "events:write",
        "Publish a notification, or report on an agent's own work.",
        {
            "type": "object",
            # What else an event has stands in its schema.
            "properties": {
                "type": {"type": "string", "maxLength": 64},
                "agent_secret": PROOF["agent_secret"],
            },
            "required": ["type"],
        },
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
        errors=("invalid_event", "not_found", "stale_term", "thread_full", "too_large"),
        tool=True,
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
            since=POSITION,
            cursor=CURSOR,
            limit=LIMIT,
            min_position=POSITION,
        ),
        list_of(EVENT),
        errors=("not_permitted",),
        tool=True,
    ),
)
