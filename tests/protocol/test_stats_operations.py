"""What counts may be asked for: they take next to nothing, and their results are closed."""

from __future__ import annotations

from typing import Any

import pytest

from event_schemas import Validator
from gateway.protocol.stats_operations import STATS_OPERATIONS

BY_NAME = {operation.name: operation for operation in STATS_OPERATIONS}


@pytest.mark.parametrize(
    ("name", "given", "taken"),
    [
        ("stats.get", {}, True),
        ("stats.get", {"min_position": "epoch:7"}, True),
        ("stats.get", {"user_id": "ann"}, False),
        ("impact", {"user_id": "ann"}, True),
        ("impact", {}, False),
        ("impact", {"user_id": "*"}, False),
    ],
)
def test_what_is_taken(name: str, given: dict[str, Any], taken: bool) -> None:
    assert Validator(dict(BY_NAME[name].params)).is_valid(given) is taken


def test_the_counts_of_everybody_are_not_for_everybody() -> None:
    assert BY_NAME["stats.get"].scope == "events:read:all"
    assert BY_NAME["impact"].scope == "events:read"
