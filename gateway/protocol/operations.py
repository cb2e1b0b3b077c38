"""
Every operation, once: name, HTTP method and path, rights, parameters and result.

WebSocket JSON-RPC and HTTP serve the same table; handlers are bound by name in
``execution.handlers``, and a test checks that none is missing. The parameters' schema alone says
what is accepted: an unknown parameter is refused over both.

An HTTP request's parameters come from its path, its query (GET, DELETE) or its JSON body, and
from the headers that ``HEADER_PARAMS`` names.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.protocol.dead_letter_operations import DEAD_LETTER_OPERATIONS
from gateway.protocol.event_operations import EVENT_OPERATIONS
from gateway.protocol.lock_operations import LOCK_OPERATIONS
from gateway.protocol.mode_operations import MODE_OPERATIONS
from gateway.protocol.shapes import COUNT, TOPIC, USER_ID, Operation, Schema, params
from gateway.protocol.stats_operations import STATS_OPERATIONS
from gateway.protocol.task_operations import TASK_OPERATIONS
from gateway.protocol.worker_operations import WORKER_OPERATIONS

__all__ = ["HEADER_PARAMS", "OPERATIONS", "SESSION_PARAMS", "Operation"]

HEADER_PARAMS: Mapping[str, str] = {
    "idempotency-key": "idempotency_key",
    "agent-secret": "agent_secret",
    "traceparent": "traceparent",
}

_ALL = (
    *TASK_OPERATIONS,
    *DEAD_LETTER_OPERATIONS,
    *WORKER_OPERATIONS,
    *LOCK_OPERATIONS,
    *EVENT_OPERATIONS,
    *STATS_OPERATIONS,
    *MODE_OPERATIONS,
)

OPERATIONS: Mapping[str, Operation] = {operation.name: operation for operation in _ALL}

# Parameters of the methods that concern one connection alone; served over WebSocket only.
SESSION_PARAMS: Mapping[str, Schema] = {
    "connect": params(
        (),
        token={"type": "string", "maxLength": 8192},
        user_id=USER_ID,
        client={"type": "string", "maxLength": 256},
    ),
    "subscribe": params(
        ("topics",),
        topics={"type": "array", "items": TOPIC, "minItems": 1, "maxItems": 64},
        since={
            "anyOf": [
                {"type": "null"},
                {"const": "start"},
                {
                    "type": "object",
                    "properties": {
                        "epoch": {"type": "string", "minLength": 1, "maxLength": 64},
                        "offset": COUNT,
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
    "unsubscribe": params(
        ("topics",),
        topics={"type": "array", "items": TOPIC, "minItems": 1, "maxItems": 64},
    ),
    "ping": params(),
}
