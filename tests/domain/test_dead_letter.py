"""Dead letters as a fold: what a letter holds, what changes it, and when it is let go of."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain import dead_letter as dead_letter_module
from gateway.domain.attempt import Attempt
from gateway.domain.dead_letter import AGE_MAX_S, DeadLetter, DeadLetters, of_task, view
from gateway.domain.preserved import Preserved
from gateway.domain.task import Task

NOW = 1_800_000_000.0
ERROR = {"error_type": "timeout", "error_code": "llm_timeout", "message": "m", "error_id": "e1"}


def task(**changes: Any) -> Task:
    return Task(
        **{
            "task_id": "t1",
            "user_id": "ann",
            "agent_name": "search",
            "capability": "find",
            "priority": 2,
            "input": {"q": [1, None, "é"]},
            "timeout_s": 9.0,
            "max_attempts": 2,
            "created_at": NOW - 10,
            "sequence": 3,
            "preserved": Preserved(bytes_max=100),
            "correlation_id": "c1",
            "attempt": 2,
            "attempts": [
                Attempt(1, "w1", "primary", NOW - 9, ended_at=NOW - 8, error=ERROR),
                Attempt(2, "w1", "primary", NOW - 7, ended_at=NOW - 6, released=True),
            ],
            "status": "dead_lettered",
            "finished_at": NOW,
            "finished_event_id": "f1",
            "last_offset": 20,
            **changes,
        }
    )


def letter(task_id: str = "t1", *, died_at: float = NOW, size: int = 10) -> DeadLetter:
    made = of_task(task(task_id=task_id, finished_at=died_at), "attempts_exhausted")
    made.size = size
    return made


def moved(letters: DeadLetters, task_id: str, **event: Any) -> None:
    letters.moved(task_id, {"type": "dead_letter_changed", **event}, offset=30)


def kept(*letters: DeadLetter) -> DeadLetters:
    all_of_them = DeadLetters()
    for one in letters:
        all_of_them.add(one)
    return all_of_them


def test_a_letter_holds_the_order_every_error_and_the_end() -> None:
    made = of_task(task(), "attempts_exhausted")
    assert (made.input, made.capability, made.priority) == ({"q": [1, None, "é"]}, "find", 2)
    assert (made.timeout_s, made.max_attempts, made.correlation_id) == (9.0, 2, "c1")
    assert (made.sequence, made.last_offset, made.finished_event_id) == (20, 20, "f1")
    assert view(made) == {
        "task_id": "t1",
        "agent_name": "search",
        "user_id": "ann",
        "input": {"q": [1, None, "é"]},
        "reason": "attempts_exhausted",
        "attempts": 2,
        "errors": [
            {
                "attempt": 1,
                "error_type": "timeout",
                "error_code": "llm_timeout",
                "message": "m",
                "at": "2027-01-15T07:59:52.000Z",
            }
        ],
        "died_at": "2027-01-15T08:00:00.000Z",
    }


def test_a_letter_that_was_retried_names_the_new_task_and_stays() -> None:
    letters = kept(letter())
    moved(letters, "t1", action="retried", retried_as="t2")
    found = letters.get("t1", NOW)
    assert found is not None
    assert (view(found)["retried_as"], found.last_offset) == ("t2", 30)


def test_a_discarded_letter_is_gone_with_its_bytes() -> None:
    letters = kept(letter("t1"), letter("t2", size=7))
    moved(letters, "t1", action="discarded", retried_as=None)
    assert (list(letters.by_task), letters.size) == (["t2"], 7)
    moved(letters, "t1", action="discarded", retried_as=None)
    assert letters.size == 7


def test_other_entries_of_its_task_move_what_a_decision_expects_and_nothing_else() -> None:
    letters = kept(letter())
    before = view(letters.by_task["t1"])
    letters.moved("t1", {"type": "resource_cleanup"}, offset=31)
    letters.moved("t0", {"type": "resource_cleanup"}, offset=32)
    assert letters.by_task["t1"].last_offset == 31
    assert view(letters.by_task["t1"]) == before


def test_a_letter_is_listed_for_seven_days_by_time_alone() -> None:
    letters = kept(letter("old"), letter("new", died_at=NOW + 1))
    last_moment = NOW + AGE_MAX_S - 0.001
    assert letters.get("old", last_moment) is not None
    assert [one.task_id for one in letters.newest_first(last_moment)] == ["new", "old"]
    assert letters.over(last_moment) is None
    end = NOW + AGE_MAX_S
    assert letters.get("old", end) is None
    assert [one.task_id for one in letters.newest_first(end)] == ["new"]
    assert letters.over(end) == (letters.by_task["old"], "too_old")


def test_the_letters_since_a_time_are_the_newest_first() -> None:
    letters = kept(*(letter(f"t{number}", died_at=NOW + number) for number in range(3)))
    assert [one.task_id for one in letters.since(NOW)] == ["t2", "t1"]


def test_over_the_number_that_is_kept_the_oldest_is_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_module, "KEPT_MAX", 2)
    letters = kept(letter("t1"), letter("t2"))
    assert letters.over(NOW) is None
    letters.add(letter("t3"))
    assert letters.over(NOW) == (letters.by_task["t1"], "too_many")


def test_over_the_bytes_that_are_kept_the_oldest_is_to_go_and_the_newest_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dead_letter_module, "KEPT_BYTES_MAX", 20)
    letters = kept(letter("t1"), letter("t2"))
    assert letters.over(NOW) is None
    letters.add(letter("t3", size=21))
    for gone in ("t1", "t2"):
        assert letters.over(NOW) == (letters.by_task[gone], "too_many")
        moved(letters, gone, action="discarded", retried_as=None)
    assert letters.over(NOW) is None


def test_letters_that_are_never_discarded_do_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dead_letter_module, "KEPT_MAX", 2)
    monkeypatch.setattr(dead_letter_module, "UNRECORDED_MAX", 1)
    letters = kept(*(letter(f"t{number}") for number in range(5)))
    assert (list(letters.by_task), letters.size) == (["t2", "t3", "t4"], 30)


def test_without_letters_nothing_is_over_any_bound() -> None:
    letters = DeadLetters()
    assert (letters.over(NOW), letters.get("t1", NOW)) == (None, None)
    assert list(letters.newest_first(NOW)) == []


def test_a_letter_stands_on_the_wire_as_its_shape_says() -> None:
    from gateway.protocol.dead_letter_operations import DEAD_LETTER

    letters = kept(letter())
    assert set(view(letters.by_task["t1"])) == set(DEAD_LETTER["required"])
    moved(letters, "t1", action="retried", retried_as="t2")
    assert set(view(letters.by_task["t1"])) == set(DEAD_LETTER["properties"])
