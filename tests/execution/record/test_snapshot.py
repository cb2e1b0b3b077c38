"""The folds written down and read again: nothing is lost, and nothing else is read."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from gateway.domain.settings import Settings
from gateway.execution.record.snapshot import encode, restore
from gateway.execution.record.state import RECOVERIES_KEPT, State
from tests.written_before import SETTINGS, entries


def folded() -> State:
    """Folds in which every collection holds something."""
    state = State(SETTINGS)
    for entry in entries():
        state.apply(entry, orjson.loads(entry.public))
    state.degradations["d1"] = {"degradation_id": "d1", "mode": "reduced"}
    state.failures["f1"] = ({"type": "agent_error", "error_id": "f1"}, frozenset({"user:ann"}))
    return state


def known(state: State) -> Any:
    """What a state would be written down as; an integer may be read as the same float."""
    return json.loads(encode(state))


def restored(body: bytes, settings: Settings = SETTINGS) -> State:
    state = State(settings)
    restore(state, body)
    return state


def test_nothing_that_the_folds_know_is_lost() -> None:
    before = folded()
    after = restored(encode(before))
    assert known(after) == known(before)
    for name in ("tasks", "live", "breakers", "workers", "failures", "degradations"):
        assert list(getattr(after, name)) == list(getattr(before, name)), name
    for name in ("keys", "recoveries", "preserving"):
        assert list(getattr(after, name)) == list(getattr(before, name)), name
    assert after.failures == before.failures
    assert (after.running, after.queue_depth) == (before.running, before.queue_depth)
    assert (after._bytes_all, after._bytes_by_user) == (before._bytes_all, before._bytes_by_user)
    assert before.tasks
    assert before.workers
    assert before.breakers


def test_a_task_that_has_ended_is_one_task_in_every_collection() -> None:
    after = restored(encode(folded()))
    assert after.finished
    assert all(after.tasks[task.task_id] is task for task in after.finished)
    assert all(after.tasks[id] is task for id, task in after.preserving.items())


def test_empty_folds_are_a_snapshot_too() -> None:
    assert encode(restored(encode(State(SETTINGS)))) == encode(State(SETTINGS))


def test_breakers_go_by_the_settings_of_now() -> None:
    after = restored(encode(folded()), Settings(breaker_threshold=77))
    assert {breaker.rules.threshold for breaker in after.breakers.values()} == {77}


def test_recovery_times_keep_their_bound() -> None:
    before = State(SETTINGS)
    saved = json.loads(encode(before))
    saved["recoveries"] = [["search", "timeout", [1.0] * (RECOVERIES_KEPT + 5)]]
    after = restored(json.dumps(saved).encode())
    assert len(after.recoveries["search", "timeout"]) == RECOVERIES_KEPT


def test_a_field_that_an_earlier_version_did_not_have_gets_its_default() -> None:
    saved = json.loads(encode(folded()))
    for task in saved["tasks"]:
        del task["reserved_for"], task["recoveries"]
    after = restored(json.dumps(saved).encode())
    assert {(task.reserved_for, task.recoveries) for task in after.tasks.values()} == {(None, 0)}


def test_a_field_that_a_later_version_has_added_is_passed_over() -> None:
    saved = json.loads(encode(folded()))
    saved["colour"] = "red"
    saved["tasks"][0]["colour"] = "red"
    assert known(restored(json.dumps(saved).encode())) == known(folded())


def without_breakers(saved: dict[str, Any]) -> None:
    del saved["breakers"]


def with_a_broken_task(saved: dict[str, Any]) -> None:
    saved["tasks"][-1]["term"] = "first"


@pytest.mark.parametrize("damage", [without_breakers, with_a_broken_task])
def test_a_damaged_snapshot_is_refused_and_the_folds_stay_empty(damage: Any) -> None:
    saved = json.loads(encode(folded()))
    damage(saved)
    state = State(SETTINGS)
    with pytest.raises(ValueError, match=r"."):
        restore(state, json.dumps(saved).encode())
    assert encode(state) == encode(State(SETTINGS))
