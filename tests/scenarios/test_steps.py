"""Accounts of scenarios: what varies has names, and everything else has to be the same."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.steps import Names, filled, fits

EPOCH = "019abb2f-0000-7000-8000-000000000000"
ONE, TWO = "019abb2f-6c2a-7b10-8e55-0d9a7c4f1e02", "019abb2f-6d13-7d41-9a07-3f5f0c1e2b13"


def named(*values: Any, epoch: str = EPOCH) -> list[str]:
    names = Names(epoch)
    return [names.text(value) for value in values]


pytestmark = pytest.mark.own_store


def test_the_same_thing_has_the_same_name_wherever_it_stands() -> None:
    names = Names(EPOCH)
    assert names.of([{"b": TWO, "a": ONE}]) == [{"a": "<id 1>", "b": "<id 2>"}]
    assert names.of(f"there is no task {TWO}, {ONE}") == "there is no task <id 2>, <id 1>"
    position = {"epoch": EPOCH, "offset": 41}
    assert names.of(position) == {"epoch": "<epoch>", "offset": "<offset 1>"}
    # A list of tasks goes on after an offset, which is known by then; a list of workers counts.
    assert names.of({"next": "41"}) == {"next": "<offset 1>"}
    assert names.of({"next": "2"}) == {"next": "2"}
    assert names.of({"next": f"{EPOCH}:41"}) == {"next": "<epoch>:<offset 1>"}
    assert names.of({"expires_at": "2026-11-22T05:04:54.123Z"}) == {"expires_at": "<time>"}
    assert names.of({"message": "backoff_delay 0.047", "retry_after": 0.047}) == {
        "message": "backoff_delay <length>",
        "retry_after": "<length>",
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([ONE, TWO, ONE], [TWO, ONE, TWO]),
        ({"offset": 7, "epoch": EPOCH}, {"epoch": EPOCH, "offset": 9}),
        ({"at": "2026-11-22T05:04:54.123Z"}, {"at": "2026-11-22T05:04:54.124Z"}),
        ({"agent_secret": "a"}, {"agent_secret": "b"}),
        ({"retry_after": 1}, {"retry_after": 0.5}),
    ],
)
def test_accounts_of_the_same_are_equal(one: Any, other: Any) -> None:
    assert named(one) == named(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([ONE, TWO, ONE], [ONE, TWO, TWO]),
        ([{"offset": 7}, {"offset": 7}], [{"offset": 7}, {"offset": 8}]),
        ({"at": "2026-11-22T05:04:54.123Z"}, {"at": None}),
        ({"at": "2026-11-22T05:04:54.123Z"}, {"at": "2026-11-22T05:04:54Z"}),
        ({"retry_after": 1}, {"retry_after": None}),
        ({"retry_after": 1}, {}),
        ({"term": 1}, {"term": 2}),
        ({"term": 1}, {"term": 1.0}),
        ({"term": 1}, {"term": True}),
        ([1, 2], [2, 1]),
    ],
)
def test_accounts_of_something_else_are_not(one: Any, other: Any) -> None:
    assert named(one) != named(other)


def test_parts_of_earlier_answers_are_filled_in_as_they_are() -> None:
    known = {"a": {"items": [{"n": 1}, {"n": 2}], "name": "x"}}
    assert filled({"n": "{a.items.1.n}", "all": ["{a.items}"]}, known) == {
        "n": 2,
        "all": [[{"n": 1}, {"n": 2}]],
    }
    assert filled("{a.name}:{a.items.0.n}", known) == "x:1"
    with pytest.raises(KeyError):
        filled("{b.name}", known)


@pytest.mark.parametrize(
    ("found", "expected", "does"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ([{"a": 1, "b": 2}], [{"a": 1}], True),
        ([{"a": 1}, {"a": 1}], [{"a": 1}], False),
        (None, {}, False),
        (None, ..., True),
        (None, None, True),
    ],
)
def test_an_answer_has_what_is_expected_and_may_have_more(
    found: Any, expected: Any, does: bool
) -> None:
    assert fits(found, expected) is does
