"""The drafts of audit records."""

from __future__ import annotations

import orjson

from tests.execution.record.room import Room, body_of


def test_an_action_names_what_it_was_done_to_and_its_caller_for_operators_only() -> None:
    draft = Room().audit_drafts.taken("task.cancel", by="olga", target="t1", task_id="t1")
    event = body_of(draft)
    assert draft.operators_only
    assert (event["action"], event["target"], event["task_id"]) == ("task.cancel", "t1", "t1")
    assert (event["user_id"], event["message"]) == (None, "task.cancel t1")
    assert orjson.loads(draft.detail or b"") == {"by": "olga"}


def test_a_worker_is_no_task_and_an_action_may_have_no_target() -> None:
    drafts = Room().audit_drafts
    worker = body_of(drafts.taken("agent.shutdown", by="olga", target="w1", task_id=None))
    assert (worker["target"], worker["task_id"]) == ("w1", None)
    mode = body_of(drafts.taken("mode.set", by="olga", target=None, task_id=None))
    assert (mode["target"], mode["message"]) == (None, "mode.set")


def test_refused_sign_ins_are_told_with_their_reason_and_number() -> None:
    event = body_of(Room().audit_drafts.sign_in_refused("it is no JWT", 7))
    assert (event["action"], event["reason"], event["count"]) == (
        "sign_in_refused",
        "it is no JWT",
        7,
    )
    assert event["severity"] == "warning"
