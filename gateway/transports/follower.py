"""
One connection as the hub sees it: a position in the log, the topics it follows, a sink.

A follower is *live* when everything up to the log's head has been written to its sink. It is
*behind* when it still reads the log from its position. There is no queue: the log is the buffer.
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
from gateway.transports.sink import Sink, do_nothing

__all__ = ["EVERYTHING", "Audience", "EventStreamForm", "Follower", "Form", "WebSocketForm"]

EVERYTHING = "*"


class Form(Protocol):
    """How one kind of connection encodes events and notices."""

    def event(self, entry: Entry, payload: bytes) -> bytes:
        """Encode an event; ``payload`` is its JSON for one audience."""
        ...

    def notice(self, name: str, params: Mapping[str, Any]) -> bytes:
        """Encode a notice."""
        ...


class WebSocketForm:
    """Text frames of a WebSocket (RFC 6455, 5.2), unmasked as a server sends them."""

    def event(self, entry: Entry, payload: bytes) -> bytes:
        return text_frame(payload)

    def notice(self, name: str, params: Mapping[str, Any]) -> bytes:
        return text_frame(orjson.dumps(notice(name, params)))


class EventStreamForm:
    """
    Server-sent events (HTML Living Standard, 9.2.5 and 9.2.6).

    Args:
        epoch: Tells the log's epoch, for the ids that a reader resumes with. It is not known before
            the store is open, and changes when the log begins anew.
    """

    def __init__(self, epoch: Callable[[], str]) -> None:
        self._epoch = epoch

    def event(self, entry: Entry, payload: bytes) -> bytes:
        head = f"id: {self._epoch()}:{entry.offset}\nevent: {entry.type}\ndata: "
        return head.encode() + payload + b"\n\n"

    def notice(self, name: str, params: Mapping[str, Any]) -> bytes:
        return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(params) + b"\n\n"


class Audience:
    """
    The connections that get the same bytes for an entry.

    Audiences are compared by identity: they are dictionary keys in the hot path.

    Attributes:
        form: How bytes look on these connections.
        operator: Whether operator-only events and details are shown.
        types: The only types wanted; None: all.
    """

    __slots__ = ("form", "operator", "types")

    def __init__(self, form: Form, *, operator: bool, types: frozenset[str] | None) -> None:
        self.form = form
        self.operator = operator
        self.types = types

    def sees(self, entry: Entry) -> bool:
        """Whether this audience may see the entry and wants its type; topics are not compared."""
        return (self.operator or not entry.operators_only) and (
            self.types is None or entry.type in self.types
        )

    def frame(self, entry: Entry) -> bytes:
        """Encode an entry."""
        return self.form.event(entry, entry.operator if self.operator else entry.public)


class Follower:
    """
    One connection's position, topics and sink. Only the hub sets these attributes.

    Attributes:
        sink: Where its bytes go.
        audience: Which other connections get the same bytes.
        ids: What a line of the log says beside its text when it is about this connection.
        topics: Topic → the offset after which it is followed; only topics that were asked for.
        heard: ``topics`` and the topics that they imply (``domain.events.listening``).
        position: Every event up to it has been written, or is not for this follower. While the
            follower is live it is not updated.
        replay_until: The head when it began to follow; what it reads up to there is history.
        live: Whether the follower is at the head.
        gone: Whether it has left the hub.
        written: Bytes given to the sink since the beginning.
        accepted: How many of them the sink no longer held when the hub last saw progress.
        accepted_at: When that was, in monotonic seconds.
        catching_up: Reads the log for this follower; None: it is live or follows nothing.
        writable: Set when the sink has room again; None: ``wait_room`` has never waited.
        due: When ``on_due`` is to be called next, in monotonic seconds.
        on_due: Called with the time when ``due`` has come; returns the next ``due``.
    """

    __slots__ = (
        "accepted",
        "accepted_at",
        "audience",
        "catching_up",
        "due",
        "gone",
        "heard",
        "ids",
        "live",
        "on_due",
        "position",
        "replay_until",
        "sink",
        "topics",
        "writable",
        "written",
    )

    def __init__(self, sink: Sink, audience: Audience, *, now: float) -> None:
        self.sink = sink
        self.audience = audience
        self.ids: Mapping[str, str] = {}
        self.topics: dict[str, int] = {}
        self.heard: dict[str, int] = {}
        self.position = 0
        self.replay_until = 0
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
        """Write whole frames, after everything written before."""
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
        """Follow more topics from ``after`` on; topics followed already stay as they are."""
        for topic in topics:
            self.topics.setdefault(topic, after)
        self._hear()

    def unfollow(self, topics: Iterable[str]) -> None:
        """Stop following some topics; unknown ones are ignored."""
        for topic in topics:
            self.topics.pop(topic, None)
        self._hear()

    def _hear(self) -> None:
        self.heard = dict(self.topics)
        for topic in listening(self.topics) - self.topics.keys():
            users = (after for name, after in self.topics.items() if name.startswith("user:"))
            self.heard[topic] = min(users)

    def index_topics(self) -> Iterable[str]:
        """The topics under which the hub's index lists this follower."""
        return (EVERYTHING,) if EVERYTHING in self.heard else tuple(self.heard)

    def read_topics(self) -> Iterable[str] | None:
        """The topics to read from the log; None: all."""
        return None if EVERYTHING in self.heard else tuple(self.heard)

    def end(self) -> None:
        """It has left: nothing of its owner's is due any more, and no room is waited for."""
        self.gone = True
        self.on_due = _never
        self.wake()
        self.sink.on_writable = do_nothing

    def wake(self) -> None:
        """Let ``wait_room`` look again: the sink has room, or the follower has left."""
        if self.writable is not None:
            self.writable.set()

    async def wait_room(self, unsent_max: int) -> None:
        """Wait until the sink holds at most ``unsent_max`` unsent bytes or the follower leaves."""
        while self.sink.unsent() > unsent_max and not self.gone:
            self.writable = self.writable or asyncio.Event()
            self.writable.clear()
            await self.writable.wait()


def _never(now: float) -> float:
    return math.inf
