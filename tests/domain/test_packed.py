"""Packed values: as they were when they are asked for, in as little memory as their JSON."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from gateway.domain.packed import Packed, opened, packed, weight_of


@pytest.mark.parametrize("value", [None, True, 7, 1.5, "text", "", "\ud83d\ude00é"])
def test_what_is_small_as_it_is_stays(value: Any) -> None:
    assert packed(value) is value
    assert opened(value) is value
    assert weight_of(value) == sys.getsizeof(value)


@pytest.mark.parametrize(
    "value", [{}, [], {"a": [1, 2.5, None, {"b": "é\u2028"}]}, [[[]]] * 100, {"n": 2**63 - 1}]
)
def test_objects_and_arrays_are_kept_as_json(value: Any) -> None:
    kept = packed(value)
    assert isinstance(kept, Packed)
    assert opened(kept) == value
    assert kept == value == kept
    assert kept != [value]
    assert weight_of(kept) == sys.getsizeof(kept.json)


def test_the_weight_is_the_jsons() -> None:
    kept = packed([[] for _ in range(10_000)])
    assert weight_of(kept) == pytest.approx(3 * 10_000, rel=0.01)
