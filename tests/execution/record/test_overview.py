"""What a subscriber is shown when it comes: its topics, bounded, with the newest of each part."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.domain import breaker as breakers
from gateway.execution.record.overview import (
    PREVIEW_CHARS,
    SNAPSHOT_BYTES_MAX,
    breaker_view,
    overview,
    preview,
)
from tests.execution.record.story import Story


def told(story: Story, *topics: str) -> dict[str, Any]:
    return overview(story.state, topics)


def test_a_subscriber_is_shown_what_its_topics_concern() -> None:
    story = Story()
    story.submitted("t1", user_id="ann")
    story.submitted("t2", user_id="bob")
    story.failed("t1", error_id="e1")
    story.failed("t2", error_id="e2", user_id="bob")
    shown = told(story, "user:ann")
    assert [task["task_id"] for task in shown["tasks"]] == ["t1"]
    assert [event["error_id"] for event in shown["failures"]] == ["e1"]
    assert (shown["mode"], "truncated" in shown) == ("normal", False)
    assert [task["task_id"] for task in told(story, "task:t2")["tasks"]] == ["t2"]
    assert len(told(story, "agent:search")["tasks"]) == 2
    assert len(told(story, "*")["tasks"]) == 2


def test_an_ended_task_is_not_shown() -> None:
    story = Story()
    story.submitted()
    story.finished()
    assert told(story, "*")["tasks"] == []


def test_breakers_that_have_opened_and_degradations_are_shown_to_all() -> None:
    story = Story()
    story.state.breaker("quiet", "agent")
    subject = breakers.subject_of("search")
    story.tell("circuit_breaker_triggered", subject, breaker_version=1, error_id="b1")
    story.tell("graceful_degradation", "mode", degradation_id="d1")
    shown = told(story, "user:zoe")
    assert [breaker["name"] for breaker in shown["breakers"]] == ["search"]
    assert [event["degradation_id"] for event in shown["degradations"]] == ["d1"]


def test_a_snapshot_that_would_be_too_large_leaves_out_the_oldest_and_says_so() -> None:
    story = Story()
    for number in range(400):
        story.submitted(f"t{number}", correlation_id="x" * 1000)
    story.failed("t0")
    shown = told(story, "*")
    assert len(orjson.dumps(shown)) <= SNAPSHOT_BYTES_MAX
    assert shown["truncated"]
    ids = [task["task_id"] for task in shown["tasks"]]
    assert 0 < len(ids) < 400
    assert ids == [f"t{number}" for number in range(400 - len(ids), 400)]
    assert shown["failures"] == []


def test_a_preview_shows_the_end_of_the_text_and_where_the_whole_is() -> None:
    story = Story()
    task = story.submitted()
    assert preview(task) is None
    story.started()
    story.produced("t1", "a" + "b" * PREVIEW_CHARS)
    shown = preview(task)
    assert shown == {
        "steps": [],
        "text_preview": "b" * PREVIEW_CHARS,
        "text_length": PREVIEW_CHARS + 1,
        "piece": 1,
        "url": "/api/tasks/t1/partial",
    }


def test_a_breaker_stands_on_the_wire_with_its_times() -> None:
    story = Story()
    closed = breaker_view(story.state.breaker("search", "agent"))
    assert (closed["state"], closed["opened_at"], closed["probe_at"]) == ("closed", None, None)
    subject = breakers.subject_of("search")
    story.tell("circuit_breaker_triggered", subject, probe_at="2027-01-15T08:00:30.000Z")
    opened = breaker_view(story.state.breakers["search"])
    assert (opened["state"], opened["probe_at"]) == ("open", "2027-01-15T08:00:30.000Z")
