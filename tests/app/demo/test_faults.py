"""The plan of faults: schedules of models, a person's choice, and a rest for breakers."""

from __future__ import annotations

import pytest

from gateway.app.demo.faults import BY_SCHEDULE, FAULTS, Plan
from gateway.domain.errors import InvalidParams


def test_a_schedule_is_for_one_model_and_starts_again_after_its_end() -> None:
    plan = Plan({"one": ("500", "fine"), "two": ("drop",)})
    assert [plan.next_fault(model) for model in ("one", "two", "one", "one")] == [
        *("500", "drop", "fine", "500")
    ]
    assert plan.next_fault("unheard of") == "fine"
    assert plan.as_dict()["schedule"] == ["one: 500", "one: fine", "two: drop"]
    assert plan.as_dict()["next"] == [1, 2]
    plan.rewind()
    assert plan.next_fault("one") == "500"
    assert plan.calls == 6


def test_a_plan_that_rests_lets_every_call_through_until_it_is_rewound() -> None:
    plan = Plan({"one": ("500", "fine")})
    plan.rest()
    assert [plan.next_fault("one"), plan.next_fault("one")] == ["fine", "fine"]
    assert plan.as_dict()["next"] == []
    plan.choose("drop")
    assert plan.next_fault("one") == "drop"
    plan.choose(BY_SCHEDULE)
    plan.rewind()
    assert plan.next_fault("one") == "500"


def test_a_choice_holds_for_every_call_and_advances_no_schedule() -> None:
    plan = Plan({"one": ("500", "fine")})
    plan.choose("stall")
    assert [plan.next_fault("one"), plan.next_fault("other")] == ["stall", "stall"]
    plan.choose(BY_SCHEDULE)
    assert plan.next_fault("one") == "500"


def test_an_unknown_mode_is_refused_with_the_known_ones_and_changes_nothing() -> None:
    plan = Plan({})
    plan.choose("drop")
    with pytest.raises(InvalidParams) as refused:
        plan.choose("on fire")
    assert refused.value.field == "mode"
    assert all(fault.name in str(refused.value) for fault in FAULTS)
    assert plan.mode == "drop"


@pytest.mark.parametrize("schedule", [(), ("on fire",)])
def test_a_schedule_that_is_empty_or_has_an_unknown_fault_is_our_own_mistake(
    schedule: tuple[str, ...],
) -> None:
    with pytest.raises(AssertionError):
        Plan({"one": schedule})
