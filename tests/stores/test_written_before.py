"""A log that an older version has written is folded as that version folded it, in either store."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from gateway.app.clock import SystemClock
from gateway.execution.record.snapshot import document, encode, restore
from gateway.execution.record.state import State
from gateway.ports import Entry, EventLog
from gateway.stores.memory import MemoryLog
from tests.nats import NatsServer
from tests.stores.jetstream.world import jetstream_log
from tests.written_before import SETTINGS, SNAPSHOT, appends, entries

# What depends on when and where an entry was accepted.
PLACED = ("_at", "offset", "sequence", "since", "recoveries", "timestamp", "epoch", "buckets")


def timeless(value: Any) -> Any:
    """Leave out times and offsets."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if not k.endswith(PLACED)}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def told(snapshot: bytes) -> Any:
    """Read a snapshot; text that was put together by a reader is the same text."""
    saved = json.loads(snapshot)
    for task in saved["tasks"]:
        task["preserved"]["chunks"] = ["".join(task["preserved"]["chunks"])]
    saved["keys"] = [
        {"user": user, "key": key, "task": task, "print": digest, "given_at": at}
        for user, key, task, digest, at in saved["keys"]
    ]
    return saved


def known(state: State) -> Any:
    """What the folds know, of what was known at that time."""
    return of_then(told(document(encode(state))), told(SNAPSHOT))


def of_then(now: Any, then: Any) -> Any:
    """Leave out the fields that records did not have then."""
    if isinstance(now, dict) and isinstance(then, dict):
        return {name: of_then(now[name], then[name]) for name in then}
    if isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        return [of_then(*each) for each in zip(now, then, strict=True)]
    return now


@contextlib.asynccontextmanager
async def a_log(kind: str, server: NatsServer) -> AsyncIterator[EventLog]:
    if kind == "jetstream":
        async with jetstream_log(server.url) as log:
            yield log
        return
    yield MemoryLog(
        epoch="e", clock=SystemClock(), events_max=1000, bytes_max=2**24, age_max_s=1000.0
    )


@pytest.mark.parametrize("kind", ["memory", "jetstream"])
async def test_entries_of_an_older_version_are_folded_from_either_store(
    kind: str, server: NatsServer
) -> None:
    state = State(SETTINGS)

    def fold(entry: Entry) -> None:
        state.apply(entry, orjson.loads(entry.public))

    async with a_log(kind, server) as log:
        log.follow(fold)
        for drafts in appends():
            await log.append(drafts)
    assert timeless(known(state)) == timeless(told(SNAPSHOT))
    assert not state.unread.counts


def test_entries_of_an_older_version_are_folded_to_the_letter() -> None:
    """Times and offsets included."""
    state = State(SETTINGS)
    for entry in entries():
        state.apply(entry, orjson.loads(entry.public))
    assert known(state) == told(SNAPSHOT)


def test_a_snapshot_of_an_older_version_is_read() -> None:
    state = State(SETTINGS)
    restore(state, SNAPSHOT)
    assert known(state) == told(SNAPSHOT)


def test_what_is_unknown_in_a_log_is_counted_and_everything_else_is_folded() -> None:
    """As a node sees it whose neighbour on the log is of a later version."""
    state = State(SETTINGS)
    for entry in entries():
        hidden = None if entry.state is None else orjson.loads(entry.state)
        if hidden is not None:
            hidden |= {"v": 9, "colour": "red"}
        unknown = Entry(
            offset=entry.offset,
            at=entry.at,
            subject=entry.subject,
            type=entry.type,
            topics=entry.topics,
            operators_only=entry.operators_only,
            public=entry.public,
            operator=entry.operator,
            state=None if hidden is None else orjson.dumps(hidden),
        )
        state.apply(unknown, orjson.loads(unknown.public))
    assert known(state) == told(SNAPSHOT)
    assert state.unread.counts["task_started.colour"] == 14
