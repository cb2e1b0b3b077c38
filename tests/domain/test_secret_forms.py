"""Keys are known by their look, wherever they stand, and every row of the tables is reached."""

from __future__ import annotations

import itertools
import re

import pytest

from gateway.domain.secret_forms import AROUND as ROWS
from gateway.domain.secret_forms import FORMS, Around, Form, keys_in
from tests.domain.harmless_samples import HARMLESS
from tests.domain.secret_samples import AROUND, KEYS, SECRETS, base64_of, fragments


def without(text: str) -> str:
    """The text without the keys that are found in it."""
    kept = list(text)
    for start, end, _ in keys_in(text):
        kept[start:end] = "\0" * (end - start)
    return "".join(kept)


def test_a_key_is_found_wherever_it_stands() -> None:
    for (name, key), place in itertools.product(KEYS.items(), AROUND):
        left = without(place.format(key))
        assert [part for part in fragments(key) if part in left] == [], (name, place)


def test_several_keys_of_one_word_are_all_found() -> None:
    first, second = KEYS["github"], KEYS["openai project"]
    for text in (first + second, f"{first}.{second}", f"{first}-{second}", f"{second}_{first}"):
        left = without(text)
        assert [part for part in fragments(first) | fragments(second) if part in left] == []


def test_what_only_looks_like_a_key_is_none() -> None:
    assert [text for text in HARMLESS if list(keys_in(text))] == []


def test_a_picture_holds_no_keys() -> None:
    """Two hundred thousand letters of base64; a form that meets them by chance is too wide."""
    assert list(keys_in(base64_of(150_000))) == []


def test_a_token_of_json_is_shown_as_what_it_is() -> None:
    assert [kind for *_, kind in keys_in(KEYS["jwt"])] == ["jwt"]
    assert [kind for *_, kind in keys_in(KEYS["github"])] == ["api-key"]


TEXTS = tuple(text for _, text, _ in SECRETS)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.issuer)
def test_every_form_has_a_sample_and_is_found_with_each_of_its_beginnings(form: Form) -> None:
    """A row that another one hides, or that is never looked at, protects nobody."""
    ways = [re.compile(re.escape(begin) + f"({form.rest})") for begin in form.begins]
    rest = next(found[1] for text in TEXTS for way in ways if (found := way.search(text)))
    for begin in form.begins:
        assert [span[:2] for span in keys_in(f"key {begin}{rest} end")][:1] == [
            (4, 4 + len(begin + rest))
        ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.issuer} {row.has[0]}")
def test_every_form_around_something_has_a_sample(row: Around) -> None:
    whole = re.compile(f"(?:{row.before})(?:{row.pattern})")
    assert any(whole.search(text) for text in TEXTS)


def test_every_row_says_where_its_form_is_documented() -> None:
    said = [(row.issuer, row.source) for row in FORMS] + [(row.issuer, row.source) for row in ROWS]
    assert [row for row in said if not all(row)] == []
    begins = [begin for form in FORMS for begin in form.begins]
    assert len(begins) == len(set(begins))
