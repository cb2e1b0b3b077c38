"""Names that we restrict, and user ids that a sign-in issues; three engines read them alike."""

from __future__ import annotations

from typing import Any

import jsonschema
import jsonschema_rs
import pytest

from gateway.domain.names import (
    LOOKED_AT_MAX,
    NAME,
    TOPIC,
    USER_ID,
    is_name,
    is_user_id,
    similar_to,
)

USER_IDS = [
    ("42", True),
    ("auth0|5f7c", True),
    ("ann+test@example.org", True),
    ("google-oauth2|1/2", True),
    ("Änne Müller", True),
    ("a,b", True),
    ("**", True),
    ("x" * 256, True),
    ("😀" * 256, True),
    ("x" * 257, False),
    ("", False),
    ("*", False),
    (" ann", False),
    ("ann ", False),
    ("ann\n", False),
    ("a\x00b", False),
    ("a\x7fb", False),
    ("a\x85b", False),
]
NAMES = [
    ("a", True),
    ("my.agent-1~x@y:z_", True),
    ("x" * 128, True),
    ("x" * 129, False),
    ("", False),
    ("*", False),
    ("my breaker!", False),
    ("a|b", False),
    ("ä", False),
    ("a\n", False),
]
TOPICS = [
    ("*", True),
    ("system", True),
    ("task:t1", True),
    ("user:auth0|5f7c", True),
    ("user:a:b", True),
    ("recipient:ann+test@example.org", True),
    ("user:*", False),
    ("user:", False),
    ("user: ann", False),
    ("task:a|b", False),
    ("channel:a b", False),
    ("planet:x", False),
    ("system:x", False),
    ("*x", False),
]


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        (pattern, text, fits)
        for pattern, cases in ((USER_ID, USER_IDS), (NAME, NAMES), (TOPIC, TOPICS))
        for text, fits in cases
    ],
)
def test_a_pattern_is_read_alike_by_every_engine(pattern: str, text: str, fits: bool) -> None:
    schema = {"type": "string", "pattern": pattern}
    assert jsonschema_rs.validator_for(schema).is_valid(text) is fits
    assert jsonschema.Draft202012Validator(schema).is_valid(text) is fits


@pytest.mark.parametrize(("text", "fits"), USER_IDS)
def test_a_user_id_is_taken_as_it_was_issued(text: str, fits: bool) -> None:
    assert is_user_id(text) is fits


@pytest.mark.parametrize(("text", "fits"), NAMES)
def test_a_name_has_the_characters_that_addresses_and_subjects_bear(text: str, fits: bool) -> None:
    assert is_name(text) is fits


@pytest.mark.parametrize("value", [None, 7, [], b"x", True])
def test_what_is_no_text_is_neither(value: Any) -> None:
    assert not is_name(value)
    assert not is_user_id(value)


def test_similar_names_are_a_few_of_those_that_look_alike_whatever_their_case() -> None:
    known = ["Researcher", "research-2", "writer", "rewriter", "searcher", "x"]
    assert similar_to("reseacher", known) == ["Researcher", "searcher", "research-2"]
    assert similar_to("Writer2", known)[0] == "writer"
    assert similar_to("nothing-like-it", known) == []


def test_among_very_many_names_only_the_first_are_looked_at() -> None:
    many = [f"other-{number}" for number in range(LOOKED_AT_MAX)]
    assert similar_to("zzz", [*many, "zzz1"]) == []
    assert similar_to("zzz", [*many[1:], "zzz1"]) == ["zzz1"]
