"""``/asyncapi.json``: AsyncAPI 3.0, what travels over the WebSocket."""

from __future__ import annotations

from typing import Any

import event_schemas
from gateway.protocol.codes import CloseCode
from gateway.protocol.operations import OPERATIONS, SESSION_PARAMS

__all__ = ["asyncapi_document"]

_NOTICES = {
    "heartbeat": "The offset up to which the subscription was told everything, and the server's "
    "time; with `degradation` while the store is away: fields of the `graceful_degradation` that "
    "follows when it is back.",
    "gap": "Events from `from` to `to` are no longer kept; what follows is after them.",
    "drain": "The gateway is about to restart; come back at `reconnect_at`.",
}


def asyncapi_document(server: str) -> dict[str, Any]:
    """
    Describe the WebSocket: events, notices and requests, each a message of one channel.

    Args:
        server: The path that this gateway is mounted at, ``/`` for the root.
    """
    events = {
        name: {"name": name, "payload": {"$ref": f"{server.rstrip('/')}/schemas/{name}.json"}}
        for name in event_schemas.TYPES
    }
    notices = {
        name: {
            "name": name,
            "summary": summary,
            "payload": {
                "type": "object",
                "properties": {
                    "jsonrpc": {"const": "2.0"},
                    "method": {"const": name},
                    "params": {"type": "object"},
                },
            },
        }
        for name, summary in _NOTICES.items()
    }
    operations = {operation.name: operation.params for operation in OPERATIONS.values()}
    methods = {**SESSION_PARAMS, **operations}
    requests = {
        name: {
            "name": name,
            "payload": {
                "type": "object",
                "properties": {
                    "jsonrpc": {"const": "2.0"},
                    "id": {"type": ["string", "integer", "null"]},
                    "method": {"const": name},
                    "params": params,
                },
                "required": ["jsonrpc", "id", "method"],
            },
        }
        for name, params in methods.items()
    }
    messages = {**events, **notices, **requests}
    codes = ", ".join(f"{code.value} {code.name}" for code in CloseCode)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "gateway",
            "version": "1",
            "description": "One JSON object per text frame: with `type` an event, with `jsonrpc` "
            "JSON-RPC 2.0. Subprotocol `agent-events.v1`; the token comes with `connect` or as "
            f"second subprotocol `bearer.TOKEN`. Close codes: {codes}; 4000 to 4499, 1012 and "
            "1013 mean come back.",
        },
        "channels": {
            "ws": {
                "address": f"{server.rstrip('/')}/ws",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            "sent": {
                "action": "send",
                "channel": {"$ref": "#/channels/ws"},
                "messages": [
                    {"$ref": f"#/channels/ws/messages/{name}"} for name in (*events, *notices)
                ],
            },
            "received": {
                "action": "receive",
                "channel": {"$ref": "#/channels/ws"},
                "messages": [{"$ref": f"#/channels/ws/messages/{name}"} for name in requests],
            },
        },
        "components": {"messages": messages},
    }
