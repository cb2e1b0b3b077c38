"""
What was written without an answer: it may be in the log, or may still get there.

Whoever wrote it was told that it failed and has gone on. Should it turn up all the same, nobody
would do what it says, so it is recognized and undone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterator

import orjson

from gateway.domain.errors import Unavailable
from gateway.ports import Draft, Entry

__all__ = ["Doubts", "event_id_of"]

# What has not turned up while so many others became doubtful is forgotten: a lease or a deadline
# ends what comes of it then.
DOUBTS_MAX = 10_000


class Doubts:
    """Knows events by their ids."""

    def __init__(self) -> None:
        self._event_ids: OrderedDict[str, None] = OrderedDict()

    @contextlib.contextmanager
    def about(self, draft: Draft) -> Iterator[None]:
        """Remember ``draft`` if the block, which appends it, ends without an answer."""
        try:
            yield
        except (Unavailable, asyncio.CancelledError):
            self._event_ids[event_id_of(draft.body)] = None
            if len(self._event_ids) > DOUBTS_MAX:
                self._event_ids.popitem(last=False)
            raise

    def settled(self, entry: Entry) -> bool:
        """Tell whether this is one of them; it is none any more."""
        if not self._event_ids:
            return False
        event_id = event_id_of(entry.public)
        return event_id in self._event_ids and self._event_ids.pop(event_id) is None


def event_id_of(event: bytes) -> str:
    """Give the id of an encoded event."""
    event_id: str = orjson.loads(event)["event_id"]
    return event_id
