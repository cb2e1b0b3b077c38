"""
The operation on events: read what the log keeps, oldest first, in pages.

The rule: rights are those of a subscription. A caller reads a topic that it may follow, and sees
of each event what it would see there; of a thread also what it has sent itself. Pages go by
positions, so that among events of one moment none is lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import orjson

from gateway.domain.access import Caller
from gateway.domain.errors import InvalidParams, NotPermitted
from gateway.domain.stream import Position, parse_position
from gateway.domain.thread import may_see
from gateway.execution.handlers.params import Handler, Page, Params
from gateway.execution.record.reach import Reach
from gateway.execution.record.state import State
from gateway.ports import Entry, EventLog

__all__ = ["EventHandlers"]

# How many entries one call looks at before it answers with a cursor, however few it has found.
SCAN_MAX = 10_000
# How many of them it reads at a time.
BATCH = 500
# The parameters that name topics, and how the topic of each begins.
TOPICS_BY = (("topic", ""), ("recipient_id", "recipient:"), ("channel", "channel:"))


class EventHandlers:
    """The operation ``event.list``."""

    def __init__(self, *, log: EventLog, state: State, reach: Reach) -> None:
        self._log = log
        self._state = state
        self._reach = reach
        self.by_name: dict[str, Handler] = {"event.list": self._list}

    async def _list(self, params: Params, caller: Caller) -> Any:
        await self._reach.wait_for(params)
        log, chosen = self._log, self._chosen(params, caller)
        after = self._after(params)
        page = Page(params)
        for _ in range(SCAN_MAX // BATCH):
            batch, end = await log.scan(after=after, topics=chosen.topics, limit=BATCH)
            for entry in batch:
                before, after = after, entry.offset
                if entry.operators_only and not caller.operator:
                    continue
                if not chosen.has(entry) or params.get("type", entry.type) != entry.type:
                    continue
                encoded = entry.operator if caller.operator else entry.public
                event = orjson.loads(encoded)
                parent = params.get("parent_event_id")
                if (
                    chosen.offsets is None  # no thread is known by it, yet any event may name one
                    and parent is not None
                    and parent not in (event.get("parent_event_id"), event["event_id"])
                ):
                    continue
                if not page.takes(event, size=len(encoded)):
                    return {"items": page.items, "next": str(Position(log.epoch, before))}
            if end is None or chosen.ends_before(end):
                return {"items": page.items, "next": None}
            after = end
        return {"items": page.items, "next": str(Position(log.epoch, after))}

    def _chosen(self, params: Params, caller: Caller) -> _Chosen:
        """
        Tell what is asked for, of what the caller may see.

        Raises:
            NotPermitted: If it may not follow a topic that it names.
        """
        named = {name: before + params[name] for name, before in TOPICS_BY if name in params}
        topics = list(named.values())
        owner_of, threads = self._state.owner_of, self._state.threads
        notes = threads.below(params["parent_event_id"]) if "parent_event_id" in params else None
        if notes is not None and not topics:
            seen = [note for note in notes if may_see(caller, note, owner_of=owner_of)]
            readable = {topic for note in seen for topic in note.topics}
            return _Chosen(sorted(readable), frozenset(), frozenset(note.offset for note in seen))
        if not topics:
            topics = ["*"] if caller.operator else [f"user:{caller.user_id}"]
        for field, topic in named.items():
            if not caller.may_follow(topic, owner=owner_of(topic)):
                raise NotPermitted(f"you may not read {topic}", field=field)
        offsets = None if notes is None else frozenset(note.offset for note in notes)
        return _Chosen(_readable(topics[0]), frozenset(topics[1:]), offsets)

    def _after(self, params: Params) -> int:
        log = self._log
        for field in ("cursor", "since"):
            if field in params:
                if (field, params[field]) == ("since", "start"):
                    return 0
                position = parse_position(params[field], epoch=log.epoch, field=field)
                if position.epoch != log.epoch:
                    raise InvalidParams(
                        f"{field} is a position of another log; begin anew without it",
                        field=field,
                    )
                return position.offset
        return 0


@dataclasses.dataclass(frozen=True, slots=True)
class _Chosen:
    """
    Which entries are asked for.

    Attributes:
        topics: Those that the log is read by; None: all.
        also: Topics that each entry has to have besides.
        offsets: The only entries that it can be; None: any.
    """

    topics: Sequence[str] | None
    also: frozenset[str]
    offsets: frozenset[int] | None

    def has(self, entry: Entry) -> bool:
        """Whether an entry that was read by ``topics`` is asked for."""
        return self.also <= set(entry.topics) and (
            self.offsets is None or entry.offset in self.offsets
        )

    def ends_before(self, after: int) -> bool:
        """Whether none can come after that offset."""
        return self.offsets is not None and after >= max(self.offsets, default=0)


def _readable(topic: str) -> list[str] | None:
    """The log's topics behind one that is asked for; None: all. A user reads ``system``, too."""
    if topic == "*":
        return None
    return [topic, "system"] if topic.startswith("user:") else [topic]
