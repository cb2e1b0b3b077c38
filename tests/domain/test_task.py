"""A task is a fold over its entries: what each one changes, and that an end is final."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import event_schemas
from gateway.domain import task as tasks
from gateway.domain.facts import Submitted, Unread, from_json
from gateway.domain.task import ENDED, LIVE, Task

NOW = 1_800_000_000.0


def new(**event: Any) -> Task:
    given = {
        "event_id": "t1-submitted",
        "task_id": "t1",
        "user_id": "ann",
        "agent_name": "search",
        "priority": 5,
        "timeout": 300.0,
        "max_attempts": 3,
        **event,
    }
    return tasks.submitted(given, Submitted(input={"q": 1}), at=NOW, offset=7, bytes_max=1000)


class Story:
    """Tell a task what happened, a second apart."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.at = NOW
        self.offset = task.sequence

    def tell(self, type: str, state: dict[str, Any] | None = None, **fields: Any) -> Story:
        self.at += 1
        self.offset += 1
        event = {**event_schemas.example(type), "error_id": "e1", **fields}
        fact = from_json(type, state or {}, Unread().note)
        tasks.apply(self.task, event, fact, at=self.at, offset=self.offset)
        return self

    def started(self, attempt: int = 1, **fields: Any) -> Story:
        state = {"term": attempt, "holder": f"w{attempt}", "breaker": "b", "generation": 2}
        event = {"agent_name": "search", "mode": "primary", "served_by": None, **fields}
        return self.tell("task_started", state, attempt=attempt, **event)

    def failed(self, **fields: Any) -> Story:
        return self.tell("agent_error", **fields)


def story(**event: Any) -> Story:
    return Story(new(**event))


def test_a_task_begins_as_it_was_submitted() -> None:
    task = new(correlation_id="c", capability="x")
    assert (task.status, task.attempt, task.term, task.live) == ("pending", 0, 0, True)
    assert (task.input, task.correlation_id, task.capability) == ({"q": 1}, "c", "x")
    assert (task.deadline_at, task.sequence, task.last_offset) == (NOW + 300, 7, 7)
    assert task.tries_left == 3


def test_an_attempt_has_a_term_and_a_holder() -> None:
    task = story().started().task
    assert (task.status, task.attempt, task.term, task.holder) == ("running", 1, 1, "w1")
    assert (task.breaker, task.generation, task.tries_left) == ("b", 2, 2)
    assert task.attempts[0].as_dict()["ended_at"] is None


@pytest.mark.parametrize(
    ("type", "fields", "moved"),
    [
        ("task_progress", {"progress": 0.1, "step": None}, True),
        ("task_progress", {"progress": 0.0, "step": "a"}, False),
        ("task_progress", {"progress": None, "step": "a"}, False),
        ("partial_result", {}, True),
    ],
)
def test_an_attempt_moves_when_something_comes_of_it(
    type: str, fields: dict[str, Any], moved: bool
) -> None:
    told = story().started()
    told.tell(type, **fields)
    assert told.task.attempts[-1].moved is moved
    # To say the same once more is no progress in the next attempt.
    told.failed().started(attempt=2).tell("task_progress", progress=0.1, step="a")
    again = told.task.attempts[-1]
    assert again.moved is (fields.get("progress") != 0.1 and type == "task_progress")


def test_a_task_that_was_taken_from_its_holder_knows_from_whom_and_why() -> None:
    told = story().started()
    told.tell("lease_changed", {"taken": "quarantined"}, action="released", expires_at=None)
    task = told.task
    assert (task.status, task.holder, task.tries_left) == ("pending", None, 3)
    assert (task.lost_holder, task.lost_why) == ("w1", "quarantined")
    told.started(attempt=2)
    assert (task.lost_holder, task.lost_why) == (None, None)
    told.tell("lease_changed", action="released", expires_at=None)
    assert (task.lost_holder, task.lost_why) == (None, None)


def test_progress_changes_only_what_it_names() -> None:
    told = story().started()
    told.tell("task_progress", {"plan": ["a", "b"]}, progress=0.2, step="a")
    told.tell("task_progress", progress=None, step="b")
    told.tell("task_progress", progress=0.4, step=None)
    assert (told.task.progress, told.task.step, told.task.plan) == (0.4, "b", ("a", "b"))


def test_pieces_are_kept_and_counted() -> None:
    told = story().started()
    for number, fields in enumerate(({"text": "ab"}, {"text": "c"}), 1):
        event = {"type": "partial_result", "piece": number, **fields}
        tasks.apply(told.task, event, None, at=NOW, offset=9)
    event = {"type": "partial_result", "piece": 3, "step": "a", "data": [1], "progress": 0.5}
    tasks.apply(told.task, event, None, at=NOW, offset=10)
    assert (told.task.preserved.text, told.task.preserved.steps) == ("abc", {"a": [1]})
    assert (told.task.preserved.pieces, told.task.progress) == (3, 0.5)


