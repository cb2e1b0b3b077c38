"""
Threads: notifications that answer each other, as a fold over the log.

A thread is its first notification, the root, and all that answer it, directly or not, in the order
of the log. Who answers names a notification that is there already, so that no circle can come to
be. A notification that is forgotten here can still be read from the log, and not be answered.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from gateway.domain.access import Caller
from gateway.domain.shares import Shares

__all__ = ["KNOWN_MAX", "THREAD_MAX", "Note", "Threads", "may_see"]

# Notifications that can be answered: the newest. Older ones are forgotten, those of a user that
# has sent more than its share first.
KNOWN_MAX = 10_000
# Notifications of one thread, the root included; at the bound a new thread has to begin. Nodes
# that take answers at the same moment may pass it by as many.
THREAD_MAX = 200


class Note(NamedTuple):
    """
    One notification, as far as threads need it; a tuple, since each notification makes one.

    Attributes:
        offset: Where it is in the log.
        root: The event_id of the first of its thread.
        parent: The event_id that it answers; None: it is a root.
        topics: Whom it is delivered to.
        sender: The user that has published it; None: that was not noted.
    """

    event_id: str
    offset: int
    root: str
    parent: str | None
    topics: tuple[str, ...]
    sender: str | None


class Threads:
    """The notifications that are known, by thread."""

    def __init__(self) -> None:
        self._notes: dict[str, Note] = {}
        self._shares: Shares[Note] = Shares()
        # Of threads with an answer, by their root; most notifications are never answered.
        self._by_root: dict[str, list[Note]] = {}

    def __iter__(self) -> Iterator[Note]:
        return iter(self._notes.values())

    def of_id(self, event_id: str) -> Note | None:
        """Give a notification; None: it is not known, or not any more."""
        return self._notes.get(event_id)

    def size(self, note: Note) -> int:
        """Tell how many notifications the thread of ``note`` has."""
        return len(self._by_root.get(note.root, (note,)))

    def told(self, event: Mapping[str, Any], topics: tuple[str, ...], *, offset: int) -> None:
        """Fold a ``notification``."""
        event_id, parent = event["event_id"], event.get("parent_event_id")
        answered = None if parent is None else self._notes.get(parent)
        root = event_id if answered is None else answered.root
        sender = event.get("sender")
        if sender is not None:
            sender = sys.intern(sender)  # a few users send many
        self.adopt(Note(event_id, offset, root, parent, topics, sender))

    def adopt(self, note: Note) -> None:
        """Add the next notification, as ``told`` or a snapshot has it."""
        if note.event_id in self._notes:
            return
        self._notes[note.event_id] = note
        self._shares.add(note.event_id, note, owner=note.sender or "")
        if note.parent is not None:
            thread = self._by_root.get(note.root)
            if thread is None:
                root = self._notes.get(note.root)
                thread = self._by_root[note.root] = [] if root in (None, note) else [root]
            thread.append(note)
        if len(self._shares) > KNOWN_MAX:
            oldest = self._shares.pop()
            del self._notes[oldest.event_id]
            rest = self._by_root.get(oldest.root)
            if rest is not None:
                rest.remove(oldest)
                if not rest:
                    del self._by_root[oldest.root]

    def below(self, event_id: str) -> list[Note] | None:
        """
        Give a notification and all that answer it, directly or not, in order.

        None: it is not known, or not any more.
        """
        first = self._notes.get(event_id)
        if first is None:
            return None
        within, found = {event_id}, []
        for note in self._by_root.get(first.root, (first,)):
            if note.event_id == event_id or note.parent in within:
                within.add(note.event_id)
                found.append(note)
        return found


def may_see(caller: Caller, note: Note, *, owner_of: Callable[[str], str | None]) -> bool:
    """
    Tell whether a caller may see a notification: one that it sent, or that is delivered to it.

    Args:
        owner_of: Gives the user that a topic belongs to by more than its name.
    """
    if note.sender == caller.user_id:
        return True
    return any(caller.may_follow(topic, owner=owner_of(topic)) for topic in note.topics)
