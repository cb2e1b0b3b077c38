"""What the log is told of locks: bookkeeping while one is held, a warning when it ran out."""

from __future__ import annotations

import dataclasses

import orjson

from gateway.domain.lock import Lock
from gateway.execution.record.lock_drafts import LockDrafts
from tests.execution.record.room import NOW, Room

LOCK = Lock(
    resource_key="file:1",
    lock_id="l1",
    holder="a",
    owner="ann",
    term=3,
    task_id=None,
    state="held",
    expires_at=NOW,
    last_offset=7,
)


def drafts() -> LockDrafts:
    room = Room()
    return LockDrafts(room.intake, room.state)


def test_a_held_lock_is_bookkeeping_and_ends_by_the_logs_time() -> None:
    draft = drafts().changed(LOCK, "held", 9.0)
    event = orjson.loads(draft.body)
    assert (draft.subject, draft.operators_only) == ("lock/file:1", True)
    assert (event["state"], event["term"], event["expires_at"] is None) == ("held", 3, False)
    assert draft.state is not None
    assert orjson.loads(draft.state) == {"v": 1, "owner": "ann", "ttl": 9.0}


def test_a_released_lock_has_no_end_any_more() -> None:
    event = orjson.loads(drafts().changed(LOCK, "released", None).body)
    assert (event["state"], event["expires_at"]) == ("released", None)


def test_a_lock_that_ran_out_is_told_to_its_owner() -> None:
    draft = drafts().expired(LOCK)
    assert not draft.operators_only
    assert "recipient:ann" in draft.topics
    assert orjson.loads(draft.body)["severity"] == "warning"


def test_the_locks_of_a_task_are_given_back_together_and_no_other() -> None:
    room = Room()
    for key, task_id in (("a", "t1"), ("b", None), ("c", "t1"), ("d", "t2")):
        room.state.locks.adopt(
            dataclasses.replace(LOCK, resource_key=key, lock_id=f"of-{key}", task_id=task_id)
        )
    made, expected = LockDrafts(room.intake, room.state).let_go("t1")
    events = [orjson.loads(draft.body) for draft in made]
    assert [(event["resource_key"], event["state"]) for event in events] == [
        ("a", "released"),
        ("c", "released"),
    ]
    assert {event["task_id"] for event in events} == {"t1"}
    assert expected == {"lock/a": 7, "lock/c": 7}
