"""
Alerts: what this process has put into the log and somebody is to be told of, outside.

The node that makes an entry sounds the alarm for it, so that of several nodes on one log exactly
one does. It is sounded when the log shows the entry: also one whose append got no answer, and none
that was refused. A process that ends in between sounds none. That the log itself is away is told
before: by each node, since none can know of the others then.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.domain.alerts import TYPES, Seldom, is_alert
from gateway.domain.timestamps import rfc3339
from gateway.ports import Alarm, Draft, Entry

__all__ = ["Alerts"]

# Events that this process is appending, or has appended without an answer; at the bound the oldest
# is forgotten, and sounds no alarm if it turns up.
MAKING_MAX = 10_000


class Alerts:
    """
    Sounds an alarm for what this process makes.

    Args:
        alarm: What is sounded; None: nothing is to be told.
    """

    def __init__(self, alarm: Alarm | None) -> None:
        self._alarm = alarm
        self._making: OrderedDict[str, None] = OrderedDict()
        self._seldom = Seldom()
        self._sounded: str | None = None

    def making(self, drafts: Sequence[Draft]) -> None:
        """Look out for drafts that are about to be appended."""
        if self._alarm is None:
            return
        for event_id in _ids_of(drafts):
            self._making[event_id] = None
            if len(self._making) > MAKING_MAX:
                self._making.popitem(last=False)

    def refused(self, drafts: Sequence[Draft]) -> None:
        """Drafts were not appended, for certain."""
        if self._making:
            for event_id in _ids_of(drafts):
                self._making.pop(event_id, None)

    def seen(self, entry: Entry, event: Mapping[str, Any]) -> None:
        """Take in an entry that the log shows."""
        if not self._making or event["event_id"] not in self._making:
            return
        del self._making[event["event_id"]]
        if event["event_id"] == self._sounded:
            return
        if self._alarm is not None and self._seldom.passes(event, entry.at):
            self._alarm.sound(entry.public)

    def not_in_the_log(self, draft: Draft, at: float) -> None:
        """
        Sound the alarm for what the log cannot take yet; when it has, there is no second one.

        Args:
            draft: The event; it is told without ``epoch`` and ``offset``, which it has not yet.
            at: When it was made, in seconds since the Unix epoch.
        """
        if self._alarm is not None:
            event = {**orjson.loads(draft.body), "timestamp": rfc3339(at)}
            self._sounded = event["event_id"]
            self._alarm.sound(orjson.dumps(event))


def _ids_of(drafts: Sequence[Draft]) -> list[str]:
    events = (orjson.loads(draft.body) for draft in drafts if draft.type in TYPES)
    return [event["event_id"] for event in events if is_alert(event)]
