"""The drafts of a change of the mode."""

from __future__ import annotations

import pytest

from gateway.domain.mode import Mode
from gateway.execution.record.mode_drafts import ModeDrafts
from tests.execution.record.room import NOW, Room, body_of, fact_of

ERROR_ID = "019abb2f-6cb1-7d41-9a07-3f5f0c1e2b05"


def drafts(mode: Mode, name: str, **changes: str) -> list[dict[str, object]]:
    made = ModeDrafts(Room().intake).changed(
        mode,
        name,
        reason=changes.get("reason", "overload"),
        because="the queue is 90% full",
        by="node",
        features=["translations"],
    )
    return [body_of(draft) for draft in made]


def test_everyone_is_told_what_works_and_what_does_not() -> None:
    changed, told = drafts(Mode(), "degraded")
    assert (changed["mode"], changed["previous_mode"]) == ("degraded", "normal")
    assert changed["message"] == "mode degraded: the queue is 90% full"
    assert (told["user_id"], told["scope"], told["mode"]) == ("*", "gateway", "degraded")
    assert told["available_features"] == ["tasks of priority 0 to 5", "translations"]
    assert told["disabled_features"] == ["tasks of priority 6 to 10"]


@pytest.mark.parametrize("name", ["read_only", "draining"])
def test_where_nothing_new_is_taken_no_feature_works(name: str) -> None:
    _, told = drafts(Mode(), name, reason="operator")
    assert told["disabled_features"] == ["new tasks", "translations"]


def test_the_end_names_the_degradation_that_is_over() -> None:
    mode = Mode("degraded", "overload", "node", NOW - 9, "d1", ERROR_ID, 5)
    over, changed = drafts(mode, "normal")
    assert (over["type"], over["scope"], over["degradation_id"]) == (
        "system_recovered",
        "mode",
        "d1",
    )
    assert (over["error_id"], over["recovery_time"]) == (ERROR_ID, 9.0)
    assert (changed["mode"], changed["severity"]) == ("normal", "info")


def test_from_one_to_another_ends_the_first() -> None:
    mode = Mode("degraded", "overload", "node", NOW, "d1", ERROR_ID, 5)
    assert [event["type"] for event in drafts(mode, "read_only")] == [
        "system_recovered",
        "mode_changed",
        "graceful_degradation",
    ]


def test_the_node_that_measured_it_is_known_to_the_folds() -> None:
    made = ModeDrafts(Room().intake).changed(
        Mode(), "degraded", reason="overload", because="b", by="node", features=[]
    )
    assert fact_of(made[0]) == {"by": "node"}
