"""
What we ask of the outside: a log, signals between nodes, a clock, a source of ids.

The guarantees stand here in words, and as tests in ``tests/stores/contract.py``, which runs
over every implementation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

__all__ = [
    "Clock",
    "Draft",
    "Entry",
    "EventLog",
    "Hearer",
    "IdSource",
    "Progress",
    "Pulse",
    "Reader",
    "Snapshot",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Draft:
    """
    What a writer wants to append: validated and encoded already, once.

    Attributes:
        subject: What it is about, ``task/ID``, ``breaker/NAME``, …: decisions about one
            subject exclude each other.
        type: The event's type.
        topics: What it is of; see ``domain.events.topics_of``.
        operators_only: Bookkeeping that only operators may see.
        body: The event as one JSON object, without ``epoch``, ``offset`` and ``timestamp``.
        detail: For operators only, as JSON; None: there is none.
        state: What the folds need and nobody sees, as JSON; None: nothing.
    """

    subject: str
    type: str
    topics: tuple[str, ...]
    operators_only: bool
    body: bytes
    detail: bytes | None = None
    state: bytes | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """
    One accepted draft, with its place.

    Attributes:
        offset: Its place in the log, from 1.
        at: When the log accepted it, in seconds since the Unix epoch.
        public: The stamped event as JSON, for everybody who may see it.
        operator: The same with ``detail``, for operators.
    """

    offset: int
    at: float
    subject: str
    type: str
    topics: tuple[str, ...]
    operators_only: bool
    public: bytes
    operator: bytes
    state: bytes | None

    @property
    def size(self) -> int:
        """Bytes that it holds, for the log's bound."""
        own = len(self.public) + len(self.state or b"")
        return own if self.operator is self.public else own + len(self.operator)


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """
    What the folds had learnt from the log, so that it outlives the entries it came from.

    Attributes:
        offset: The last entry that it knows.
        version: The format of ``body``; whoever reads it decides whether it still can.
        body: The folds, encoded by whoever folds.
    """

    offset: int
    version: int
    body: bytes


Reader = Callable[[Entry], None]
Progress = Callable[[int, int], None]
Hearer = Callable[[str, bytes], None]