def test_what_was_on_its_way_is_kept_when_it_is_told_as_preserved() -> None:
    told = story().started()
    rest = {"steps": {"a": 1}, "text": "x", "progress": 0.7, "plan": ["a", "b"]}
    told.tell("partial_result_preserved", rest)
    assert (told.task.preserved.steps, told.task.preserved.text) == ({"a": 1}, "x")
    assert (told.task.progress, told.task.plan) == (0.7, ("a", "b"))


def test_a_failure_opens_once_and_is_one_until_it_ends() -> None:
    told = story().started().failed(error_id="e1")
    task = told.task
    assert (task.status, task.holder, task.error_id, task.failed_at) == (
        "waiting",
        None,
        "e1",
        NOW + 2,
    )
    told.tell("recovery_attempt", attempt_number=1, backoff_delay=4.0, strategy="x")
    assert (task.recoveries, task.next_attempt_at, task.next_mode) == (1, NOW + 3 + 4, "primary")
    told.started(2).failed(error_id="e1", error_code="llm_overloaded")
    assert task.failed_at == NOW + 2
    assert [a.error and a.error["error_code"] for a in task.attempts] == [
        event_schemas.example("agent_error")["error_code"],
        "llm_overloaded",
    ]
    told.tell("recovery_attempt", attempt_number=2, backoff_delay=0, strategy="fallback")
    assert task.next_mode == "fallback"
    told.started(3, mode="fallback", served_by="stand_in")
    assert (task.tries_left, task.next_attempt_at) == (1, None)
    told.tell("system_recovered", scope="task")
    assert [task.error_id, task.failed_at, task.recoveries] == [None, None, 0]


def test_asked_to_retry_it_is_due_at_once() -> None:
    told = story().started().failed()
    told.tell("recovery_attempt", attempt_number=1, backoff_delay=99, strategy="x")
    told.tell("task_progress", {"retry_now": True}, progress=None, step=None)
    assert told.task.next_attempt_at == told.at


@pytest.mark.parametrize("outcome", sorted(ENDED))
def test_an_end_is_final(outcome: str) -> None:
    """Whatever is appended after it changes nothing but the offset."""
    told = story().started()
    told.tell(
        "task_finished", outcome=outcome, result="r", degraded=False, served_by="s", event_id="f"
    )
    task = told.task
    assert (task.status, task.live, task.holder) == (outcome, False, None)
    assert (task.finished_at, task.finished_event_id) == (told.at, "f")
    assert task.attempts[0].ended_at == told.at
    assert task.progress == (1.0 if outcome == "succeeded" else None)
    before = tasks.view(task)
    told.started(9).failed().tell("task_progress").tell("system_recovered")
    told.tell("task_finished", outcome="failed").tell("partial_result_preserved", {"text": "x"})
    assert tasks.view(task) == before
    assert task.last_offset == told.offset
    assert not task.preserved


@given(st.lists(st.sampled_from(sorted(tasks._FOLDS)), max_size=30), st.data())
def test_in_any_order_a_task_stays_one(types: list[str], data: st.DataObject) -> None:
    """A fold never raises, ends once, and can always be shown."""
    told = story()
    ended = None
    attempt = 0
    for type in types:
        if type == "task_started":
            attempt += 1
            told.started(attempt)
        elif type == "task_finished":
            told.tell(type, outcome=data.draw(st.sampled_from(sorted(ENDED))))
            ended = ended or told.task.status
        elif type != "partial_result":
            told.tell(type, strategy="fallback" if attempt % 2 else "exponential_backoff")
        assert told.task.status in LIVE | ENDED
        assert told.task.status == (ended or told.task.status)
        assert told.task.live == (ended is None)
        assert told.task.tries_left >= 0
        shown = tasks.view(told.task)
        assert (shown["lease"] is None) == (told.task.holder is None)
        assert ("result" in shown) == (told.task.status == "succeeded")


def test_a_task_is_shown_as_the_contract_says() -> None:
    told = story().started()
    told.task.lease_expires_at = NOW + 60
    shown = tasks.view(told.task)
    assert shown["lease"] == {"agent_id": "w1", "term": 1, "expires_at": "2027-01-15T08:01:00.000Z"}
    assert shown["created_at"] == "2027-01-15T08:00:00.000Z"
    assert "error" not in shown
    told.failed()
    assert tasks.view(told.task)["error"]["error_id"] == "e1"
    assert tasks.subject_of("t1") == "task/t1"


def test_a_numbered_update_is_known_part_by_part_until_the_next_attempt() -> None:
    told = story().started()
    assert not told.task.has(1, 1)
    told.tell("task_progress", {"piece": 1})
    assert told.task.has(1, 1)
    assert not told.task.has(1, 2)
    told.tell("partial_result", {"piece": 1, "part": 2}, piece=1)
    assert told.task.has(1, 2)
    assert not told.task.has(2, 1)
    told.tell("partial_result", piece=2)
    assert not told.task.has(2, 1), "what was not numbered stands beside"
    told.tell("partial_result", {"piece": 9}, piece=3)
    assert told.task.has(8, 3)
    told.failed().started(2)
    assert not told.task.has(1, 1)
