"""
One connection as the hub sees it: a position in the log, the topics it follows, a sink.

A follower is *live* when everything up to the log's head has been written to its sink, and
*behind* when it reads on from its position. There is no queue: the log is the buffer.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import orjson

from gateway.domain.events import listening
from gateway.ports import Entry
from gateway.protocol.frames import text_frame
from gateway.protocol.session import notice
from gateway.transports.sink import Sink

__all__ = ["EVERYTHING", "Audience", "EventStreamForm", "Follower", "Form", "WebSocketForm"]

EVERYTHING = "*"


class Form(Protocol):
    """How events and notices look in the bytes of one kind of connection."""

    def event(self, entry: Entry, payload: bytes) -> bytes:
        """Put an event into bytes."""
        ...

    def notice(self, name: str, params: Mapping[str, Any]) -> bytes:
        """Put a notice into bytes."""
        ...


class WebSocketForm:
    """WebSocket text frames."""

    def event(self, entry: Entry, payload: bytes) -> bytes:
        return text_frame(payload)

    def notice(self, name: str, params: Mapping[str, Any]) -> bytes:
        return text_frame(orjson.dumps(notice(name, params)))


class EventStreamForm:
    """
    Server-sent events (HTML Living Standard, 9.2).

    Args:
        epoch: The log's epoch, for the ids that a reader resumes with.
    """

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch

    def event(self, entry: Entry, payload: bytes) -> bytes:
        head = f"id: {self._epoch}:{entry.offset}\nevent: {entry.type}\ndata: "
        return head.encode() + payload + b"\n\n"

    def notice(self, name: str, params: Mapping[str, Any]) -> bytes:
        return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(params) + b"\n\n"


class Audience:
    """
    Those who get the same bytes of an entry. Compared by identity: it is a key in the hot path.

    Attributes:
        operator: Sees bookkeeping and detail.
        types: The only types wanted; None: all.
    """

    __slots__ = ("form", "operator", "types")

    def __init__(self, form: Form, *, operator: bool, types: frozenset[str] | None) -> None:
        self.form = form
        self.operator = operator
        self.types = types

    def sees(self, entry: Entry) -> bool:
        """Whether this entry is for it at all, whatever its topics."""
        return (self.operator or not entry.operators_only) and (
            self.types is None or entry.type in self.types
        )

    def frame(self, entry: Entry) -> bytes:
        """The bytes of an entry."""
        return self.form.event(entry, entry.operator if self.operator else entry.public)


class Follower:
    """
    A position and where it writes to. Only the hub changes what is not a method here.

    Attributes:
        topics: Topic → the offset after which it is followed; what its owner asked for.
        heard: The same with what comes along with a topic (``domain.events.listening``).
        position: Everything up to it has been written or does not concern it; kept while
            behind, and when live as of the last time it was behind.
        newest: The offset of the newest event written, or where the subscription began.
        live: Whether it is at the head.
        gone: Whether it has left.
        written: Bytes ever given to the sink.
        due: From when on ``on_due`` wants to be called, in monotonic seconds.
        on_due: Given the time, does what is due and returns when it wants to be called again.
    """

    __slots__ = (
        "accepted",
        "accepted_at",
        "audience",
        "catching_up",
        "due",
        "gone",
        "heard",
        "live",
        "newest",
        "on_due",
        "position",
        "sink",
        "topics",
        "writable",
        "written",
    )

    def __init__(self, sink: Sink, audience: Audience, *, now: float) -> None:
        self.sink = sink
        self.audience = audience
        self.topics: dict[str, int] = {}
        self.heard: dict[str, int] = {}
        self.position = 0
        self.newest = 0
        self.live = False
        self.gone = False
        self.written = 0
        self.accepted = 0
        self.accepted_at = now
        self.catching_up: asyncio.Task[None] | None = None
        self.writable: asyncio.Event | None = None
        self.due = math.inf
        self.on_due: Callable[[float], float] = _never
        sink.on_writable = self.wake

    def write(self, data: bytes) -> None:
        """Give whole frames to the sink, after everything written before."""
        self.written += len(data)
        self.sink.write(data)

    def tell(self, name: str, params: Mapping[str, Any]) -> None:
        """Write a notice, in order with everything else."""
        self.write(self.audience.form.notice(name, params))

    def wants(self, entry: Entry) -> bool:
        """Whether an entry read from the log is for this follower."""
        if not self.audience.sees(entry):
            return False
        heard = self.heard
        if EVERYTHING in heard and entry.offset > heard[EVERYTHING]:
            return True
        return any(topic in heard and entry.offset > heard[topic] for topic in entry.topics)

    def follow(self, topics: Iterable[str], *, after: int) -> None:
        """Follow more topics; what is followed already stays as it is."""
        for topic in topics:
            self.topics.setdefault(topic, after)
        self._hear()

    def unfollow(self, topics: Iterable[str]) -> None:
        """Follow these no longer."""
        for topic in topics:
            self.topics.pop(topic, None)
        self._hear()

    def _hear(self) -> None:
        self.heard = dict(self.topics)
        for topic in listening(self.topics) - self.topics.keys():
            users = (after for name, after in self.topics.items() if name.startswith("user:"))
            self.heard[topic] = min(users)

    def index_topics(self) -> Iterable[str]:
        """Where the hub looks for it: everything, or each topic that it hears."""
        return (EVERYTHING,) if EVERYTHING in self.heard else tuple(self.heard)

    def read_topics(self) -> Iterable[str] | None:
        """What it reads of the log; None: everything."""
        return None if EVERYTHING in self.heard else tuple(self.heard)

    def wake(self) -> None:
        """The sink has room again."""
        if self.writable is not None:
            self.writable.set()

    async def wait_room(self, unsent_max: int) -> None:
        """Wait until the sink holds at most ``unsent_max`` unsent bytes, or until gone."""
        while self.sink.unsent() > unsent_max and not self.gone:
            self.writable = self.writable or asyncio.Event()
            self.writable.clear()
            await self.writable.wait()


def _never(now: float) -> float:
    return math.inf
