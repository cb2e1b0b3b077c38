"""The OpenAPI document says what the table of operations says, operation by operation."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.protocol.operations import HEADER_PARAMS, OPERATIONS, Operation
from gateway.transports.openapi import openapi_document

DOCUMENT = openapi_document("/agents")
PLACES = [
    pytest.param(operation, path, id=f"{name} {path}")
    for name, operation in OPERATIONS.items()
    for path in filter(None, (operation.path, operation.also_at))
]
ALL = pytest.mark.parametrize(("operation", "path"), PLACES)


def described(operation: Operation, path: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][path][operation.method.lower()]
    return found


@ALL
def test_every_parameter_is_described_in_one_place(operation: Operation, path: str) -> None:
    """In the path, the query or the body; what a header may carry stands there alone."""
    it = described(operation, path)
    by_place: dict[str, set[str]] = {}
    for parameter in it.get("parameters", ()):
        by_place.setdefault(parameter["in"], set()).add(parameter["name"])
    body: dict[str, Any] = {}
    if "requestBody" in it:
        body = it["requestBody"]["content"]["application/json"]["schema"]
    in_path = by_place.get("path", set())
    elsewhere = by_place.get("query", set()) | body.get("properties", {}).keys()
    headers = by_place.get("header", set())
    in_headers = {HEADER_PARAMS[name] for name in headers}
    assert len(in_path) + len(elsewhere) + len(in_headers) == len(in_path | elsewhere | in_headers)
    assert in_path | elsewhere | in_headers == operation.params.get("properties", {}).keys()
    assert in_path == {part[1:-1] for part in path.split("/") if part[:1] == "{"}
    taken = operation.params.get("properties", {})
    assert headers == {name for name, param in HEADER_PARAMS.items() if param in taken}


@ALL
def test_what_is_required_is_the_same_as_over_the_websocket(
    operation: Operation, path: str
) -> None:
    it = described(operation, path)
    required = {
        p["name"] for p in it.get("parameters", ()) if p["required"] and p["in"] != "header"
    }
    if "requestBody" in it:
        schema = it["requestBody"]["content"]["application/json"]["schema"]
        required |= set(schema["required"])
        assert it["requestBody"]["required"] is bool(schema["required"] or operation.one_of)
        one_of = [each["required"] for each in schema.get("oneOf", ()) if "required" in each]
        assert one_of == [[name] for name in operation.one_of]
    in_path = {part[1:-1] for part in path.split("/") if part[:1] == "{"}
    assert required == set(operation.params.get("required", ())) | in_path


@ALL
def test_results_and_refusals_are_described(operation: Operation, path: str) -> None:
    it = described(operation, path)
    assert it["operationId"].startswith(operation.name)
    assert operation.scope in it["description"]
    answers = it["responses"]
    nothing = {"204"} if "null" in operation.result.get("type", ()) else set()
    assert set(answers) == {str(operation.status), "default"} | nothing
    done = answers[str(operation.status)]["content"]["application/json"]["schema"]
    assert done == operation.result
    assert answers["default"] == {"$ref": "#/components/responses/problem"}


def test_an_event_is_described_by_its_type() -> None:
    (publish,) = (operation for operation in OPERATIONS.values() if operation.events)
    it = described(publish, publish.path)
    schema = it["requestBody"]["content"]["application/json"]["schema"]
    places = {type: f"#/components/schemas/{type}" for type in publish.events}
    assert schema["oneOf"] == [{"$ref": place} for place in places.values()]
    assert schema["discriminator"] == {"propertyName": "type", "mapping": places}
    for type, lease in publish.events.items():
        found = DOCUMENT["components"]["schemas"][type]
        forms = found.get("anyOf", [found]) if lease else [found]
        assert [form["properties"]["type"]["const"] for form in forms] == [type] * len(forms)
        assert len(forms) == (1 if lease is None else 2)
        # A secret is better off in a header, where it stands alone.
        assert not any("agent_secret" in form["properties"] for form in forms)


def test_each_place_has_an_id_of_its_own() -> None:
    ids = [described(*place.values)["operationId"] for place in PLACES]  # type: ignore[arg-type]
    assert len(set(ids)) == len(ids)


def test_what_is_made_leads_to_what_can_be_done_with_it() -> None:
    def links(operation: str) -> dict[str, Any]:
        responses = described(OPERATIONS[operation], OPERATIONS[operation].path)["responses"]
        found: dict[str, Any] = responses[str(OPERATIONS[operation].status)].get("links", {})
        return found

    assert links("task.create")["task.claim.certain"]["parameters"] == {
        "task_id": "$response.body#/task_id"
    }
    assert links("task.claim")["task.update"]["requestBody"] == {
        "agent_id": "$response.body#/agent_id",
        "term": "$response.body#/term",
    }
    assert links("agent.register")["agent.remove"]["parameters"] == {
        "agent_id": "$response.body#/agent_id",
        "agent-secret": "$response.body#/agent_secret",
    }
    assert links("lock.acquire")["lock.release"]["parameters"] == {
        name: f"$response.body#/{name}" for name in ("lock_id", "holder", "term")
    }
    assert links("task.get") == {}


def test_every_reference_leads_somewhere() -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, list):
            return [found for each in value for found in references(each)]
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [found for each in value.values() for found in references(each)]
        return []

    for reference in set(references(DOCUMENT)):
        if reference.startswith("#/components/"):
            at: Any = DOCUMENT
            for part in reference.removeprefix("#/").split("/"):
                at = at[part]


def test_the_document_names_its_server_and_what_is_open_to_every_caller() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["servers"] == [{"url": "/agents"}]
    assert DOCUMENT["security"] == [{"bearer": []}]
    for path in ("/health", "/ready", "/schemas", "/error-codes"):
        assert DOCUMENT["paths"][path]["get"]["security"] == []
    assert "security" not in DOCUMENT["paths"]["/api/events/stream"]["get"]
