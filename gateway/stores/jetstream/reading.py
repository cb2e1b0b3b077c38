"""
Reading what is older than a node's memory, from the stream itself.

The server answers with a chunk of messages after a sequence (batched direct get, NATS ADR-31;
unlike a consumer it leaves nothing in the server), and for one user's topics it finds them by
subject. So a reader that was away for long costs little, and the cost does not grow with what
other users did meanwhile. For other topics every message is looked at, which takes a processor
some 70 µs; so such a reader rests for as long as it has worked, and then waits for its turn again.
"""

from __future__ import annotations

import asyncio
import calendar
import contextlib
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from gateway.ports import Entry
from gateway.stores.jetstream import wire
from gateway.stores.jetstream.codec import Foreign, last_offset_of, sequence_of, user_filters
from gateway.stores.jetstream.feed import Delivery
from gateway.stores.jetstream.pause import pause
from gateway.stores.jetstream.session import ApiError, Msg, Session, answer_of

__all__ = ["read_stored", "stored_last"]

# Bounds of one chunk: how much the server sends for one question, and how much each filter holds
# in memory beyond the entries that are returned. A chunk keeps the event loop busy for some 10 ms,
# and what else comes over the connection comes after it.
_CHUNK_MESSAGES_MAX = 128
_CHUNK_BYTES_MAX = 512 * 1024

# The longest rest after a chunk; one that took longer had to wait for the server.
_REST_MAX_S = 0.05

# Statuses (ADR-31): no message matches; the chunk is complete.
_NOT_FOUND, _END = "404", "204"


@dataclasses.dataclass(slots=True)
class _Run:
    """
    The messages that match one filter, in order.

    Attributes:
        filter: None: every message matches.
        found: Those that were read and are not taken yet.
        until: All that match up to this sequence have been read.
    """

    filter: str | None
    found: list[Delivery] = dataclasses.field(default_factory=list)
    until: int = 0


async def read_stored(
    session: Session,
    stream: str,
    *,
    after: int,
    until: int,
    topics: Iterable[str] | None,
    limit: int,
    size_max: int | None = None,
    looks_max: int | None = None,
    entries_of: Callable[[Delivery], list[Entry]],
    turn: asyncio.Semaphore,
) -> tuple[list[Entry], int]:
    """
    Read entries from the stream, with offsets over ``after`` up to ``until``.

    Args:
        topics: Only entries of any of these topics; None: every entry.
        limit: How many entries at the most.
        size_max: How many bytes of ``public`` at the most, yet at least one entry; None: no bound.
        looks_max: After how many messages it ends, at the end of a chunk; None: no bound.
        entries_of: Gives a message's entries; raises ``Foreign`` if no gateway wrote it.
        turn: Held while a chunk is read, and by so many readers at once.

    Returns:
        The entries, and the offset up to which they are all; under ``until`` when a bound was
        reached before.

    Raises:
        ApiError, SessionLost, TimeoutError: The server did not give a chunk.
    """
    wanted = None if topics is None else set(topics)
    filters: list[str] = [] if wanted is None else user_filters(stream, wanted) or []
    runs = [_Run(filter) for filter in filters] or [_Run(None)]
    found: list[Entry] = []
    size = looks = 0
    loop = asyncio.get_running_loop()
    worked_s = 0.0
    seen, last = sequence_of(after + 1) - 1, sequence_of(until)
    while seen < last:
        if worked_s:
            await pause(min(worked_s, _REST_MAX_S))
        async with turn:
            begun = loop.time()
            for run in runs:
                if run.until <= seen:
                    await _fill(session, stream, run, after=seen, last=last)
            worked_s = loop.time() - begun
        seen = min(run.until for run in runs)
        ready = [message for run in runs for message in run.found if message.sequence <= seen]
        for run in runs:
            run.found = [message for message in run.found if message.sequence > seen]
        for message in sorted(ready, key=lambda message: message.sequence):
            entries: list[Entry] = []
            with contextlib.suppress(Foreign):
                entries = entries_of(message)
            for entry in entries:
                if not after < entry.offset <= until:
                    continue
                if wanted is not None and wanted.isdisjoint(entry.topics):
                    continue
                size += len(entry.public)
                if len(found) == limit or (found and size_max is not None and size > size_max):
                    return found, found[-1].offset if found else after
                found.append(entry)
        looks += len(ready)
        if looks_max is not None and looks >= looks_max and seen < last:
            return found, last_offset_of(seen)
    return found, until


async def stored_last(session: Session, stream: str, filter: str) -> int:
    """
    Give the last offset of the last message that matches ``filter``; 0 when none does.

    Raises:
        ApiError, SessionLost, TimeoutError: The server did not answer.
    """
    answer = await session.request(
        f"{wire.DIRECT_GET}.{stream}", orjson.dumps({"last_by_subj": filter})
    )
    headers = answer.headers or {}
    if headers.get(wire.STATUS) == _NOT_FOUND:
        return 0
    if wire.SEQUENCE not in headers:
        answer_of(answer)  # raises: it is an error
    return last_offset_of(int(headers[wire.SEQUENCE]))


async def _fill(session: Session, stream: str, run: _Run, *, after: int, last: int) -> None:
    asked: dict[str, Any] = {
        "seq": after + 1,
        "batch": _CHUNK_MESSAGES_MAX,
        "max_bytes": _CHUNK_BYTES_MAX,
    }
    if run.filter is not None:
        asked["next_by_subj"] = run.filter
    failed: list[Msg] = []

    def take(msg: Msg) -> bool:
        headers = msg.headers or {}
        status = headers.get(wire.STATUS)
        if status == _NOT_FOUND:
            run.until = last
        elif status == _END:
            more = int(headers["Nats-Num-Pending"]) > 0
            run.until = int(headers["Nats-Last-Sequence"]) if more else last
        elif status is not None:
            failed.append(msg)
        else:
            run.found.append(_delivery(msg, headers))
            return False
        return True

    await session.stream_of_answers(f"{wire.DIRECT_GET}.{stream}", orjson.dumps(asked), take)
    if failed:
        headers = failed[0].headers or {}
        status = headers.get(wire.STATUS)
        raise ApiError(0, headers.get(wire.DESCRIPTION, f"status {status}"))
    if run.until <= after:
        raise ApiError(0, f"nothing was given after message {after}, though there is more")


def _delivery(msg: Msg, headers: dict[str, str]) -> Delivery:
    return Delivery(
        int(headers[wire.SEQUENCE]),
        wire.written_at(headers) or _seconds(headers["Nats-Time-Stamp"]),
        headers["Nats-Subject"],
        msg.data,
        headers.get(wire.MESSAGE_ID),
    )


def _seconds(text: str) -> float:
    """Read RFC 3339 with up to nanoseconds; the result equals what the feed makes of its number."""
    date, _, rest = text.rstrip("Z").partition(".")
    day, _, clock = date.partition("T")
    whole = calendar.timegm((*map(int, day.split("-")), *map(int, clock.split(":")), 0, 0, 0))
    return (whole * 10**9 + int(rest.ljust(9, "0") or 0)) / 1e9
