"""The drafts about waits: every reason in words, with its end, and what ends a silence."""

from __future__ import annotations

import pytest

from event_schemas import validator
from gateway.domain.timestamps import rfc3339
from gateway.execution.record.task_drafts import TaskDrafts
from gateway.execution.record.waiting_drafts import WORDS, Wait, WaitingDrafts
from tests.execution.record.room import NOW, Room, body_of


@pytest.mark.parametrize("left_s", [None, 0.0, 29.64, 300.0])
@pytest.mark.parametrize("waits_for", WORDS)
async def test_a_wait_is_told_in_words_and_its_end_as_a_time(
    waits_for: str, left_s: float | None
) -> None:
    room = Room()
    task = await room.task("search", user_id="ann")
    until = None if left_s is None else NOW + left_s
    drafts = WaitingDrafts(TaskDrafts(room.intake, room.state))
    draft = drafts.waiting(task, Wait(waits_for, "that-one", until), similar=[])
    event = body_of(draft)
    assert not validator("task_waiting", stamped=False).violations(event)
    assert (event["waits_for"], event["name"], event["user_id"]) == (waits_for, "that-one", "ann")
    assert event["until"] == (None if until is None else rfc3339(until))
    assert "similar" not in event
    timed = WORDS[waits_for][1] != "" and until is not None
    assert event["message"].endswith(f" {event['until']}") is timed


async def test_the_schema_knows_every_reason_and_no_other() -> None:
    room = Room()
    task = await room.task("search")
    drafts = WaitingDrafts(TaskDrafts(room.intake, room.state))
    similar = ["searcher", "research"]
    event = body_of(drafts.waiting(task, Wait("worker", "search", None), similar=similar))
    assert event["similar"] == similar
    check = validator("task_waiting", stamped=False)
    assert [v.field for v in check.violations({**event, "waits_for": "luck"})] == ["waits_for"]


async def test_a_worker_that_is_heard_again_is_progress_that_changes_nothing() -> None:
    room = Room()
    task = await room.running("search")
    task.progress, task.step = 0.4, "draft"
    drafts = WaitingDrafts(TaskDrafts(room.intake, room.state))
    event = body_of(drafts.heard_again(task))
    assert (event["type"], event["progress"], event["step"]) == ("task_progress", 0.4, "draft")
