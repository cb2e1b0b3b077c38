"""Entries of a log, without a log, and a form that notes which of them it has framed."""

from __future__ import annotations

import orjson

from gateway.ports import Entry
from gateway.transports.follower import WebSocketForm

__all__ = ["CountedForm", "entry"]


def entry(
    offset: int,
    *topics: str,
    type: str = "notification",
    operators_only: bool = False,
    detail: bool = False,
) -> Entry:
    """Make an entry; with ``detail`` operators see more of it than others."""
    event = {"type": type, "offset": offset}
    public = orjson.dumps(event)
    operator = orjson.dumps(event | {"detail": "stack"}) if detail else public
    return Entry(
        offset=offset,
        at=0.0,
        subject=f"event/{offset}",
        type=type,
        topics=topics,
        operators_only=operators_only,
        public=public,
        operator=operator,
        state=None,
    )


class CountedForm(WebSocketForm):
    """Notes the offsets of the frames that it makes."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def event(self, entry: Entry, payload: bytes) -> bytes:
        self.made.append(entry.offset)
        return super().event(entry, payload)