class EventLog(Protocol):
    """
    The ordered sequence of everything that happened.

    - *Order*: offsets strictly grow, not always by one; followers and readers see entries in
      that order, on every node.
    - *Atomicity*: the drafts of one append are all in the log, next to each other, or none is.
    - *Decisions*: an append with ``expected`` succeeds only if, for each subject named, the
      last offset of that subject is the one given. Of two who decide at once, one is told
      ``ExpectationFailed`` and nothing of theirs is in the log.
    - *Own writes*: when ``append`` returns, every follower on this node has seen the entries.
    - *Duplicates*: none; a draft is appended once or not at all.
    - *Bounds*: oldest entries go first, by count, bytes and age. ``oldest`` says what is left.
    - *Loss*: what the implementation keeps over a restart it says itself; with a new log comes
      a new epoch.
    - *Absence*: a store that is away answers every call within its limit with
      ``StoreUnavailable``, never with a wait without end. What is known here is still read.
    - *Beginning*: ``open``, then ``load_snapshot`` and ``follow`` as wanted, then ``start``; only
      then is it appended to. A log that is ``stale`` is begun again with ``start``.
    """

    async def open(self) -> None:
        """
        Reach the store and make sure that it is ours.

        Raises:
            ConfigurationError: It cannot be reached, does not let us in, or holds something
                else; the message says what to do.
        """
        ...

    async def start(self, *, after: int = 0, progress: Progress | None = None) -> None:
        """
        Show what is kept with an offset over ``after`` to those who follow; live from then on.

        Returns when they have seen what was there when it was called. While the store is away
        it waits for it; cancelling ends that.

        Args:
            after: The offset of the snapshot that the followers begin with; 0: there is none.
            progress: Called now and then with how much of how much has been read.
        """
        ...

    @property
    def available(self) -> bool:
        """Whether the store is there, as far as is known now."""
        ...

    @property
    def reason(self) -> str | None:
        """Why it is not available, for operators; None when it is."""
        ...

    @property
    def stale(self) -> bool:
        """
        Whether followers have to begin anew, and ``start`` be called again.

        So it is when another log stands in its place (the epoch is another), and when entries
        were dropped before this node had seen them. Nothing is appended until then.
        """
        ...

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """
        Call ``watcher`` when ``available``, ``stale`` or ``epoch`` may have changed.

        It looks at the log for what is so; it must neither wait nor raise. Returns a function
        that ends it.
        """
        ...

    @property
    def epoch(self) -> str:
        """The name of this log."""
        ...

    @property
    def head(self) -> int:
        """The newest offset that followers have seen; 0 when there is none."""
        ...

    @property
    def oldest(self) -> int:
        """
        Where what is kept begins: nothing at this offset or over it has been dropped.

        Who has seen ``oldest - 1`` or more has missed nothing that is gone. ``head + 1`` when
        nothing is kept.
        """
        ...

    async def append(
        self, drafts: Sequence[Draft], *, expected: Mapping[str, int] | None = None
    ) -> int:
        """
        Append, all or nothing, and return the offset of the last draft.

        Args:
            drafts: What to append, in this order; at least one.
            expected: Subject → the offset of its last entry that the decision was based on;
                0: none so far. None: no expectation.

        Raises:
            ExpectationFailed: Somebody else wrote to a subject first.
            StoreUnavailable: The store did not answer in time. Nothing is in the log, unless
                ``in_doubt`` is set: then all of it may be, or may still get there. Followers
                see it like any other entry if so.
        """
        ...

    async def read(
        self,
        *,
        after: int,
        topics: Iterable[str] | None,
        limit: int,
        until: int | None = None,
        size_max: int | None = None,
    ) -> list[Entry]:
        """
        Read kept entries with an offset over ``after``, in order.

        Args:
            after: The last offset already seen.
            topics: Only entries of any of these; None: every entry.
            limit: How many at the most.
            until: The last offset to consider; None: the head.
            size_max: Stop after this many bytes, yet give at least one; None: no such bound.

        Raises:
            StoreUnavailable: What is asked for is no longer in this node's memory, and the
                store did not answer in time.
        """
        ...

    def last_offset(self, subject: str) -> int:
        """Tell the offset of the subject's last entry, 0 when none is remembered."""
        ...

    def follow(self, reader: Reader) -> Callable[[], None]:
        """
        Call ``reader`` with each entry accepted from now on, in order, each once.

        Readers are called in the order in which they began to follow. A reader must neither
        wait nor raise. Returns a function that ends it.
        """
        ...

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """
        Keep ``snapshot`` for whoever opens this log later; the newest two are kept.

        A log that does not outlive its process keeps none.

        Raises:
            StoreUnavailable: The store did not answer in time; the ones before are kept.
        """
        ...

    async def load_snapshot(self) -> Snapshot | None:
        """
        Give the newest snapshot of this log that is whole; None: there is none.

        Entries between it and ``oldest`` are lost to whoever begins with it.

        Raises:
            StoreUnavailable: The store did not answer in time.
        """
        ...

    async def close(self) -> None:
        """Let go of what the log holds outside this process."""
        ...


class Pulse(Protocol):
    """
    Signals between nodes that nobody will replay: heartbeats, presence.

    Each node hears each signal at most once, its own too; what is sent while the store is away
    is lost.
    """

    async def publish(self, subject: str, body: bytes) -> None:
        """Send to whoever hears on any node; never waits for them and never fails."""
        ...

    def follow(self, hearer: Hearer) -> Callable[[], None]:
        """
        Call ``hearer`` with subject and body of each signal from now on.

        It must neither wait nor raise. Returns a function that ends it.
        """
        ...


class Clock(Protocol):
    """Time, so that tests can own it."""

    def wall(self) -> float:
        """Seconds since the Unix epoch; to show, to write down, to compare with the log."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; for durations and limits."""
        ...

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait; cancelling ends the wait."""
        ...


class IdSource(Protocol):
    """Ids and chance, so that tests can seed them."""

    def uuid7(self) -> str:
        """A new UUID, version 7 (RFC 9562): sorts by time."""
        ...

    def random(self) -> float:
        """A number from [0, 1)."""
        ...
