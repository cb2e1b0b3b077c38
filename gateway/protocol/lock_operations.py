"""Operations on locks."""

from __future__ import annotations

from gateway.protocol.shapes import COUNT, NAME, NULLABLE_TEXT, TERM, Operation, Schema, params

__all__ = ["LOCK_OPERATIONS"]

TTL: Schema = {
    "type": "number",
    "minimum": 0.1,
    "maximum": 3600,
    "description": "seconds until it ends unless it is renewed; 60 if left out",
}
LOCK: Schema = {
    "title": "lock",
    "type": "object",
    "properties": {
        "lock_id": NAME,
        "resource_key": NAME,
        "holder": NAME,
        "term": COUNT,
        "state": {"enum": ["held", "released", "expired"]},
        "expires_at": NULLABLE_TEXT,
        "renewed": {"type": "boolean"},
    },
    "required": ["lock_id", "resource_key", "holder", "term", "state", "expires_at", "renewed"],
}

LOCK_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "lock.acquire",
        "POST",
        "/api/locks",
        "agent",
        "Take a lock; the holder that has it already renews it.",
        params(("resource_key", "holder"), resource_key=NAME, holder=NAME, ttl=TTL),
        LOCK,
        errors=("lock_held", "lock_expired", "rate_limited"),
        tool=True,
    ),
    Operation(
        "lock.renew",
        "POST",
        "/api/locks/{lock_id}/renew",
        "agent",
        "Let a lock end later; one that has ended is not revived.",
        params(("lock_id", "holder", "term"), lock_id=NAME, holder=NAME, term=TERM, ttl=TTL),
        LOCK,
        errors=("not_found", "lock_held", "lock_expired"),
        tool=True,
    ),
    Operation(
        "lock.release",
        "DELETE",
        "/api/locks/{lock_id}",
        "agent",
        "Give a lock back; once it was given back, again it does nothing.",
        params(("lock_id", "holder", "term"), lock_id=NAME, holder=NAME, term=TERM),
        LOCK,
        errors=("not_found", "lock_held", "lock_expired"),
        tool=True,
    ),
)
