"""Parameters: what does not comply is refused with field, rule and remedy; lists come in pages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.domain.errors import InvalidParams
from gateway.execution.handlers.params import LIST_LIMIT, PAGE_BYTES_MAX, Page, check, page
from gateway.protocol.operations import OPERATIONS, SESSION_PARAMS


@pytest.mark.parametrize("name", sorted({**OPERATIONS, **SESSION_PARAMS}))
def test_every_operation_and_session_method_can_be_checked(name: str) -> None:
    schema: Any = SESSION_PARAMS[name] if name in SESSION_PARAMS else OPERATIONS[name].params
    if schema.get("required"):
        with pytest.raises(InvalidParams):
            check(name, {})
    else:
        check(name, {})


@pytest.mark.parametrize(
    ("params", "field", "says"),
    [
        ({"task_id": "x", "foreign": 1}, "foreign", "no parameter foreign; it takes: min_pos"),
        ({}, None, "task_id"),
        ({"task_id": 7}, "task_id", "(type)"),
        ({"task_id": ""}, "task_id", "task_id"),
        ("text", None, "the parameters"),
    ],
)
def test_a_refusal_names_the_field_the_rule_and_the_remedy(
    params: Any, field: str | None, says: str
) -> None:
    with pytest.raises(InvalidParams) as refused:
        check("task.get", params)
    assert says in str(refused.value)
    if field is not None:
        assert refused.value.field == field


def test_an_operation_that_does_not_exist_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        check("task.dance", {})


@pytest.mark.parametrize(
    ("count", "params", "items", "following"),
    [
        (0, {}, [], None),
        (3, {"limit": 2}, [0, 1], "2"),
        (3, {"limit": 2, "cursor": "2"}, [2], None),
        (3, {"limit": 3}, [0, 1, 2], None),
        (3, {"limit": 2, "cursor": "3"}, [], None),
        (3, {"limit": 2, "cursor": "99"}, [], None),
        (LIST_LIMIT, {}, list(range(LIST_LIMIT)), None),
        (LIST_LIMIT + 1, {}, list(range(LIST_LIMIT)), str(LIST_LIMIT)),
    ],
)
def test_a_list_comes_in_pages(
    count: int, params: dict[str, Any], items: list[int], following: str | None
) -> None:
    assert page(range(count), params) == {"items": items, "next": following}


def test_a_page_ends_before_it_has_more_bytes_than_a_page_may_have() -> None:
    half = "x" * (PAGE_BYTES_MAX // 2 - 10)
    items = [half, half, half, "y" * PAGE_BYTES_MAX, "z"]
    found: list[Any] = []
    pages, cursor = 0, dict[str, Any]()
    while True:
        answer = page(items, cursor)
        found += answer["items"]
        pages += 1
        # One item alone may have more, or it would never be shown.
        assert len(answer["items"]) == 1 or len(json.dumps(answer["items"])) <= PAGE_BYTES_MAX
        if answer["next"] is None:
            break
        cursor = {"cursor": answer["next"]}
    assert (found, pages) == (items, 4)


@pytest.mark.parametrize("cursor", ["", "-1", "x", "1.0", "١", "9" * 20])
def test_a_cursor_that_no_list_gave_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidParams) as refused:
        page([1], {"cursor": cursor})
    assert refused.value.field == "cursor"


def test_sizes_that_are_too_large_do_not_end_a_page_early() -> None:
    """What they are at the most is known without encoding them."""
    shown = Page({"limit": 500})
    assert all(shown.takes("x" * 100, size=50_000) for _ in range(500))
    assert shown.full
    large = Page({"limit": 500})
    taken = 0
    while large.takes("x" * 10_000, size=60_000):
        taken += 1
    assert PAGE_BYTES_MAX - 20_100 < len(json.dumps(large.items)) <= PAGE_BYTES_MAX
    assert taken == len(large.items)
