"""Threads: who answers what, in the order of the log, as far back as it is remembered."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain import thread as thread_module
from gateway.domain.access import Caller
from gateway.domain.thread import Note, Threads, may_see


def told(threads: Threads, *notes: tuple[str, str | None]) -> Threads:
    """Tell of notifications by id and parent, each an offset further."""
    for event_id, parent in notes:
        event: dict[str, Any] = {"event_id": event_id, "parent_event_id": parent, "sender": "ann"}
        threads.told(event, ("channel:news",), offset=len(list(threads)) + 1)
    return threads


def ids(threads: Threads, event_id: str) -> list[str] | None:
    below = threads.below(event_id)
    return None if below is None else [note.event_id for note in below]


STORY = (("a", None), ("b", "a"), ("x", None), ("c", "b"), ("y", "x"), ("d", "a"), ("e", "c"))


def test_a_thread_is_its_root_and_its_replies_in_order() -> None:
    threads = told(Threads(), *STORY)
    assert ids(threads, "a") == ["a", "b", "c", "d", "e"]
    assert ids(threads, "b") == ["b", "c", "e"]
    assert ids(threads, "e") == ["e"]
    assert ids(threads, "x") == ["x", "y"]
    assert ids(threads, "nothing") is None
    note = threads.of_id("e")
    assert note is not None
    assert (note.root, note.parent, threads.size(note)) == ("a", "c", 5)


def test_what_answers_the_unknown_begins_a_thread() -> None:
    assert ids(told(Threads(), ("b", "gone")), "b") == ["b"]


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_module, "KNOWN_MAX", 3)
    threads = told(Threads(), *STORY[:5])
    assert [note.event_id for note in threads] == ["x", "c", "y"]
    assert ids(threads, "a") is None
    assert ids(threads, "c") == ["c"]
    note = threads.of_id("c")
    assert note is not None
    assert threads.size(note) == 1


def test_who_sends_without_end_makes_nobody_elses_threads_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(thread_module, "KNOWN_MAX", 8)
    threads = told(Threads(), ("a", None), ("b", "a"))
    for number in range(50):
        event = {"event_id": f"m{number}", "sender": "mal"}
        threads.told(event, ("recipient:mal",), offset=number)
    assert len(list(threads)) == 8
    assert ids(threads, "a") == ["a", "b"]


def test_a_snapshot_has_the_same_threads() -> None:
    before, after = told(Threads(), *STORY), Threads()
    for note in before:
        after.adopt(note)
    assert ids(after, "a") == ids(before, "a")


@pytest.mark.parametrize(
    ("caller", "seen"),
    [
        (Caller("ann", frozenset()), True),  # its sender
        (Caller("bob", frozenset({"events:read"})), True),  # its recipient
        (Caller("bob", frozenset({"events:write"})), False),
        (Caller("cy", frozenset({"events:read"})), False),
        (Caller("cy", frozenset({"events:read:all"})), True),
        (Caller("dan", frozenset({"events:read"})), True),  # has registered the worker w1
    ],
)
def test_a_notification_is_for_its_sender_and_its_addressees(caller: Caller, seen: bool) -> None:
    note = Note("a", 1, "a", None, ("recipient:bob", "recipient:w1"), "ann")
    assert may_see(caller, note, owner_of={"recipient:w1": "dan"}.get) is seen


@pytest.mark.parametrize(
    ("scope", "channels", "seen"),
    [
        ("events:read:all", None, True),
        ("events:read:all", frozenset({"c"}), True),
        ("events:read:all", frozenset({"d"}), False),
        ("events:read", frozenset({"d"}), False),
        ("admin", frozenset({"d"}), True),
    ],
)
def test_a_token_that_names_its_channels_sees_nothing_of_others(
    scope: str, channels: frozenset[str] | None, seen: bool
) -> None:
    note = Note("a", 1, "a", None, ("channel:c",), "ann")
    caller = Caller("cy", frozenset({scope}), channels=channels)
    assert may_see(caller, note, owner_of=lambda topic: None) is seen
