"""Entries and a snapshot that an older version has written; see README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from gateway.domain.settings import Settings
from gateway.ports import Draft, Entry

__all__ = ["SETTINGS", "SNAPSHOT", "appends", "entries"]

FOLDER = Path(__file__).parent
SNAPSHOT = (FOLDER / "snapshot.json").read_bytes()

# Those of the gateway that wrote them.
SETTINGS = Settings(breaker_threshold=3, breaker_cooldown=5.0, breaker_permits=1)


def _lines() -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (FOLDER / "entries.jsonl").read_bytes().splitlines()]


def entries() -> list[Entry]:
    """Give the entries as followers saw them."""
    return [
        Entry(
            offset=line["offset"],
            at=line["at"],
            subject=line["subject"],
            type=line["type"],
            topics=tuple(line["topics"]),
            operators_only=line["operators_only"],
            public=orjson.dumps({k: v for k, v in line["event"].items() if k != "detail"}),
            operator=orjson.dumps(line["event"]),
            state=None if line["state"] is None else orjson.dumps(line["state"]),
        )
        for line in _lines()
    ]


def appends() -> list[list[Draft]]:
    """Give the drafts as writers appended them."""
    batches: dict[int, list[Draft]] = {}
    for line in _lines():
        event = line["event"]
        detail = event.pop("detail", None)
        for stamped in ("epoch", "offset", "timestamp"):
            del event[stamped]
        draft = Draft(
            subject=line["subject"],
            type=line["type"],
            topics=tuple(line["topics"]),
            operators_only=line["operators_only"],
            body=orjson.dumps(event),
            detail=None if detail is None else orjson.dumps(detail),
            state=None if line["state"] is None else orjson.dumps(line["state"]),
        )
        batches.setdefault(line["append"], []).append(draft)
    return list(batches.values())
