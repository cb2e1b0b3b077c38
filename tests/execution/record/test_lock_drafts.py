"""What the log is told of locks: bookkeeping while one is held, a warning when it ran out."""

from __future__ import annotations

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


def test_a_held_lock_is_bookkeeping_and_ends_by_the_logs_time() -> None:
    draft = LockDrafts(Room().intake).changed(LOCK, "held", 9.0)
    event = orjson.loads(draft.body)
    assert (draft.subject, draft.operators_only) == ("lock/file:1", True)
    assert (event["state"], event["term"], event["expires_at"] is None) == ("held", 3, False)
    assert draft.state is not None
    assert orjson.loads(draft.state) == {"v": 1, "owner": "ann", "ttl": 9.0}


def test_a_released_lock_has_no_end_any_more() -> None:
    event = orjson.loads(LockDrafts(Room().intake).changed(LOCK, "released", None).body)
    assert (event["state"], event["expires_at"]) == ("released", None)


def test_a_lock_that_ran_out_is_told_to_its_owner() -> None:
    draft = LockDrafts(Room().intake).expired(LOCK)
    assert not draft.operators_only
    assert "recipient:ann" in draft.topics
    assert orjson.loads(draft.body)["severity"] == "warning"
