"""What operators may ask about dead letters."""

from __future__ import annotations

from typing import Any

import pytest

from event_schemas import Validator
from gateway.protocol.dead_letter_operations import DEAD_LETTER, DEAD_LETTER_OPERATIONS

BY_NAME = {operation.name: operation for operation in DEAD_LETTER_OPERATIONS}


def test_dead_letters_are_for_operators_alone() -> None:
    assert {operation.scope for operation in DEAD_LETTER_OPERATIONS} == {"admin"}


def test_each_has_its_place() -> None:
    assert {name: (each.method, each.path) for name, each in BY_NAME.items()} == {
        "dead_letter.list": ("GET", "/api/dead-letters"),
        "dead_letter.retry": ("POST", "/api/dead-letters/{task_id}/retry"),
        "dead_letter.discard": ("DELETE", "/api/dead-letters/{task_id}"),
    }


@pytest.mark.parametrize(
    ("name", "given", "taken"),
    [
        ("dead_letter.list", {}, True),
        ("dead_letter.list", {"agent": "a", "reason": "no_worker", "user_id": "42"}, True),
        ("dead_letter.list", {"limit": 500, "cursor": "17", "min_position": "e:4"}, True),
        ("dead_letter.list", {"reason": "x" * 129}, False),
        ("dead_letter.list", {"limit": 501}, False),
        ("dead_letter.list", {"task_id": "t1"}, False),
        ("dead_letter.retry", {"task_id": "t1"}, True),
        ("dead_letter.retry", {}, False),
        ("dead_letter.retry", {"task_id": "*"}, False),
        ("dead_letter.discard", {"task_id": "t1"}, True),
        ("dead_letter.discard", {"task_id": "t1", "reason": "old"}, False),
    ],
)
def test_a_request_is_taken_within_its_bounds(
    name: str, given: dict[str, Any], taken: bool
) -> None:
    assert Validator(dict(BY_NAME[name].params)).is_valid(given) is taken


def test_a_letter_may_lack_only_the_task_that_repeats_it() -> None:
    assert set(DEAD_LETTER["properties"]) - set(DEAD_LETTER["required"]) == {"retried_as"}
