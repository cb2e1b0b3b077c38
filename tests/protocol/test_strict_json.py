"""JSON without its loopholes."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.strict_json import (
    CONTAINERS_MAX,
    DEPTH_MAX,
    NAMES_MAX,
    QUICK_BYTES,
    VALUES_MAX,
    BadJson,
    deeper_than,
    parse_json,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_any_json_value_comes_through(value: Any) -> None:
    text = json.dumps(value)
    assert parse_json(text) == value
    assert parse_json(text.encode()) == value
    # And the store can encode it again.
    orjson.dumps(parse_json(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nul",
        "NaN",
        "-Infinity",
        "1e999",
        str(2**63),
        str(-(2**63) - 1),
        "1" * 5000,
        '"\\ud800"',
        '{"a":"\\udc00"}',
        '{"a":1,"a":1}',
        "\ufeff{}",
        "{}{}",
        "[1,]",
        "'a'",
        b"\xff",
    ],
)
def test_text_that_is_no_json_or_could_not_be_kept_is_refused(text: Any) -> None:
    with pytest.raises(BadJson) as bad:
        parse_json(text)
    assert len(str(bad.value)) < 100


@pytest.mark.parametrize("ends", ["[]", ('{"a":', "}")], ids=["arrays", "objects"])
def test_depth_has_a_limit(ends: Any) -> None:
    opening, closing = ends
    inner = "1" if opening != "[" else ""
    exact = opening * DEPTH_MAX + inner + closing * DEPTH_MAX
    parse_json(exact)
    for more in (1, 200, 15_000):
        with pytest.raises(BadJson, match="deeper"):
            parse_json(opening * (DEPTH_MAX + more) + inner + closing * (DEPTH_MAX + more))


@pytest.mark.parametrize("around", [1, 4])
def test_levels_around_what_is_said_do_not_count(around: int) -> None:
    """Each door puts others around it; what one of them takes, every other has to take."""
    exact = "[" * (DEPTH_MAX + around) + "]" * (DEPTH_MAX + around)
    parse_json(exact, around=around)
    with pytest.raises(BadJson, match="deeper"):
        parse_json(f"[{exact}]", around=around)


@pytest.mark.parametrize(
    ("value", "depth"),
    [(7, 0), ([], 1), ({}, 1), ((), 1), ([[], {"a": [1]}], 3), (({"a": ()},), 3)],
)
def test_depth_is_counted_in_objects_arrays_and_tuples(value: object, depth: int) -> None:
    assert not deeper_than(value, depth)
    assert depth == 0 or deeper_than(value, depth - 1)


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert len(parse_json("[" + "[]," * 1000 + "[]]")) == 1001


def test_pairs_of_surrogates_are_characters() -> None:
    assert parse_json('"\\ud83d\\ude00"') == "😀"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1, "a": 2}', "a name twice in one object at line 1 column 14"),
        ("[1e400]", "a number beyond what a double holds"),
        ("[1E+400]", "a number beyond what a double holds"),
        ("[1" + "0" * 400 + ".0]", "a number beyond what a double holds"),
        ("[9223372036854775808]", "an integer beyond 64 bits"),
        ("[1,]", "not JSON: trailing comma at line 1 column 4"),
    ],
)
def test_it_says_why_and_where_and_quotes_nothing(text: str, why: str) -> None:
    with pytest.raises(BadJson, match=f"^{re.escape(why)}$"):
        parse_json(text)


@pytest.mark.parametrize("text", ["[1e-400, 1e300]", '"e000 and 0000000000000000000000"', "[-0]"])
def test_what_only_looks_like_a_large_number_is_none(text: str) -> None:
    assert parse_json(text) == json.loads(text)


@pytest.mark.parametrize(
    ("opening", "each", "closing", "most"),
    [
        ("[", "[],", "[]]", CONTAINERS_MAX),
        ("[", "{},", "{}]", CONTAINERS_MAX),
        ("[", "0,", "0]", VALUES_MAX),
        ("[", '{"a" :0},', "0]", NAMES_MAX),
        ('"', "[ ", '"', CONTAINERS_MAX),
    ],
)
def test_a_long_text_may_hold_so_much_that_it_is_read_quickly(
    opening: str, each: str, closing: str, most: int
) -> None:
    long = " " * QUICK_BYTES + opening
    parse_json(long + each * (most - 2) + closing)
    with pytest.raises(BadJson, match=f"it may hold {most}"):
        parse_json(long + each * (most + 2) + closing)


def test_what_people_write_is_not_too_much() -> None:
    """A quarter of a megabyte of prose, of a table, of vectors, of JSON inside a text, of code."""
    size = 256 * 1024
    for piece in (
        "It is said, and often, that (all) things end. ",
        "12.50,4711,Meyer\n",
        json.dumps([{"id": 1, "tags": ["a", "b"], "name": "Ann"}]),
        "for (int i = 0; i < n; i++) { a[i] = f(b[i], c); }\n",
    ):
        assert parse_json(json.dumps({"input": piece * (size // len(piece))}))
    assert len(parse_json(json.dumps([0.012345] * (size // 10)))) == size // 10
