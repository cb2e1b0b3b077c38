"""Values as they were given: encoded exactly, or refused by name."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest

from gateway.domain.errors import InvalidParams, TooLarge
from gateway.protocol.strict_json import DEPTH_MAX, parse_json
from gateway.values import measured, offset_of


def nested(depth: int, *, inside: Any = 0) -> Any:
    for _ in range(depth):
        inside = [inside]
    return inside


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**63),
        2**63 - 1,
        "9" * 30,
        -0.5,
        1e308,
        "",
        "\u0000 \u2028 €",
        [],
        {},
        {"": [{"a": None}]},
        (1, 2),
        nested(DEPTH_MAX),
        "[" * (DEPTH_MAX + 1),
    ],
)
def test_a_value_that_json_can_hold_comes_back_as_it_was(value: Any) -> None:
    encoded = measured(value, field="input", bytes_max=10_000)
    assert orjson.loads(encoded) == (list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize(
    ("value", "culprit"),
    [
        (math.nan, "a number that is not finite"),
        ([math.inf], "a number that is not finite"),
        ({"a": -math.inf}, "a number that is not finite"),
        (2**63, "an integer over 64 bits"),
        ({"a": [2**64 - 1]}, "an integer over 64 bits"),
        (2**64, "an integer over 64 bits"),
        (-(2**63) - 1, "an integer over 64 bits"),
        (["\ud800"], "text with lone surrogates"),
        ({"a": {1: 2}}, "an object with a key that is no text"),
        ([{1, 2}], "a value of type set"),
        (b"bytes", "a value of type bytes"),
        ((1, object()), "a value of type object"),
        (CYCLE, "a cycle or too many levels"),
        (nested(10_000), "a cycle or too many levels"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_value_that_json_cannot_hold_is_refused_by_its_kind(value: Any, culprit: str) -> None:
    with pytest.raises(InvalidParams) as refused:
        measured(value, field="result", bytes_max=10_000)
    assert f"result cannot be encoded as JSON: it holds {culprit};" in refused.value.message
    assert refused.value.field == "result"


@pytest.mark.parametrize("value", [-(2**63), 2**63 - 1, 1e300, nested(DEPTH_MAX), "€\u0000"])
def test_a_value_that_is_taken_passes_through_a_frame_as_well(value: Any) -> None:
    """Else an agent's result would be taken in the gateway's process and never from a worker."""
    assert parse_json(measured(value, field="result", bytes_max=10_000)) == value


def test_a_refusal_does_not_repeat_what_the_value_holds() -> None:
    with pytest.raises(InvalidParams) as refused:
        measured({"password": "hunter2", "odd": {1}}, field="input", bytes_max=10_000)
    assert "hunter2" not in refused.value.message
    assert "password" not in refused.value.message


def test_a_value_is_nested_up_to_the_depth_that_a_frame_may_have() -> None:
    measured(nested(DEPTH_MAX), field="input", bytes_max=10_000)
    with pytest.raises(InvalidParams, match=f"deeper than {DEPTH_MAX} levels"):
        measured(nested(DEPTH_MAX + 1), field="input", bytes_max=10_000)


@pytest.mark.parametrize("chars", [7, 8])
def test_a_value_may_have_as_many_bytes_as_the_bound(chars: int) -> None:
    """The two quotes count."""
    assert len(measured("x" * chars, field="input", bytes_max=10)) == chars + 2


def test_a_value_over_the_bound_is_refused_with_both_numbers() -> None:
    with pytest.raises(TooLarge, match="input has 11 bytes, it may have 10") as refused:
        measured("x" * 9, field="input", bytes_max=10)
    assert refused.value.field == "input"


def test_a_character_counts_as_the_bytes_that_it_has() -> None:
    assert len(measured("€", field="input", bytes_max=5)) == 5
    with pytest.raises(TooLarge):
        measured("€€", field="input", bytes_max=7)


@pytest.mark.parametrize(
    ("cursor", "offset"), [(None, None), ("0", 0), ("17", 17), ("9" * 19, 10**19 - 1)]
)
def test_a_cursor_is_an_offset(cursor: str | None, offset: int | None) -> None:
    assert offset_of(cursor, field="after") == offset


@pytest.mark.parametrize("cursor", ["", "-1", "+1", " 1", "1.0", "x", "²", "٣", "1" * 20])
def test_a_cursor_that_no_list_gave_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidParams) as refused:
        offset_of(cursor, field="after")
    assert refused.value.field == "after"
