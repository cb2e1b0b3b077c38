"""
One event that is to be in the log once, however many tries that takes.

A try that got no answer may be in the log, or may get there while the next is under way. Every
try is based on its subject's last offset, so the log takes no two that know nothing of each
other; and before each the log has shown which of the earlier ones it has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from gateway.domain.task import Task
from gateway.execution.record.in_doubt import event_id_of
from gateway.ports import Draft, Entry, EventLog

__all__ = ["Once", "trying"]

Decide = Callable[[Task], tuple[Sequence[Draft], Mapping[str, int]]]


class Once:
    """The tries of one event; whoever makes them ends it with ``close``."""

    def __init__(self) -> None:
        self._event_ids: set[str] = set()
        self._subjects: set[str] = set()
        self._there = False
        self._unfollow: Callable[[], None] | None = None

    def follow(self, log: EventLog) -> None:
        """Look out for the tries, from the first one on and between them."""
        if self._unfollow is None:
            self._unfollow = log.follow(self._seen)

    def checked(self, decide: Decide) -> Decide:
        """Decide as ``decide`` does, unless there is nothing left to say."""

        def decide_once(task: Task) -> tuple[Sequence[Draft], Mapping[str, int]]:
            if self._there:
                raise _There
            drafts, expected = decide(task)
            self._event_ids.update(event_id_of(draft.body) for draft in drafts)
            self._subjects.update(draft.subject for draft in drafts)
            return drafts, expected

        return decide_once

    def close(self) -> None:
        """No more tries will be made."""
        if self._unfollow is not None:
            self._unfollow()

    def _seen(self, entry: Entry) -> None:
        # Most entries are about something else; those need not be read.
        if entry.subject in self._subjects and event_id_of(entry.public) in self._event_ids:
            self._there = True


@contextlib.contextmanager
def trying(once: Once | None, log: EventLog, decide: Decide) -> Iterator[Decide]:
    """
    Give what one try decides with; the block, which appends that, is left if it is there already.

    Args:
        once: The tries that this is one of; None: it is the only one.
    """
    if once is None:
        yield decide
        return
    once.follow(log)
    with contextlib.suppress(_There):
        yield once.checked(decide)


class _There(Exception):
    """An earlier try is in the log."""
