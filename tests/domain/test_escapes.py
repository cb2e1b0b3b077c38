"""A text is looked at as what it means, and what is found there is told as a place in the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.escapes import view_of


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a%20b", "a b"),
        ("a%2520b", "a b"),
        ("a%252520b", "a b"),
        ("%e2%82%ac", "€"),
        ("%ff", "\ufffd"),
        ("a+b%3Dc", "a b=c"),
        ("&quot;a&quot;", '"a"'),
        ("&amp;quot;a&amp;amp;quot;", '"a"'),
        ("&#34;&#x22;&#39;", '""\''),
        ("&amp;", "&"),
        (r"\u0022a\u003d", '"a='),
        (r"\\u0022a\\\\x22", '"a"'),
        (r"\x00a", " a"),
        ("%3Cb&gt;", "<b>"),
        ("&nosuch;", "&nosuch;"),
    ],
)
def test_escapes_are_undone(text: str, meant: str) -> None:
    view = view_of(text)
    assert view is not None
    assert view.text == meant


@pytest.mark.parametrize("text", ["", "plain", "100 %", "a & b;", "%zz", r"\n\t", "&x;", "a+b"])
def test_a_text_without_escapes_needs_no_view(text: str) -> None:
    assert view_of(text) is None


def test_only_lines_with_escapes_are_looked_at_again() -> None:
    view = view_of("one\ntwo%20\nthree\n\nfour\nfive%20six%21\nseven\n")
    assert view is not None
    assert view.text == "two \nfive six!\n"


def test_a_place_in_the_view_is_told_as_that_in_the_text() -> None:
    text = "first\ntoken%3Dabc%26x\nlast"
    view = view_of(text)
    assert view is not None
    assert view.text == "token=abc&x\n"

    def origin(part: str) -> str:
        at = view.text.index(part)
        start, end = view.place(at, at + len(part))
        return text[start:end]

    assert origin("abc") == "abc"
    assert origin("=a") == "%3Da"
    assert origin("c&") == "c%26"
    assert origin("token=abc&x") == "token%3Dabc%26x"


PARTS = st.sampled_from(
    ["%20", "%2522", "&quot;", "&amp;", r"\u0041", r"\x41", "a", "B", "\n", "+"]
)


@given(st.lists(PARTS, max_size=12).map("".join), st.data())
def test_any_place_is_inside_the_text_and_in_order(text: str, data: st.DataObject) -> None:
    view = view_of(text)
    if view is None or not view.text:
        return
    start = data.draw(st.integers(0, len(view.text) - 1))
    end = data.draw(st.integers(start + 1, len(view.text)))
    first, last = view.place(start, end)
    assert 0 <= first < last <= len(text)
    if view.text[start:end].isalpha() and text[first:last].isalpha():
        assert text[first:last] == view.text[start:end]
