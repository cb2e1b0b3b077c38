"""The OpenAPI document says what the table of operations says, operation by operation."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.protocol.operations import HEADER_PARAMS, OPERATIONS, Operation
from gateway.transports.openapi import openapi_document

DOCUMENT = openapi_document("/agents")
ALL = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=list(OPERATIONS))


def described(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][operation.path][operation.method.lower()]
    return found


@ALL
def test_every_parameter_is_described_in_one_place(operation: Operation) -> None:
    """In the path, the query or the body; what a header may carry stands there as well."""
    it = described(operation)
    by_place: dict[str, set[str]] = {}
    for parameter in it.get("parameters", ()):
        by_place.setdefault(parameter["in"], set()).add(parameter["name"])
    body: dict[str, Any] = {}
    if "requestBody" in it:
        body = it["requestBody"]["content"]["application/json"]["schema"]
    in_path = by_place.get("path", set())
    elsewhere = by_place.get("query", set()) | body.get("properties", {}).keys()
    assert in_path.isdisjoint(elsewhere)
    assert in_path | elsewhere == operation.params.get("properties", {}).keys()
    assert in_path == {part[1:-1] for part in operation.path.split("/") if part[:1] == "{"}
    headers = {name for name, param in HEADER_PARAMS.items() if param in elsewhere}
    assert by_place.get("header", set()) == headers


@ALL
def test_what_is_required_is_the_same_as_over_the_websocket(operation: Operation) -> None:
    it = described(operation)
    required = {
        p["name"] for p in it.get("parameters", ()) if p["required"] and p["in"] != "header"
    }
    if "requestBody" in it:
        schema = it["requestBody"]["content"]["application/json"]["schema"]
        required |= set(schema["required"])
        assert it["requestBody"]["required"] is bool(schema["required"])
    assert required == set(operation.params.get("required", ()))


@ALL
def test_results_and_refusals_are_described(operation: Operation) -> None:
    it = described(operation)
    assert it["operationId"] == operation.name
    assert operation.scope in it["description"]
    answers = it["responses"]
    assert set(answers) == {str(operation.status), "default"}
    done = answers[str(operation.status)]["content"]["application/json"]["schema"]
    assert done == operation.result
    assert answers["default"] == {"$ref": "#/components/responses/problem"}


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
    for path in ("/health", "/ready", "/schemas"):
        assert DOCUMENT["paths"][path]["get"]["security"] == []
    assert "security" not in DOCUMENT["paths"]["/api/events/stream"]["get"]
