"""The record of one event's tries."""

from __future__ import annotations

from gateway.attempts.tries import Tries


def test_each_event_has_tries_of_its_own() -> None:
    """By content all records are alike; they are told apart by what they are."""
    first, second = Tries(), Tries()
    assert first != second
    assert not first.landed
    first.landed = True
    assert not second.landed
