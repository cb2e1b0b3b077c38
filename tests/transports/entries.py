"""Entries of a log, without a log."""

from __future__ import annotations

import orjson

from gateway.ports import Entry

__all__ = ["entry"]


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
