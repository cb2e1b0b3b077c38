"""
The operation on events: read what the log keeps, oldest first, in pages.

The rule: rights are those of a subscription. A caller reads a topic that it may follow, and sees
of each event what it would see there.
"""

from __future__ import annotations

from typing import Any

import orjson

from gateway.domain.access import Caller
from gateway.domain.errors import InvalidParams, NotPermitted
from gateway.domain.stream import Position, parse_position
from gateway.execution.handlers.params import LIST_LIMIT, Handler, Params
from gateway.execution.record.reach import Reach
from gateway.execution.record.state import State
from gateway.ports import EventLog

__all__ = ["EventHandlers"]

# How many entries one call looks at before it answers with a cursor, however few it has found.
SCAN_MAX = 10_000
# How many of them it reads at a time.
BATCH = 500


class EventHandlers:
    """The operation ``event.list``."""

    def __init__(self, *, log: EventLog, state: State, reach: Reach) -> None:
        self._log = log
        self._state = state
        self._reach = reach
        self.by_name: dict[str, Handler] = {"event.list": self._list}

    async def _list(self, params: Params, caller: Caller) -> Any:
        log = self._log
        topics = [params["topic"]] if "topic" in params else []
        for kind in ("recipient", "channel"):
            name = params.get("recipient_id" if kind == "recipient" else kind)
            if name is not None:
                topics.append(f"{kind}:{name}")
        if not topics:
            topics = ["*"] if caller.operator else [f"user:{caller.user_id}"]
        for topic in topics:
            owner = self._state.owner_of(topic[5:]) if topic.startswith("task:") else None
            if not caller.may_follow(topic, task_owner=owner):
                raise NotPermitted(f"you may not read {topic}", field="topic")
        await self._reach.wait_for(params)
        after = self._after(params)
        limit = params.get("limit", LIST_LIMIT)
        items: list[Any] = []
        for _ in range(SCAN_MAX // BATCH):
            batch = await log.read(after=after, topics=_readable(topics[0]), limit=BATCH)
            for entry in batch:
                after = entry.offset
                if entry.operators_only and not caller.operator:
                    continue
                if not set(topics[1:]) <= set(entry.topics):
                    continue
                if params.get("type", entry.type) != entry.type:
                    continue
                event = orjson.loads(entry.operator if caller.operator else entry.public)
                parent = params.get("parent_event_id")
                if parent is not None and parent not in (
                    event.get("parent_event_id"),
                    event["event_id"],
                ):
                    continue
                items.append(event)
                if len(items) == limit:
                    return {"items": items, "next": str(Position(log.epoch, after))}
            if len(batch) < BATCH:
                return {"items": items, "next": None}
        return {"items": items, "next": str(Position(log.epoch, after))}

    def _after(self, params: Params) -> int:
        log = self._log
        for field in ("cursor", "since"):
            if field in params:
                position = parse_position(params[field], epoch=log.epoch, field=field)
                if position.epoch != log.epoch:
                    raise InvalidParams(
                        f"{field} is a position of another log; begin anew without it",
                        field=field,
                    )
                return position.offset
        return 0


def _readable(topic: str) -> list[str] | None:
    """The log's topics behind one that is asked for; None: all. A user reads ``system``, too."""
    if topic == "*":
        return None
    return [topic, "system"] if topic.startswith("user:") else [topic]
