"""The time of a log: it goes on evenly, whoever sets the clock on the wall."""

from __future__ import annotations

from gateway.stores.steady import Steady
from tests.stores.drafts import Clock


def test_it_begins_where_it_is_told_and_goes_on_from_there() -> None:
    clock = Clock()
    steady = Steady(clock, at=100.0)
    clock.now += 5
    clock.set_s = -3600.0
    assert steady.now() == 105.0


def test_who_is_further_on_is_right_and_who_is_behind_is_not() -> None:
    steady = Steady(Clock(), at=100.0)
    steady.seen(99.0)
    assert steady.now() == 100.0
    steady.seen(101.0)
    assert steady.now() == 101.0


def test_before_it_is_told_nothing_has_aged() -> None:
    steady = Steady(Clock())
    known = [steady.known]
    assert steady.now() < 0
    steady.seen(100.0)
    known.append(steady.known)
    steady.forget()
    known.append(steady.known)
    assert known == [False, True, False]
