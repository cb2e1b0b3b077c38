"""Bad input: each operation refuses it the same way by every door, with the field, and lives on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from gateway.protocol.operations import OPERATIONS, SESSION_PARAMS, Operation
from tests.transports.http_client import ask
from tests.transports.world import SECRET, connected, token, world

ALL = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=list(OPERATIONS))
# What stands for a value of the right form.
GOOD = {"string": "x1", "integer": 1, "number": 1.0, "array": [], "object": {}, "boolean": True}
# In each schema none of these types is allowed for a property that is text, a number, …
WRONG: Mapping[str, list[Any]] = {
    "string": [7, [], {}, True],
    "integer": ["7", 1.5, [], True],
    "number": ["7", [], True],
    "array": ["x", {}, 7],
    "object": ["x", [], 7],
    "boolean": ["true", 1],
}


def kind_of(schema: Mapping[str, Any]) -> str | None:
    """The one type of a property; None: it may be several, or anything."""
    kind = schema.get("type")
    return kind if isinstance(kind, str) else None


def filled(operation: Operation) -> dict[str, Any]:
    """The required parameters, each of the right form."""
    properties = operation.params["properties"]
    required = operation.params.get("required", ())
    return {name: GOOD[kind_of(properties[name]) or "string"] for name in required}


def bad(operation: Operation) -> Iterator[tuple[dict[str, Any], str]]:
    """Parameters that are refused, and the field that the refusal has to name."""
    good = filled(operation)
    if operation.params.get("additionalProperties") is False:
        yield {**good, "zzz": 1}, "zzz"
    for name in good:
        yield {key: value for key, value in good.items() if key != name}, name
    for name, schema in operation.params["properties"].items():
        for value in WRONG.get(kind_of(schema) or "", ()):
            yield {**good, name: value}, name
        if kind_of(schema) == "string":
            yield {**good, name: "x" * 40_000}, name


@ALL
async def test_every_operation_refuses_what_it_does_not_take_by_each_door(
    operation: Operation,
) -> None:
    in_path = set(re.findall(r"{(\w+)}", operation.path))
    texts = {n for n, s in operation.params["properties"].items() if kind_of(s) == "string"}
    async with world() as here, connected(here) as client:
        for params, field in bad(operation):
            if operation.name == "event.publish" and field != "type":
                continue
            if len(str(params.get(field))) > 30_000 and _allows(operation, field, 40_000):
                continue
            reply = await client.ask(operation.name, **params)
            error = reply["error"]
            data = error["data"]
            assert (error["code"], data["code"]) == (-32602, "invalid_params"), (params, error)
            assert (data["field"], isinstance(error["code"], int)) == (field, True), (field, error)
            assert field in error["message"]
            if operation.method == "GET" or not in_path <= params.keys() or field in in_path:
                continue
            if operation.method == "DELETE" and field not in texts:
                continue
            path = operation.path
            for name in in_path:
                path = path.replace(f"{{{name}}}", params[name])
            body = {name: value for name, value in params.items() if name not in in_path}
            answer = await ask(here, operation.method, path, body=body)
            assert (answer.status, answer.json["code"]) == (400, "invalid_params"), params
            assert answer.json["field"] == field
        assert (await client.result("ping")) is not None


def _allows(operation: Operation, name: str, length: int) -> bool:
    schema = operation.params["properties"][name]
    return "pattern" not in schema and schema.get("maxLength", length) >= length


@ALL
async def test_what_is_not_there_is_not_found_and_not_a_failure(operation: Operation) -> None:
    """Whatever the ids; and the answers are the same over a WebSocket and over HTTP."""
    in_path = re.findall(r"{(\w+)}", operation.path)
    if not in_path or operation.name == "impact":
        return
    params: dict[str, Any] = {"resource_key": "r", **filled(operation)}
    params = {n: v for n, v in params.items() if n in operation.params["properties"]}
    async with world() as here, connected(here) as client:
        error = (await client.ask(operation.name, **params))["error"]
        assert (error["code"], error["data"]["code"]) == (-32001, "not_found")
        path = operation.path
        for name in in_path:
            path = path.replace(f"{{{name}}}", params[name])
        query = operation.method in ("GET", "DELETE")
        rest = {n: v for n, v in params.items() if n not in in_path}
        if query and rest:
            path += "?" + "&".join(f"{name}={value}" for name, value in rest.items())
        body = None if query else rest
        answer = await ask(here, operation.method, path, body=body)
        assert (answer.status, answer.json["code"]) == (404, "not_found")
        assert answer.json.get("field") == error["data"].get("field")


@ALL
async def test_without_the_right_nothing_is_done_by_any_door(operation: Operation) -> None:
    """A token without the scope: told so, whatever else is right about the request."""
    none = token("ann", "events:write" if operation.scope == "events:read" else "events:read")
    params = {**filled(operation)}
    async with world(secret=SECRET) as here, connected(here, token=none) as client:
        error = (await client.ask(operation.name, **params))["error"]
        assert (error["code"], error["data"]["code"]) == (-32002, "not_permitted")
        assert operation.scope in error["message"]
        assert here.engine.log.head == 0


@pytest.mark.parametrize("name", sorted(SESSION_PARAMS))
async def test_the_connections_own_methods_name_the_field_too(name: str) -> None:
    async with world() as here, connected(here) as client:
        error = (await client.ask(name, zzz=1))["error"]
        assert (error["code"], error["data"]["code"]) == (-32602, "invalid_params")
        missing = sorted(SESSION_PARAMS[name].get("required", ()))
        assert error["data"]["field"] in ["zzz", *missing]


@pytest.mark.parametrize(
    ("frame", "code", "text", "field"),
    [
        ('{"jsonrpc":"2.0","id":1,"method":"ping"', -32700, "parse_error", None),
        ('{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', -32700, "parse_error", None),
        (
            '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}',
            -32700,
            "parse_error",
            None,
        ),
        ('[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600, "invalid_request", None),
        ("[]", -32600, "invalid_request", None),
        ('"ping"', -32600, "invalid_request", None),
        ('{"jsonrpc":"2.0","method":"ping"}', -32600, "invalid_request", "id"),
        ('{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600, "invalid_request", "jsonrpc"),
        ('{"jsonrpc":"2.0","id":1,"method":7}', -32600, "invalid_request", "method"),
        ('{"jsonrpc":"2.0","id":1,"method":"nothing"}', -32601, "method_not_found", "method"),
        (
            '{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}',
            -32602,
            "invalid_params",
            "params",
        ),
    ],
)
async def test_every_error_of_json_rpc_has_an_integer_a_message_and_data(
    frame: str, code: int, text: str, field: str | None
) -> None:
    async with world() as here, connected(here) as client:
        await client.send(frame)
        reply = await client.next()
        assert reply.keys() == {"jsonrpc", "id", "error"}
        error = reply["error"]
        assert (error["code"], error["data"]["code"]) == (code, text)
        assert error["data"].get("field") == field
        assert len(error["message"]) > 10
        assert (await client.result("ping")) is not None
