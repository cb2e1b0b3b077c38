"""Waiting: what is told of it, and which events end it."""

from __future__ import annotations

import pytest

from event_schemas import BOOKKEEPING_TYPES, TYPES, example
from gateway.domain.waiting import MOVES, waiting_after

TOLD = {"waits_for": "breaker", "name": "writer", "until": None}


def test_a_wait_is_what_was_told_last() -> None:
    event = example("task_waiting")
    expected = {name: event[name] for name in ("waits_for", "name", "until")}
    assert waiting_after(None, event) == waiting_after(TOLD, event) == expected


@pytest.mark.parametrize("type", sorted(set(TYPES) - {"task_waiting"}))
def test_it_ends_with_what_its_owner_hears_of_a_task_that_moves(type: str) -> None:
    assert waiting_after(TOLD, {"type": type}) == (None if type in MOVES else TOLD)
    assert waiting_after(None, {"type": type}) is None


def test_an_owner_hears_of_each_end_of_a_wait() -> None:
    assert set(TYPES) - BOOKKEEPING_TYPES >= MOVES
