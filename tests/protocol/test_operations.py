"""The table of operations: one name and one place for each, and nothing that it cannot say."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

import event_schemas
from event_schemas import Validator
from gateway import protocol
from gateway.domain import errors
from gateway.domain.access import SCOPES
from gateway.protocol.operations import HEADER_PARAMS, OPERATIONS, SESSION_PARAMS, Operation

EVERY = [pytest.param(operation, id=name) for name, operation in OPERATIONS.items()]


def paths(operation: Operation) -> Iterator[str]:
    yield operation.path
    if operation.also_at is not None:
        yield operation.also_at


def parts() -> Iterator[Operation]:
    """Give the rows of every module of operations."""
    for module in pkgutil.iter_modules(protocol.__path__):
        if module.name.endswith("_operations"):
            part = importlib.import_module(f"{protocol.__name__}.{module.name}")
            yield from getattr(part, module.name.upper())


def test_the_table_has_every_row_of_its_parts_and_no_name_stands_twice() -> None:
    names = [operation.name for operation in parts()]
    assert sorted(OPERATIONS) == sorted(names)
    assert [*OPERATIONS] == [operation.name for operation in OPERATIONS.values()]
    assert not OPERATIONS.keys() & SESSION_PARAMS.keys()


def test_no_two_operations_have_the_same_place() -> None:
    places = [(each.method, path) for each in OPERATIONS.values() for path in paths(each)]
    shapes = [(method, re.sub(r"{\w+}", "{}", path)) for method, path in places]
    assert len(set(shapes)) == len(shapes)


@pytest.mark.parametrize("operation", EVERY)
def test_an_operation_is_named_after_what_it_is_about(operation: Operation) -> None:
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+|impact", operation.name)
    assert operation.path.startswith("/api/")
    assert operation.summary.endswith(".")
    assert operation.scope in SCOPES


@pytest.mark.parametrize("operation", EVERY)
def test_the_parameters_of_a_path_are_parameters_of_the_operation(operation: Operation) -> None:
    in_path = re.findall(r"{(\w+)}", operation.path)
    assert set(in_path) <= set(operation.params["required"])
    for path in paths(operation):
        assert set(re.findall(r"{(\w+)}", path)) <= set(operation.params["properties"])


@pytest.mark.parametrize("operation", EVERY)
def test_parameters_and_results_are_schemas(operation: Operation) -> None:
    for schema in (operation.params, operation.result):
        jsonschema.Draft202012Validator.check_schema(schema)
        assert set(schema.get("required", ())) <= set(schema.get("properties", ()))


@pytest.mark.parametrize("operation", EVERY)
def test_an_unknown_parameter_is_refused(operation: Operation) -> None:
    """Of an event the schema of its type decides, after its type is known."""
    closed = operation.params.get("additionalProperties") is False
    assert closed == (operation.name != "event.publish")


# Codes of a refusal that has no class of its own: `Conflict` is given them.
GIVEN = {
    "idempotency_key_reused",
    "lock_expired",
    "queue_share",
    "task_claimed",
    "thread_full",
}


def text_codes() -> set[str]:
    rejections = event_schemas.document("request_rejected")["properties"]["reason"]["enum"]
    kinds = [getattr(errors, name) for name in errors.__all__]
    refusals = [kind.code for kind in kinds if issubclass(kind, errors.RequestError)]
    return {*rejections, *refusals, *GIVEN}


@pytest.mark.parametrize("operation", EVERY)
def test_the_errors_of_an_operation_are_known_codes(operation: Operation) -> None:
    assert set(operation.errors) <= text_codes()
    assert len(set(operation.errors)) == len(operation.errors)


@pytest.mark.parametrize("operation", EVERY)
def test_a_right_to_read_changes_nothing(operation: Operation) -> None:
    if operation.scope == "events:read":
        assert operation.method == "GET"
    if operation.method == "GET":
        assert operation.scope in {"events:read", "events:read:all", "admin"}
        assert not operation.waits
    assert operation.status == 200 or (operation.status, operation.method) == (201, "POST")


def test_a_header_stands_for_a_parameter_that_some_operation_has() -> None:
    for header, name in HEADER_PARAMS.items():
        assert header == header.lower()
        assert any(name in each.params["properties"] for each in OPERATIONS.values())


# --- one connection alone --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("connect", {}),
        ("connect", {"user_id": "42", "client": "page", "token": "x" * 8192}),
        ("subscribe", {"topics": ["user:42"]}),
        ("subscribe", {"topics": ["*"] * 64, "since": None, "snapshot": True}),
        ("subscribe", {"topics": ["*"], "since": "start", "types": ["agent_error"]}),
        ("subscribe", {"topics": ["*"], "since": {"epoch": "e", "offset": 2**63 - 1}}),
        ("unsubscribe", {"topics": ["user:42"]}),
        ("ping", {}),
    ],
)
def test_parameters_of_a_session_are_taken(method: str, given: dict[str, Any]) -> None:
    assert Validator(dict(SESSION_PARAMS[method])).violations(given) == []


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("connect", {"token": "x" * 8193}),
        ("connect", {"user_id": ""}),
        ("connect", {"name": "page"}),
        ("subscribe", {}),
        ("subscribe", {"topics": []}),
        ("subscribe", {"topics": ["*"] * 65}),
        ("subscribe", {"topics": ["everything"]}),
        ("subscribe", {"topics": ["*"], "since": "end"}),
        ("subscribe", {"topics": ["*"], "since": {"epoch": "e"}}),
        ("subscribe", {"topics": ["*"], "since": {"epoch": "", "offset": 0}}),
        ("subscribe", {"topics": ["*"], "since": {"epoch": "e", "offset": -1}}),
        ("subscribe", {"topics": ["*"], "types": []}),
        ("unsubscribe", {}),
        ("ping", {"now": 1}),
    ],
)
def test_other_parameters_of_a_session_are_refused(method: str, given: dict[str, Any]) -> None:
    assert not Validator(dict(SESSION_PARAMS[method])).is_valid(given)
