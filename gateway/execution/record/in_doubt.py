"""
In doubt: events that were appended without an answer. They may be in the log, or still get there.

An append has three ends: the event is in the log, it is not, or nothing is known. In the third
case the writer has been told that the append failed. The ids of its events are remembered here,
and an event that turns up is recognized (decision 13):

- One of several *tries* of the same event: it has landed, and no other try is made. Each try
  expects the last offset of its subject, so the log cannot take two of them.
- A *beginning*, of an attempt or of a task for one process: its writer has gone on and would not
  do the work, so the beginning has to be undone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import orjson

from gateway.attempts.tries import Tries
from gateway.domain.errors import Unavailable
from gateway.ports import Draft

__all__ = ["InDoubt"]

# At the bound the oldest ids are dropped; a lease or a deadline then ends what comes of them.
IN_DOUBT_MAX = 10_000


class InDoubt:
    """Remembers events by their ids until the log shows them."""

    def __init__(self) -> None:
        # Event id → its tries; None: it is a beginning.
        self._waiting: OrderedDict[str, Tries | None] = OrderedDict()

    @contextlib.contextmanager
    def trying(self, drafts: Sequence[Draft], tries: Tries | None) -> Iterator[None]:
        """
        Recognize ``drafts`` while the block appends them, and later on if it gets no answer.

        No answer is an ``Unavailable`` or a cancellation; any other error is an answer.

        Args:
            tries: Marked as landed when the log shows one of the drafts; None: the writer does
                not try again, and nothing is remembered.
        """
        if tries is None:
            yield
            return
        event_ids = [_event_id_of(draft) for draft in drafts]
        for event_id in event_ids:
            self._remember(event_id, tries)
        try:
            yield
        except (Unavailable, asyncio.CancelledError):
            raise
        except BaseException:
            self._drop(event_ids)
            raise
        self._drop(event_ids)

    @contextlib.contextmanager
    def beginning(self, draft: Draft) -> Iterator[None]:
        """Remember ``draft`` as a beginning if the block that appends it gets no answer."""
        try:
            yield
        except (Unavailable, asyncio.CancelledError):
            self._remember(_event_id_of(draft), None)
            raise

    def seen(self, event_id: str) -> bool:
        """
        Take note that the log shows an event.

        Returns:
            Whether the event is a beginning that has to be undone.
        """
        if event_id not in self._waiting:
            return False
        tries = self._waiting.pop(event_id)
        if tries is None:
            return True
        tries.landed = True
        return False

    def _remember(self, event_id: str, tries: Tries | None) -> None:
        self._waiting[event_id] = tries
        if len(self._waiting) > IN_DOUBT_MAX:
            self._waiting.popitem(last=False)

    def _drop(self, event_ids: Sequence[str]) -> None:
        for event_id in event_ids:
            self._waiting.pop(event_id, None)


def _event_id_of(draft: Draft) -> str:
    event_id: str = orjson.loads(draft.body)["event_id"]
    return event_id
