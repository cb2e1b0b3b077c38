"""What is kept of an attempt: bounded, cut between characters, and honest about what is missing."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.preserved import EVICTED_MAX, Preserved, beginning

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
data = st.recursive(
    st.none() | st.booleans() | st.integers() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)


def preserved(bytes_max: int = 1000) -> Preserved:
    return Preserved(bytes_max=bytes_max)


def as_event(it: Preserved) -> int:
    """Bytes of what is kept, as an event tells of it."""
    return len(json.dumps([it.steps, it.text], ensure_ascii=False, separators=(",", ":")).encode())


def test_nothing_is_kept_at_first() -> None:
    it = preserved()
    assert not it
    assert (it.steps, it.text, it.size, it.truncated, it.evicted) == ({}, "", 0, False, [])
    assert not it.kept()


@pytest.mark.parametrize(
    ("bytes_max", "said", "kept"),
    [
        (4, "abcd", "abcd"),
        (4, "abcde", "abcd"),
        (4, "aéé", "aé"),
        (5, "aéé", "aéé"),
        (4, "ab€", "ab"),
        (5, "ab€", "ab€"),
        (3, "😀", ""),
        (4, "😀", "😀"),
        (3, 'a""', 'a"'),
        (6, "\x00\x00", "\x00"),
        (0, "a", ""),
    ],
)
def test_text_is_cut_between_characters(bytes_max: int, said: str, kept: str) -> None:
    it = preserved(bytes_max)
    it.add_text(said)
    assert (it.text, it.truncated) == (kept, kept != said)
    assert it.size <= bytes_max


def test_text_that_was_cut_is_at_its_end() -> None:
    """No text follows a gap that a reader cannot see."""
    it = preserved(4)
    it.add_text("ab€")
    it.add_text("c")
    assert it.text == "ab"
    twin = it.copy()
    twin.add_text("c")
    assert twin.text == "ab"


@pytest.mark.parametrize("text", ["x" * 30, "€" * 30, "\0" * 30, "€" * 4 + "x"])
def test_of_a_long_text_so_much_is_enough_that_it_is_cut_in_the_same_way(text: str) -> None:
    for bytes_max in range(10, 40):
        whole, part = Preserved(bytes_max=bytes_max), Preserved(bytes_max=bytes_max)
        whole.add_text(text)
        part.add_text(beginning(text, bytes_max=bytes_max))
        assert (whole.text, whole.truncated) == (part.text, part.truncated)
        assert len(beginning(text, bytes_max=bytes_max)) <= len(whole.text) + 1


def test_a_step_said_again_replaces_the_first() -> None:
    it = preserved()
    it.add_step("a", [1, 2, 3])
    size = it.size
    it.add_step("a", [4])
    assert (it.steps, it.size) == ({"a": [4]}, size - 6)


def test_a_step_that_does_not_fit_is_named_until_it_does() -> None:
    it = preserved(30)
    it.add_step("a", "x" * 10)
    it.add_step("b", "x" * 10)
    assert (set(it.steps), it.evicted, it.truncated) == ({"a"}, ["b"], True)
    it.add_step("b", 1)
    assert (set(it.steps), it.evicted, it.truncated) == ({"a", "b"}, [], True)
    it.add_step("a", "x" * 100)
    assert it.steps["a"] == "x" * 10
    assert it.evicted == ["a"]


def test_only_so_many_are_named() -> None:
    """The list stands in an event; that something is missing is told anyway."""
    it = preserved(0)
    for number in range(100):
        it.add_step(str(number), 1)
    assert it.evicted == [str(number) for number in range(EVICTED_MAX)]


def test_everything_can_be_let_go_of() -> None:
    it = preserved()
    it.add_step("a", 1)
    it.add_text("abc")
    size = it.size
    assert it.evict() == size
    assert (it.steps, it.text, it.size, it.truncated, it.evicted) == ({}, "", 0, True, ["a"])
    assert it.evict() == 0
    it.add_text("d")
    it.add_step("b", 2)
    assert (it.text, it.steps) == ("", {"b": 2})
    assert it


def test_letting_go_of_nothing_is_no_loss() -> None:
    it = preserved()
    assert it.evict() == 0
    assert not it.truncated


def test_a_copy_grows_apart() -> None:
    it = preserved()
    it.add_step("a", 1)
    it.add_text("x")
    twin = it.copy()
    twin.add_step("b", 2)
    twin.add_text("y")
    assert (it.steps, it.text) == ({"a": 1}, "x")
    assert (twin.steps, twin.text) == ({"a": 1, "b": 2}, "xy")
    kept = it.kept()
    it.add_step("c", 3)
    assert (kept.steps, kept.text) == ({"a": 1}, "x")


def test_progress_is_what_was_reported_else_the_share_of_planned_steps() -> None:
    it = preserved()
    assert it.progress(None, ()) == 0
    it.add_step("a", 1)
    assert it.progress(None, ("a", "b", "c", "d")) == 0.25
    assert it.progress(0.9, ("a", "b")) == 0.9
    assert it.lost(("a", "b")) == ["b"]


@given(st.lists(st.tuples(text.filter(bool), data) | text, max_size=20), st.integers(0, 300))
def test_whatever_is_said_the_bound_holds(said: list[Any], bytes_max: int) -> None:
    """Also as JSON, since an event has to carry it; and the size is that of what is there."""
    it = preserved(bytes_max)
    steps: dict[str, Any] = {}
    texts = ""
    for one in said:
        if isinstance(one, str):
            it.add_text(one)
            texts += one
        else:
            it.add_step(*one)
            if it.steps.get(one[0]) == one[1]:
                steps[one[0]] = one[1]
        assert it.size <= bytes_max
    assert as_event(it) <= bytes_max + 10
    assert texts.startswith(it.text)
    assert it.truncated or (it.text == texts and it.steps == steps)
    assert it.copy().size == it.size
    fresh = preserved(10**6)
    for name, value in it.steps.items():
        fresh.add_step(name, value)
    fresh.add_text(it.text)
    assert fresh.size == it.size
    canonical = json.dumps(
        {"data": it.steps, "text": it.text}, sort_keys=True, separators=(",", ":")
    )
    assert it.sha256() == fresh.sha256() == hashlib.sha256(canonical.encode()).hexdigest()
