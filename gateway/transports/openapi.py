"""``/openapi.json``: OpenAPI 3.1, made from the table of operations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.protocol.operations import HEADER_PARAMS, OPERATIONS, Operation

__all__ = ["openapi_document"]

_IN_PATH = re.compile(r"{([a-z_]+)}")
_PROBLEM: Mapping[str, Any] = {
    "title": "problem",
    "description": "RFC 9457; `code` says exactly which problem it is",
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "field": {"type": "string"},
        "retry_after": {"type": "number", "description": "seconds"},
    },
    "required": ["type", "title", "status", "detail", "code"],
}


def openapi_document(server: str) -> dict[str, Any]:
    """
    Describe every operation, and the other public paths.

    Args:
        server: The path that this gateway is mounted at, ``/`` for the root.
    """
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS.values():
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gateway",
            "version": "1",
            "description": "The same operations are served over WebSocket at /ws as JSON-RPC 2.0, "
            "see /asyncapi.json, and those of callers and workers as MCP tools at /mcp. "
            "Events are described at /schemas.",
        },
        "servers": [{"url": server}],
        "security": [{"bearer": []}],
        "paths": {**paths, **_beside()},
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
            "schemas": {"problem": _PROBLEM},
            "responses": {
                "problem": {
                    "description": "refused; nothing has changed",
                    "content": {
                        "application/problem+json": {
                            "schema": {"$ref": "#/components/schemas/problem"}
                        }
                    },
                }
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    properties = dict(operation.params.get("properties", {}))
    required = set(operation.params.get("required", ()))
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": properties.pop(name)}
        for name in _IN_PATH.findall(operation.path)
    ]
    for header, name in HEADER_PARAMS.items():
        if name in properties:
            parameters.append(
                {"name": header, "in": "header", "required": False, "schema": properties[name]}
            )
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"Needs the scope `{operation.scope}`."
        + (f" May answer with {', '.join(operation.errors)}." if operation.errors else ""),
        "tags": [operation.name.partition(".")[0]],
    }
    if operation.method in ("GET", "DELETE"):
        parameters += [
            {"name": name, "in": "query", "required": name in required, "schema": schema}
            for name, schema in properties.items()
        ]
    elif properties:
        in_path = set(_IN_PATH.findall(operation.path))
        body = {
            **operation.params,
            "properties": properties,
            "required": sorted(required - in_path),
        }
        described["requestBody"] = {
            "required": bool(required - in_path),
            "content": {"application/json": {"schema": body}},
        }
    if parameters:
        described["parameters"] = parameters
    described["responses"] = {
        str(operation.status): {
            "description": "done",
            "content": {"application/json": {"schema": operation.result}},
        },
        "default": {"$ref": "#/components/responses/problem"},
    }
    return described


def _beside() -> dict[str, Any]:
    """Describe the paths that are no operations: the event stream, health and schemas."""
    text = {"type": "string"}
    return {
        "/api/events/stream": {
            "get": {
                "operationId": "event.stream",
                "summary": "Follow topics as server-sent events; the id is EPOCH:OFFSET.",
                "tags": ["event"],
                "parameters": [
                    {"name": "topic", "in": "query", "schema": {"type": "array", "items": text}},
                    {"name": "types", "in": "query", "schema": {"type": "array", "items": text}},
                    {"name": "since", "in": "query", "schema": text},
                    {"name": "snapshot", "in": "query", "schema": {"type": "boolean"}},
                    {"name": "last-event-id", "in": "header", "schema": text},
                ],
                "responses": {
                    "200": {
                        "description": "events, until either side ends it",
                        "content": {"text/event-stream": {"schema": text}},
                    },
                    "default": {"$ref": "#/components/responses/problem"},
                },
            }
        },
        "/health": _open_document("Say that the process is alive."),
        "/ready": _open_document("Say whether this node should be asked now; 503 says why not."),
        "/schemas": _open_document("List the types of events with their schemas."),
    }


def _open_document(summary: str) -> dict[str, Any]:
    return {
        "get": {
            "summary": summary,
            "security": [],
            "responses": {
                "200": {
                    "description": "done",
                    "content": {"application/json": {"schema": {"type": "object"}}},
                }
            },
        }
    }
