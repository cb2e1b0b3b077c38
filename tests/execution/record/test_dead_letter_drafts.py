"""What the log is told of dead letters: bookkeeping, on the subject of the task."""

from __future__ import annotations

import orjson

from gateway.domain.agent import AgentPolicy
from gateway.domain.dead_letter import of_task
from gateway.domain.own_failures import no_worker
from gateway.domain.recovery import Next
from gateway.execution.record.dead_letter_drafts import DeadLetterDrafts
from gateway.ports import Draft
from tests.execution.record.room import Room

POLICY = AgentPolicy("search", max_attempts=3)
DEAD = Next("dead_lettered", reason="no_worker")


def event_of(draft: Draft) -> dict[str, object]:
    event: dict[str, object] = orjson.loads(draft.body)
    return event


async def test_a_letter_is_added_on_the_subject_of_its_task_and_for_operators_only() -> None:
    room = Room(POLICY)
    task = await room.task()
    draft = DeadLetterDrafts(room.intake).added(task, "no_worker")
    event = event_of(draft)
    assert (draft.subject, draft.operators_only, draft.state) == (
        f"task/{task.task_id}",
        True,
        None,
    )
    assert (event["action"], event["reason"], event["retried_as"]) == ("added", "no_worker", None)
    assert (event["user_id"], event["agent_name"]) == (None, "search")
    assert draft.detail is None


async def test_what_was_asked_for_names_who_asked_in_the_detail() -> None:
    room = Room(POLICY)
    task = await room.task()
    await room.lifecycle.end(task.task_id, no_worker(), cause="timeout", after=DEAD)
    letter = of_task(task, "no_worker")
    drafts = DeadLetterDrafts(room.intake)
    retried = drafts.retried(letter, by="ops", reason="operator", retried_as="t2")
    assert (event_of(retried)["action"], event_of(retried)["retried_as"]) == ("retried", "t2")
    discarded = drafts.discarded(letter, by="ops", reason="operator")
    assert (event_of(discarded)["action"], event_of(discarded)["retried_as"]) == ("discarded", None)
    for draft in (retried, discarded):
        assert draft.detail is not None
        assert orjson.loads(draft.detail) == {"by": "ops"}
        assert draft.subject == f"task/{task.task_id}"
    assert drafts.discarded(letter, by=None, reason="too_old").detail is None
