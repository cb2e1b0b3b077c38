"""The words of a refusal: which field, which rule, and no more of a value than is needed."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from event_schemas import Violation, example, validator
from event_schemas.violations import END_OF_TEXT, describe

Event = dict[str, Any]


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        (
            "circuit_breaker_triggered",
            {"failure_rate": 1.01},
            Violation("failure_rate", "maximum", "must be at most 1, is 1.01"),
        ),
        (
            "circuit_breaker_triggered",
            {"user_id": "42"},
            Violation("user_id", "const", 'must be "*", is "42"'),
        ),
        (
            "agent_error",
            {"user_id": None},
            Violation("user_id", "type", "must be of type string, is null"),
        ),
        (
            "agent_error",
            {"max_attempts": True},
            Violation("max_attempts", "type", "must be of type integer, is true"),
        ),
        (
            "agent_error",
            {"cause": "x"},
            Violation(
                "cause",
                "enum",
                'must be one of exception, timeout, agent_lost, reported, cancelled, is "x"',
            ),
        ),
        (
            "agent_error",
            {"surprise": 1},
            Violation("surprise", "unevaluatedProperties", "is not a field known here"),
        ),
        (
            "task_progress",
            {"task_id": "a\n"},
            Violation("task_id", "pattern", 'must match ^[A-Za-z0-9._~@:-]{1,128}$, is "a\\n"'),
        ),
        (
            "partial_result",
            {"data": ...},
            Violation("text", "anyOf", "needs text or step and data"),
        ),
        (
            "notification",
            {"recipient_id": None},
            Violation("recipient_id", "anyOf", "needs recipient_id or channel"),
        ),
    ],
)
def test_a_violation_names_field_and_rule(name: str, change: Event, expected: Violation) -> None:
    event = {key: value for key, value in (example(name) | change).items() if value is not ...}
    assert expected in validator(name).violations(event)


def test_a_missing_field_is_named_and_so_is_a_place_inside_a_list() -> None:
    event = example("task_dead_lettered")
    del event["reason"]
    event["errors"][1]["attempt"] = 0
    del event["errors"][2]["message"]
    found = {v.field: v.rule for v in validator("task_dead_lettered").violations(event)}
    assert found == {
        "reason": "required",
        "errors.1.attempt": "minimum",
        "errors.2.message": "required",
    }


def test_there_is_one_violation_per_field_and_no_more_than_asked_for() -> None:
    found = validator("agent_error").violations({})
    assert len(found) == 10
    assert len({violation.field for violation in found}) == 10
    assert len(validator("agent_error").violations({}, limit=3)) == 3


def test_a_long_value_is_not_echoed() -> None:
    for long in ("s" * 5000, "\u2028" * 5000, 10**3000, {"s" * 5000: 1}):
        event = {**example("agent_error"), "cause": long, "n" * 5000: long}
        for violation in validator("agent_error").violations(event):
            assert len(violation.message) < 200
            assert len(violation.field) < 100


def worded(schema: Any, value: object) -> list[Violation]:
    return describe(jsonschema.Draft202012Validator(schema).iter_errors(value))


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        (
            {"type": ["string", "null"]},
            7,
            Violation("", "type", "must be of type string or null, is 7"),
        ),
        ({"type": "object"}, [1], Violation("", "type", "must be of type object, is an array")),
        ({"type": "array"}, {"a": 1}, Violation("", "type", "must be of type array, is an object")),
        (
            {"type": "string"},
            object(),
            Violation("", "type", "must be of type string, is a Python object"),
        ),
        ({"const": None}, "x", Violation("", "const", 'must be null, is "x"')),
        ({"enum": ["a", None]}, "x", Violation("", "enum", 'must be one of a, null, is "x"')),
        ({"minimum": 0}, -1, Violation("", "minimum", "must be at least 0, is -1")),
        ({"maximum": 1}, 2.5, Violation("", "maximum", "must be at most 1, is 2.5")),
        ({"minLength": 1}, "", Violation("", "minLength", 'must not be empty, is ""')),
        (
            {"maxItems": 1},
            [1, 2],
            Violation("", "maxItems", "must have at most 1 items, has 2"),
        ),
        ({"minItems": 1}, [], Violation("", "minItems", "must have at least 1 items, has 0")),
        (
            {"maxProperties": 1},
            {"a": 1, "b": 2},
            Violation("", "maxProperties", "must have at most 1 fields, has 2"),
        ),
        (
            {"maxLength": 3},
            "abcd",
            Violation("", "maxLength", "must have at most 3 characters, has 4"),
        ),
        (
            {"exclusiveMinimum": 0},
            0,
            Violation("", "exclusiveMinimum", "must be more than 0, is 0"),
        ),
        (
            {"pattern": "^a" + END_OF_TEXT},
            "b",
            Violation("", "pattern", 'must match ^a$, is "b"'),
        ),
        (
            {
                "anyOf": [
                    {"const": "start"},
                    {"type": "object", "required": ["epoch", "offset"]},
                    {"type": "null"},
                ]
            },
            "end",
            Violation(
                "", "anyOf", 'must be "start" or an object with epoch and offset or null, is "end"'
            ),
        ),
        (
            {"dependentRequired": {"a": ["b"]}},
            {"a": 1},
            Violation("b", "dependentRequired", "is required together with a"),
        ),
        (
            {"properties": {"a": {"properties": {}, "additionalProperties": False}}},
            {"a": {"b": 1}},
            Violation("a.b", "additionalProperties", "is not a field known here"),
        ),
        (
            {"properties": {"a": {"items": {"required": ["b"]}}}},
            {"a": [{"b": 1}, {}]},
            Violation("a.1.b", "required", "is required"),
        ),
    ],
)
def test_each_rule_has_its_words(schema: Any, value: object, expected: Violation) -> None:
    assert worded(schema, value) == [expected]


def test_of_several_rules_that_a_field_breaks_the_plainest_is_told() -> None:
    schema = {"minLength": 1, "pattern": "^a", "enum": ["a"]}
    assert [found.rule for found in worded(schema, "")] == ["enum"]
    assert [found.rule for found in worded({**schema, "const": "a"}, "")] == ["const"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x" * 40, '"' + "x" * 40 + '"'),
        ("x" * 78, '"' + "x" * 78 + '"'),
        ("x" * 79, "a text of 79 characters"),
        ("\x00" * 40, "a text of 40 characters"),
    ],
)
def test_a_text_is_shown_whole_or_not_at_all(text: str, shown: str) -> None:
    (found,) = worded({"type": "null"}, text)
    assert found.message == f"must be of type null, is {shown}"
