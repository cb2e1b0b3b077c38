"""Open ends: each failure and degradation is open until its end, and each user's impact is told."""

from __future__ import annotations

import pytest

from gateway.execution.record import open_ends
from gateway.execution.record.open_ends import FAILURES_MAX
from tests.execution.record.story import Story


@pytest.mark.parametrize("end", ["system_recovered", "task_finished"])
def test_a_failure_is_open_until_an_event_ends_it(end: str) -> None:
    story = Story()
    story.failed("t9", error_id="e1")
    story.failed("t9", error_id="e2")
    opened = story.state.failures.get("e1")
    assert opened is not None
    assert (opened.event["error_id"], "task:t9" in opened.topics) == ("e1", True)
    story.of_task(end, "t9", error_id="e1")
    assert [one.error_id for one in story.state.failures] == ["e2"]


def test_over_the_bound_the_oldest_failure_is_dropped() -> None:
    story = Story()
    for number in range(FAILURES_MAX + 1):
        story.failed("t9", error_id=f"e{number}")
    assert len(story.state.failures) == FAILURES_MAX
    assert "e0" not in story.state.failures
    assert "e1" in story.state.failures


def test_failures_are_bounded_by_their_bytes_and_whoever_has_most_loses_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(open_ends, "FAILURES_BYTES", 20_000)
    story = Story()
    story.failed("t9", error_id="ann's", user_id="ann")
    for number in range(20):
        story.failed("t8", error_id=f"m{number}", user_id="mal", message="x" * 4_000)
    kept = [one.error_id for one in story.state.failures]
    assert kept == ["ann's", "m17", "m18", "m19"]
    assert story.state.failures.weight <= 20_000


def test_a_degradation_is_open_until_it_has_recovered() -> None:
    story = Story()
    story.tell("graceful_degradation", "mode", degradation_id="d1")
    assert list(story.state.degradations) == ["d1"]
    story.tell("system_recovered", "mode", degradation_id="d1", error_id=None)
    assert story.state.degradations == {}


def impact(story: Story, user_id: str = "ann") -> tuple[int, int, int, int]:
    told = story.state.impacts.view(user_id, now=story.at)
    return told["failures"], told["recovered"], told["results_kept"], told["results_lost"]


@pytest.mark.parametrize(("end", "recovered"), [("system_recovered", 1), ("task_finished", 0)])
def test_a_failure_counts_once_however_many_attempts_fail(end: str, recovered: int) -> None:
    story = Story()
    story.failed("t9", error_id="e1")
    story.failed("t9", error_id="e1")
    story.of_task(end, "t9", error_id="e1")
    story.of_task(end, "t9", error_id="e1")
    assert impact(story) == (1, recovered, 0, 0)
    assert impact(story, "bob") == (0, 0, 0, 0)


def test_a_failure_that_is_dropped_is_open_no_more() -> None:
    story = Story()
    for number in range(FAILURES_MAX + 1):
        story.failed("t9", error_id=f"e{number}")
    (known,) = story.state.impacts
    assert (known.failures, known.open) == (FAILURES_MAX + 1, FAILURES_MAX)


def test_a_breaker_that_opens_is_a_failure_of_no_user() -> None:
    story = Story()
    story.tell("circuit_breaker_triggered", "breaker/search", error_id="e1", user_id="*")
    assert [one.error_id for one in story.state.failures] == ["e1"]
    assert list(story.state.impacts) == []


def test_what_became_of_a_result_is_noted_at_the_end() -> None:
    story = Story()
    for task_id, outcome in (("t1", "succeeded"), ("t2", "succeeded"), ("t3", "failed")):
        story.submitted(task_id)
        story.started(task_id)
        if task_id != "t1":
            story.failed(task_id, error_id=f"of {task_id}")
        story.finished(task_id, outcome=outcome, error_id=f"of {task_id}")
    story.submitted("t4")
    story.started("t4")
    story.produced("t4", "a part of it")
    story.finished("t4", outcome="dead_lettered", reason="max_attempts")
    story.submitted("t5")
    story.finished("t5", outcome="cancelled")
    assert impact(story) == (2, 0, 2, 1)
