"""Holds: until when an upstream is left alone, and how its calls come back."""

from __future__ import annotations

import pytest

from gateway.domain import holds
from gateway.domain.holds import HOLD_S_MAX, RAMP_S, Hold, Holds

AT = 1_800_000_000.0


def begun(known: Holds, *, after_s: float) -> int:
    """Begin what may begin so long after the end of the hold; gives how many have in all."""
    while (hold := known.get("model")) is not None and hold.allows(hold.until + after_s):
        known.began("model", hold.until + after_s)
    return 0 if hold is None else hold.begun


@pytest.mark.parametrize(
    ("now", "allows"), [(AT - 0.001, False), (AT, True), (AT + 0.999, True), (AT + 1000, True)]
)
def test_no_call_begins_before_the_hold_is_over(now: float, allows: bool) -> None:
    assert Hold("model", AT).allows(now) is allows
    assert Hold("model", AT).left_s(now) == pytest.approx(max(0.0, AT - now))


def test_the_calls_come_back_in_a_ramp_that_doubles_each_second() -> None:
    known = Holds()
    known.asked("model", 7.0, AT)
    assert [begun(known, after_s=second) for second in range(6)] == [1, 2, 4, 8, 16, 32]
    # Not all that may within a second begin in one instant of it.
    assert begun(known, after_s=5.5) == 45


def test_after_the_ramp_every_call_may_begin_and_the_hold_is_forgotten() -> None:
    known = Holds()
    known.asked("model", 7.0, AT)
    hold = known.get("model")
    assert hold is not None
    assert not hold.over(hold.until + RAMP_S - 0.001)
    assert hold.over(hold.until + RAMP_S)
    assert Hold("model", AT, begun=10**6).allows(AT + RAMP_S)
    known.began("model", hold.until + RAMP_S)
    assert known.get("model") is None
    known.began("model", hold.until + RAMP_S)  # another call of what nobody holds


def test_a_hold_becomes_longer_and_never_shorter_and_a_new_one_begins_its_ramp_anew() -> None:
    known = Holds()
    known.asked("model", 7.0, AT)
    known.asked("model", 2.0, AT + 1)
    assert known.get("model") == Hold("model", AT + 7)
    known.asked("model", 7.0, AT + 1)
    assert known.get("model") == Hold("model", AT + 8)
    known.began("model", AT + 8)
    known.asked("model", 5.0, AT + 8.5)
    assert known.get("model") == Hold("model", AT + 13.5, begun=0)
    known.began("model", AT + 9)  # it was on its way, and is no call of the ramp
    assert known.get("model") == Hold("model", AT + 13.5, begun=0)


def test_an_upstream_is_believed_for_an_hour() -> None:
    known = Holds()
    known.asked("model", 86_400.0, AT)
    assert known.get("model") == Hold("model", AT + HOLD_S_MAX)


def test_at_the_bound_those_that_are_over_go_then_the_one_that_ends_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(holds, "HOLDS_MAX", 3)
    known = Holds()
    for name, seconds in (("over", 1.0), ("long", 900.0), ("short", 60.0)):
        known.asked(name, seconds, AT)
    known.asked("fourth", 300.0, AT + 1 + RAMP_S)
    assert {hold.upstream for hold in known} == {"long", "short", "fourth"}
    known.asked("fifth", 300.0, AT + 12)
    assert {hold.upstream for hold in known} == {"long", "fourth", "fifth"}
    assert len(known) == 3


def test_a_lifted_hold_is_over_at_once_with_those_of_users_and_no_others() -> None:
    known = Holds()
    for name in ("model", "model of bob", "models", "model offline"):
        known.asked(name, 500.0, AT)
    known.lifted("model", AT + 100)
    left = {hold.upstream: hold.left_s(AT + 100) for hold in known}
    assert left == {"model": 0.0, "model of bob": 0.0, "models": 400.0, "model offline": 400.0}
    assert [begun(known, after_s=second) for second in range(3)] == [1, 2, 4]
    # One that is over is not begun anew.
    known.lifted("model", AT + 102)
    assert known.get("model") == Hold("model", AT + 100, begun=4)
