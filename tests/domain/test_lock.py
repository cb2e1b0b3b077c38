"""Locks as a fold: terms grow, ends are final, and what is forgotten leaves a floor."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain import lock as lock_module
from gateway.domain.facts import Locked
from gateway.domain.lock import Locks, view

NOW = 1_800_000_000.0


class Story:
    """Tell the fold what happened, a second apart."""

    def __init__(self) -> None:
        self.locks = Locks()
        self.at, self.offset = NOW, 0

    def tell(
        self,
        state: str,
        key: str = "k",
        *,
        holder: str = "a",
        ttl: float | None = 10.0,
        task_id: str | None = None,
    ) -> Story:
        self.at += 1
        self.offset += 1
        known = self.locks.by_key.get(key)
        again = known is not None and known.state == "held" and known.holder == holder
        term = known.term if known is not None and again else self.locks.next_term(key)
        if state != "held":
            assert known is not None
            term = known.term
        event = {
            "resource_key": key,
            "holder": holder,
            "state": state,
            "term": term,
            "lock_id": f"{key}-{term}",
        }
        if state == "expired":
            self.locks.expired(event, offset=self.offset)
        else:
            owner = f"owner of {holder}"
            fact = Locked(owner=owner, ttl=ttl if state == "held" else None, task_id=task_id)
            self.locks.changed(event, fact, at=self.at, offset=self.offset)
        return self


def test_a_lock_is_held_until_its_time_by_the_logs_time() -> None:
    lock = Story().tell("held").locks.by_key["k"]
    assert lock.expires_at == NOW + 11
    assert lock.held(NOW + 10.999)
    assert not lock.held(NOW + 11)


def test_a_renewal_moves_the_end_and_nothing_else() -> None:
    story = Story().tell("held")
    lock = story.locks.by_key["k"]
    story.tell("held", ttl=100.0)
    assert story.locks.by_key["k"] is lock
    assert (lock.term, lock.expires_at, lock.last_offset) == (1, NOW + 102, 2)
    assert story.locks.count == 1


@pytest.mark.parametrize("end", ["released", "expired"])
def test_an_end_is_final_and_the_next_holder_has_the_next_term(end: str) -> None:
    story = Story().tell("held").tell(end)
    lock = story.locks.of_id("k-1")
    assert lock is not None
    assert (lock.state, lock.held(NOW), story.locks.count) == (end, False, 0)
    story.tell("held", holder="b")
    assert story.locks.by_key["k"].term == 2
    assert story.locks.of_id("k-1") is None


def test_a_late_end_of_an_earlier_lock_changes_nothing() -> None:
    story = Story().tell("held").tell("released").tell("held", holder="b")
    event = {"resource_key": "k", "lock_id": "k-1", "state": "expired"}
    story.locks.expired(event, offset=9)
    assert story.locks.by_key["k"].state == "held"


def test_a_holders_name_belongs_to_its_owner_while_it_holds_anything() -> None:
    story = Story().tell("held").tell("held", "other").tell("released")
    assert story.locks.owner_of("a") == "owner of a"
    story.tell("expired", "other")
    assert story.locks.owner_of("a") is None


def test_terms_still_grow_when_a_lock_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "ENDED_MAX", 2)
    story = Story()
    for _ in range(3):
        story.tell("held").tell("released")
    for key in ("x", "y"):
        story.tell("held", key).tell("released", key)
    assert "k" not in story.locks.by_key
    assert story.locks.next_term("k") == 4
    assert len(story.locks.by_key) == 2


def test_a_tasks_locks_are_held_until_they_are_given_back_in_the_order_of_their_taking() -> None:
    story = Story().tell("held", "z", ttl=None, task_id="t").tell("held", "y", task_id="t")
    story.tell("held", "x")
    assert [lock.resource_key for lock in story.locks.of_task("t")] == ["z", "y"]
    assert story.locks.by_key["z"].held(NOW + 1e9)
    story.tell("released", "z", task_id="t")
    assert [lock.resource_key for lock in story.locks.of_task("t")] == ["y"]
    story.tell("expired", "y")
    assert story.locks.of_task("t") == []


def test_a_lock_that_its_holder_had_becomes_a_tasks() -> None:
    story = Story().tell("held")
    lock = story.locks.by_key["k"]
    story.tell("held", ttl=None, task_id="t")
    assert story.locks.of_task("t") == [lock]
    assert (lock.term, lock.expires_at, lock.task_id) == (1, None, "t")
    assert (story.locks.count, story.locks.owner_of("a")) == (1, "owner of a")


def test_a_lock_stands_on_the_wire_as_its_shape_says() -> None:
    from gateway.protocol.lock_operations import LOCK

    shown: dict[str, Any] = view(Story().tell("held").locks.by_key["k"])
    assert set(LOCK["required"]) == set(shown)
