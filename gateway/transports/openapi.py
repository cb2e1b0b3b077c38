"""``/openapi.json``: OpenAPI 3.1, made from the table of operations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import event_schemas
from gateway.protocol.operations import HEADER_PARAMS, OPERATIONS, Operation
from gateway.protocol.shapes import POSITION, Schema

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
        "request_id": {"type": "string", "description": "as in X-Request-Id"},
    },
    "required": ["type", "title", "status", "detail", "code"],
}


def openapi_document(server: str, *, open_gateway: bool = False) -> dict[str, Any]:
    """
    Describe every operation, and the other public paths.

    Args:
        server: The path that this gateway is mounted at, ``/`` for the root.
        open_gateway: Whether no token is looked at.
    """
    paths: dict[str, dict[str, Any]] = {}
    for operation, path in _places():
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, path)
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
        "security": [] if open_gateway else [{"bearer": []}],
        "paths": {**paths, **_beside()},
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
            "schemas": {"problem": _PROBLEM, **_publications()},
            "headers": {
                "position": {
                    "description": "EPOCH:OFFSET; the answer is at least as new as this, and "
                    "as min_position it asks for nothing older",
                    "schema": POSITION,
                }
            },
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


def _places() -> Iterator[tuple[Operation, str]]:
    for operation in OPERATIONS.values():
        yield operation, operation.path
        if operation.also_at is not None:
            yield operation, operation.also_at


def _operation(operation: Operation, path: str) -> dict[str, Any]:
    properties = dict(operation.params.get("properties", {}))
    required = set(operation.params.get("required", ()))
    in_path = _IN_PATH.findall(path)
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": properties.pop(name)}
        for name in in_path
    ]
    required -= set(in_path)
    for header, name in HEADER_PARAMS.items():
        if name in properties:
            # Taken elsewhere, too; a secret is better off in no URL and no body that is logged.
            schema = properties.pop(name)
            if name == "traceparent":  # one that cannot be read is passed over
                schema = {"type": "string", "description": schema["description"]}
            parameters.append({"name": header, "in": "header", "required": False, "schema": schema})
    described: dict[str, Any] = {
        "operationId": _id(operation, path),
        "summary": operation.summary,
        "description": f"Needs the scope `{operation.scope}`"
        + (f" or `{operation.or_scope}`." if operation.or_scope else ".")
        + (f" May answer with {', '.join(operation.errors)}." if operation.errors else ""),
        "tags": [operation.name.partition(".")[0]],
    }
    if operation.method in ("GET", "DELETE"):
        parameters += [
            {"name": name, "in": "query", "required": name in required, "schema": schema}
            for name, schema in properties.items()
        ]
    elif properties:
        described["requestBody"] = {
            "required": bool(required or operation.one_of),
            "content": {"application/json": {"schema": _body(operation, properties, required)}},
        }
    if parameters:
        described["parameters"] = parameters
    described["responses"] = _responses(operation)
    return described


def _id(operation: Operation, path: str) -> str:
    """An id is one operation's; a second path to it, to a certain thing, has its own."""
    return operation.name if path == operation.path else f"{operation.name}.certain"


def _body(
    operation: Operation, properties: Mapping[str, Any], required: set[str]
) -> dict[str, Any]:
    body = {**operation.params, "properties": properties, "required": sorted(required)}
    if operation.one_of:
        body["oneOf"] = [{"required": [name]} for name in operation.one_of]
    if operation.events:
        places = {type: f"#/components/schemas/{type}" for type in operation.events}
        body["oneOf"] = [{"$ref": place} for place in places.values()]
        body["discriminator"] = {"propertyName": "type", "mapping": places}
    return body


def _publications() -> dict[str, Any]:
    """Describe what is published, by its type."""
    return {
        type: _publication(type, lease)
        for operation in OPERATIONS.values()
        for type, lease in operation.events.items()
    }


def _publication(type: str, lease: Schema | None) -> dict[str, Any]:
    schema = event_schemas.publication(type)
    if lease is None:
        return schema
    on_task = event_schemas.publication(type, lease=lease)
    on_task["properties"].pop("agent_secret", None)
    both = {name: schema.pop(name) for name in ("title", "description")}
    del on_task["title"]
    on_task["description"] = "on a task of the publisher's own, under its lease"
    return {**both, "anyOf": [schema, on_task]}


def _responses(operation: Operation) -> dict[str, Any]:
    done: dict[str, Any] = {
        "description": "done",
        "headers": {"position": {"$ref": "#/components/headers/position"}},
        "content": {"application/json": {"schema": operation.result}},
    }
    if links := _links(operation):
        done["links"] = links
    responses = {str(operation.status): done}
    kinds = operation.result.get("type", ())
    if "null" in kinds and not isinstance(kinds, str):
        responses["204"] = {
            "description": "done, and there is nothing",
            "headers": {"position": {"$ref": "#/components/headers/position"}},
        }
    return {**responses, "default": {"$ref": "#/components/responses/problem"}}


def _links(operation: Operation) -> dict[str, Any]:
    """What can be done next with a thing that was made or taken: the answer has its id."""
    given = operation.result.get("properties", {}).keys()
    links: dict[str, Any] = {}
    if operation.method != "POST" or _IN_PATH.findall(operation.path):
        return links
    for other, path in _places():
        in_path, known = _IN_PATH.findall(path), other.params["properties"].keys()
        if not in_path or not given >= set(in_path):
            continue
        # The piece in a claim is the newest that is known; the next one has another number.
        named = {name: f"$response.body#/{name}" for name in (given & known) - {"piece"}}
        link: dict[str, Any] = {"operationId": _id(other, path), "parameters": {}}
        for header, name in HEADER_PARAMS.items():
            if name in named:
                link["parameters"][header] = named.pop(name)
        in_body = () if other.method in ("GET", "DELETE") else named.keys() - set(in_path)
        if in_body:
            link["requestBody"] = {name: named.pop(name) for name in sorted(in_body)}
        link["parameters"] |= dict(sorted(named.items()))
        links[link["operationId"]] = link
    return links


def _beside() -> dict[str, Any]:
    """Describe the paths that are no operations: the event stream, health, metrics, schemas."""
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
        "/ready": _open_document(
            "Say whether this node should be asked now; 503 says why not, to operators."
        ),
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "summary": "Tell the metrics, for Prometheus.",
                "description": "Needs the scope `admin`.",
                "responses": {
                    "200": {"description": "done", "content": {"text/plain": {"schema": text}}},
                    "default": {"$ref": "#/components/responses/problem"},
                },
            }
        },
        "/schemas": _open_document("List the types of events with their schemas.", kept=True),
        "/error-codes": _open_document(
            "List the error codes: type, sentence for people, what follows.", kept=True
        ),
    }


def _open_document(summary: str, *, kept: bool = False) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {
            "description": "done",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    }
    if kept:
        responses["304"] = {"description": "If-None-Match has the ETag of what it still is"}
    return {"get": {"summary": summary, "security": [], "responses": responses}}
