"""The parts of operations: each bound at its edge, and the same words as in domain."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from event_schemas import Validator
from gateway.domain.agent import TIMEOUT_MAX_S
from gateway.domain.stream import OFFSET_MAX
from gateway.domain.task import ENDED, LIVE
from gateway.domain.worker import ORDER
from gateway.protocol import shapes
from gateway.protocol.shapes import (
    COUNT,
    CURSOR,
    LEASE_TTL,
    LIMIT,
    NAME,
    POSITION,
    SECONDS,
    STEP,
    STEPS,
    TASK_STATUSES,
    TOPIC,
    WORKER,
    list_of,
    params,
)


def takes(schema: Any, value: object) -> bool:
    return Validator(dict(schema)).is_valid(value)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (NAME, "a"),
        (NAME, "x" * 128),
        (NAME, "A9._~@:-"),
        (COUNT, 0),
        (COUNT, OFFSET_MAX),
        (SECONDS, 0.001),
        (SECONDS, TIMEOUT_MAX_S),
        (POSITION, "7"),
        (POSITION, "e-1:" + "9" * 19),
        (POSITION, "x" * 64 + ":0"),
        (CURSOR, ""),
        (CURSOR, "x" * 256),
        (LIMIT, 1),
        (LIMIT, 500),
        (TOPIC, "*"),
        (TOPIC, "system"),
        (TOPIC, "user:" + "x" * 128),
        (TOPIC, "channel:a:b"),
        (LEASE_TTL, 0.1),
        (LEASE_TTL, 3600),
        (STEP, "x" * 128),
        (STEPS, {str(number): None for number in range(256)}),
    ],
)
def test_a_value_at_its_bound_is_taken(schema: Any, value: object) -> None:
    assert takes(schema, value)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (NAME, ""),
        (NAME, "x" * 129),
        (NAME, "a b"),
        (NAME, "a/b"),
        (NAME, "a\n"),
        (NAME, "ä"),
        (NAME, 7),
        (COUNT, -1),
        (COUNT, OFFSET_MAX + 1),
        (COUNT, True),
        (SECONDS, 0),
        (SECONDS, TIMEOUT_MAX_S + 0.001),
        (POSITION, ""),
        (POSITION, "e-1:"),
        (POSITION, ":7"),
        (POSITION, "9" * 20),
        (POSITION, "x" * 65 + ":0"),
        (POSITION, "7\n"),
        (CURSOR, "x" * 257),
        (LIMIT, 0),
        (LIMIT, 501),
        (TOPIC, "user:"),
        (TOPIC, "user:" + "x" * 257),
        (TOPIC, "worker:1"),
        (TOPIC, "**"),
        (TOPIC, "system\n"),
        (LEASE_TTL, 0.09),
        (LEASE_TTL, 3601),
        (STEP, ""),
        (STEP, "x" * 129),
        (STEPS, {str(number): None for number in range(257)}),
    ],
)
def test_a_value_beyond_its_bound_is_refused(schema: Any, value: object) -> None:
    assert not takes(schema, value)


def test_parameters_are_closed_and_some_are_required() -> None:
    schema = params(("a",), a=COUNT, b=NAME)
    assert takes(schema, {"a": 1})
    assert takes(schema, {"a": 1, "b": "x"})
    assert not takes(schema, {"b": "x"})
    assert not takes(schema, {"a": 1, "c": 1})
    assert takes(params(), {})
    assert not takes(params(), {"a": 1})


def test_a_list_is_a_page_and_the_cursor_of_the_next() -> None:
    schema = list_of(COUNT)
    assert takes(schema, {"items": [], "next": None})
    assert takes(schema, {"items": [1], "next": "7"})
    assert not takes(schema, {"items": ["x"], "next": None})
    assert not takes(schema, {"items": []})


def test_the_words_for_a_status_are_those_of_domain() -> None:
    assert set(TASK_STATUSES) == LIVE | ENDED
    assert WORKER["properties"]["status"]["enum"] == list(ORDER)


SCHEMAS = {
    name: value
    for name, value in vars(shapes).items()
    if name.isupper() and isinstance(value, dict) and ("type" in value or "properties" in value)
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_shape_is_a_schema_that_requires_only_fields_it_has(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
    required = SCHEMAS[name].get("required", [])
    assert set(required) <= set(SCHEMAS[name].get("properties", ()))
