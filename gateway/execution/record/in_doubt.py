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

from collections import OrderedDict
from collections.abc import Sequence

import orjson

from gateway.attempts.tries import Tries
from gateway.ports import Draft

__all__ = ["InDoubt"]

# At the bound the oldest ids are dropped; a lease or a deadline then ends what comes of them.
IN_DOUBT_MAX = 10_000


class InDoubt:
    """Remembers events by their ids until the log shows them."""

    def __init__(self) -> None:
        # Event id → its tries; None: it is a beginning.
        self._waiting: OrderedDict[str, Tries | None] = OrderedDict()

    def trying(self, drafts: Sequence[Draft], tries: Tries) -> None:
        """Look out for ``drafts``, which are about to be appended as one try."""
        for draft in drafts:
            event_id = _event_id_of(draft)
            tries.event_ids.append(event_id)
            self._remember(event_id, tries)

    def taken(self, tries: Tries) -> None:
        """The newest try is in the log: the earlier ones are not, and cannot get there any more."""
        for event_id in tries.event_ids:
            self._waiting.pop(event_id, None)
        tries.event_ids.clear()

    def beginning(self, draft: Draft) -> None:
        """Remember a beginning that got no answer."""
        self._remember(_event_id_of(draft), None)

    def __bool__(self) -> bool:
        """Whether there is anything to look out for."""
        return bool(self._waiting)

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


def _event_id_of(draft: Draft) -> str:
    event_id: str = orjson.loads(draft.body)["event_id"]
    return event_id
