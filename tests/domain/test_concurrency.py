"""How many calls an upstream stands at once: halved by its rate limits, raised by successes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import concurrency
from gateway.domain.concurrency import Concurrencies, Concurrency
from tests.execution.record.story import Story


def limited(most: int = 8) -> Concurrencies:
    known = Concurrencies(most)
    known.rate_limited("model", 100.0)
    return known


def test_a_rate_limit_halves_it_once_a_second_and_never_below_one() -> None:
    known = limited(8)
    assert known.limit("model") == 4
    known.rate_limited("model", 100.5)
    assert known.limit("model") == 4
    for at in (101.0, 102.0, 103.0, 104.0):
        known.rate_limited("model", at)
    assert known.limit("model") == 1
    assert known.limit("another") == 8


def test_as_many_successes_as_may_run_add_one() -> None:
    known = limited(8)
    for _ in range(4):
        known.succeeded("model")
    assert 4.8 < known.limit("model") <= 5
    for _ in range(100):
        known.succeeded("model")
    assert (known.limit("model"), list(known)) == (8, [])


@given(st.lists(st.one_of(st.none(), st.floats(0, 100))), st.integers(1, 50))
def test_it_is_between_one_and_the_most_whatever_happens(
    happened: list[float | None], most: int
) -> None:
    """None is a success, a number a rate limit at that time."""
    known = Concurrencies(most)
    for at in happened:
        before = known.limit("model")
        if at is None:
            known.succeeded("model")
            assert known.limit("model") >= before
        else:
            known.rate_limited("model", at)
            assert known.limit("model") <= before
        assert 1 <= known.limit("model") <= most


def test_too_many_upstreams_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "LOWERED_MAX", 2)
    known = Concurrencies(8)
    for name in "abc":
        known.rate_limited(name, 100.0)
    assert [one.upstream for one in known] == ["b", "c"]
    assert known.limit("a") == 8


def test_without_a_most_nothing_is_learned() -> None:
    known = Concurrencies(0)
    known.rate_limited("model", 100.0)
    known.adopt(Concurrency("model", 1.0, 100.0))
    assert (known.has_room("model"), list(known), known.shown(10)) == (True, [], {})


def test_calls_are_counted_while_they_run_and_a_later_fold_knows_them() -> None:
    story = Story(adaptive_concurrency=2)
    known = story.state.concurrencies
    for number in range(2):
        story.submitted(f"t{number}")
        assert known.has_room("search")
        story.started(f"t{number}")
    assert not known.has_room("search")
    assert known.shown(10) == {"search": {"running": 2, "limit": 2}}
    again = Story(adaptive_concurrency=2).state
    for task in story.state.tasks.values():
        again.adopt(task)
    assert not again.concurrencies.has_room("search")
    story.failed("t0", error_type="rate_limit")
    assert known.shown(10) == {"search": {"running": 1, "limit": 1}}
    story.finished("t1")
    assert known.has_room("search")
