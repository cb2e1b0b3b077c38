"""
What we ask of the outside: a log, signals between nodes, a clock, a source of ids.

The guarantees of the log and the pulse stand here in words, and as tests in
``tests/stores/contract.py`` and ``contract_pulse.py``, which run over every implementation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

__all__ = [
    "Clock",
    "Draft",
    "Entry",
    "EventLog",
    "Hearer",
    "IdSource",
    "Machine",
    "Progress",
    "Pulse",
    "Reader",
    "Snapshot",
]


# Named tuples: one of each is made for every entry of a log that is read, and making a frozen
# dataclass takes four times as long.
class Draft(NamedTuple):
    """
    What a writer wants to append: an event, already validated and encoded.

    Attributes:
        subject: What the event is about, ``task/ID``, ``breaker/NAME``, …: decisions about one
            subject exclude each other.
        type: The event's type.
        topics: The topics whose subscribers receive the event; see ``domain.events.topics_of``.
        operators_only: Whether the event is bookkeeping that only operators may see.
        body: The event as one JSON object, without ``epoch``, ``offset`` and ``timestamp``.
        detail: What only operators may see of it, as JSON; None: nothing.
        state: What only the folds need, as JSON; it never leaves the gateway. None: nothing.
    """

    subject: str
    type: str
    topics: tuple[str, ...]
    operators_only: bool
    body: bytes
    detail: bytes | None = None
    state: bytes | None = None


class Entry(NamedTuple):
    """
    A draft that the log accepted, with its place and time.

    Attributes:
        offset: The place in the log, from 1.
        at: When the log accepted it, in seconds since the Unix epoch.
        public: The stamped event as JSON, for every subscriber that may see it.
        operator: The same with ``detail``, for operators; without detail the same object.
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
        """Bytes that the entry holds, counted for the log's bound."""
        own = len(self.public) + len(self.state or b"")
        return own if self.operator is self.public else own + len(self.operator)


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """
    What the folds had learnt from the log, so that it outlives the entries it came from.

    Attributes:
        offset: The last entry that the folds had seen.
        version: The format of ``body``; the reader decides whether it can still read it.
        body: The folds, encoded by their owner; a log does not look inside.
    """

    offset: int
    version: int
    body: bytes | bytearray


Reader = Callable[[Entry], None]
Progress = Callable[[int, int], None]
Hearer = Callable[[str, bytes], None]


class EventLog(Protocol):
    """
    The ordered sequence of everything that happened.

    - *Order*: offsets strictly grow, not always by one. Followers and readers see entries in
      that order, on every node.
    - *Atomicity*: the drafts of one append are all in the log, next to each other, or none is.
    - *Decisions*: an append with ``expected`` succeeds only if, for each subject named, the
      last offset of that subject is the one given. Of two writers that decide at once one gets
      ``ExpectationFailed``, and nothing of its append is in the log.
    - *Own writes*: when ``append`` returns, every follower on this node has seen the entries.
    - *Duplicates*: none; a draft is appended once or not at all.
    - *Bounds*: the oldest entries go first, by count, bytes and age. ``oldest`` says what is left.
    - *Loss*: each implementation says what it keeps over a restart. A new log has a new epoch.
    - *Absence*: while the store is away, every call ends within its limit with
      ``StoreUnavailable``; none waits without end. What this node remembers can still be read.
    - *Beginning*: call ``open``, then ``load_snapshot`` and ``follow`` as wanted, then ``start``,
      and append only after that. A log that is ``stale`` begins again with ``start``.
    """

    async def open(self) -> None:
        """
        Reach the store and make sure that it is ours.

        Raises:
            ConfigurationError: The store cannot be reached, refuses the credentials, or holds
                something else; the message says what to do.
        """
        ...

    async def start(self, *, after: int = 0, progress: Progress | None = None) -> None:
        """
        Show the followers what is kept over ``after``, and from then on each new entry.

        Returns when they have seen what the log held at the call. While the store is away it
        waits for the store; cancelling ends the wait.

        Args:
            after: The offset of the snapshot that the followers begin with; 0: there is none.
            progress: Called now and then with how much has been read, and of how much.
        """
        ...

    @property
    def available(self) -> bool:
        """Whether the store is there, as far as this node knows now."""
        ...

    @property
    def reason(self) -> str | None:
        """Why the store is not available, for operators; None when it is."""
        ...

    @property
    def takes_at_once(self) -> bool:
        """Whether ``append`` never waits, so that nothing can be cancelled inside it."""
        ...

    @property
    def stale(self) -> bool:
        """
        Whether the followers have to begin anew and ``start`` has to be called again.

        It is true when another log stands in the place of this one (the epoch is another), and
        when entries were dropped before this node had seen them. Nothing is appended until then.
        """
        ...

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """
        Call ``watcher`` when ``available``, ``stale`` or ``epoch`` may have changed.

        The watcher reads the new values from the log; it must neither wait nor raise. Returns
        a function that ends the watching, also when it is called twice.
        """
        ...

    @property
    def epoch(self) -> str:
        """The name of this log."""
        ...

    @property
    def head(self) -> int:
        """The newest offset that the followers have seen; 0 when there is none."""
        ...

    @property
    def oldest(self) -> int:
        """
        Where the kept part begins: nothing at this offset or over it has been dropped.

        A reader that has seen ``oldest - 1`` or more has missed nothing that is gone.
        ``head + 1`` when nothing is kept.
        """
        ...

    @property
    def events(self) -> int:
        """How many entries are kept, as far as this node knows without asking the store."""
        ...

    @property
    def bytes(self) -> int:
        """How many bytes they have; an estimate where only the store could tell."""
        ...

    async def append(
        self, drafts: Sequence[Draft], *, expected: Mapping[str, int] | None = None
    ) -> int:
        """
        Append all drafts or none, and return the offset of the last one.

        When it is cancelled, the drafts may be in the log or not.

        Args:
            drafts: What to append, in this order; at least one.
            expected: By subject, the offset of its last entry that the decision was based on;
                0: none so far. None: no expectation.

        Raises:
            ExpectationFailed: Another writer wrote to a subject first.
            TooLarge: The store can never take the drafts in one append.
            StoreUnavailable: The store did not answer in time. Nothing is in the log, unless
                ``in_doubt`` is set: then all of it may be there, or may still get there, and
                followers see it like any other entry.
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
            topics: Only entries of any of these topics; None: every entry.
            limit: How many entries at the most.
            until: The last offset to consider; None: the head.
            size_max: How many bytes of ``public`` at the most, yet at least one entry;
                None: no such bound.

        Raises:
            StoreUnavailable: The entries are no longer in this node's memory, and the store
                did not answer in time.
        """
        ...

    async def scan(
        self, *, after: int, topics: Iterable[str] | None, limit: int
    ) -> tuple[list[Entry], int | None]:
        """
        Look at about ``limit`` kept entries with an offset over ``after``, and give those wanted.

        Where the log cannot find the entries of a topic it looks at all, so that ``read`` may take
        long for a topic that has few; this does not.

        Args:
            after: The last offset already seen.
            topics: Only entries of any of these topics; None: every entry.
            limit: How many entries at the most. Of those that are not wanted a few more may be
                looked at.

        Returns:
            The entries, and the offset to go on after; None: there are no more.

        Raises:
            StoreUnavailable: As ``read``.
        """
        ...

    def last_offset(self, subject: str) -> int:
        """Give the offset of the subject's last entry; 0 when none is remembered."""
        ...

    def follow(self, reader: Reader) -> Callable[[], None]:
        """
        Call ``reader`` with each entry accepted from now on, in order, each once.

        Readers are called in the order in which they began to follow. A reader must neither
        wait nor raise. Returns a function that ends the following, also when called twice.
        """
        ...

    async def time(self) -> float:
        """
        Give the log's time, in seconds since the Unix epoch: ``at`` of an entry accepted now.

        Raises:
            StoreUnavailable: The store did not answer in time.
        """
        ...

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """
        Keep ``snapshot`` for the nodes that open this log later; the newest two are kept.

        A log that does not outlive its process keeps none.

        Raises:
            StoreUnavailable: The store did not answer in time; earlier snapshots are kept.
        """
        ...

    async def load_snapshot(self) -> Snapshot | None:
        """
        Give the newest whole snapshot of this log; None: there is none.

        A node that begins with it has lost the entries between it and ``oldest``.

        Raises:
            StoreUnavailable: The store did not answer in time.
        """
        ...

    async def close(self) -> None:
        """Release what the log holds outside this process, and call no follower any more."""
        ...


class Pulse(Protocol):
    """
    Signals between nodes that are never replayed: heartbeats, presence.

    Each node hears each signal at most once, its own included. A signal that is sent while the
    store is away is lost.
    """

    async def publish(self, subject: str, body: bytes) -> None:
        """Send to the hearers on every node; never waits for them and never fails."""
        ...

    def follow(self, hearer: Hearer) -> Callable[[], None]:
        """
        Call ``hearer`` with subject and body of each signal from now on.

        A hearer must neither wait nor raise. Returns a function that ends the hearing.
        """
        ...


class Clock(Protocol):
    """Time, so that tests can own it."""

    def wall(self) -> float:
        """Seconds since the Unix epoch: to show, to write down, to compare with the log."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back: for durations and limits."""
        ...

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait; cancelling ends the wait."""
        ...


class Alarm(Protocol):
    """Tells somebody outside of events that need a person."""

    def start(self) -> None:
        """Begin to tell; may be called again after ``stop``."""
        ...

    def sound(self, event: bytes) -> None:
        """Take one event, as JSON, to be told as soon as that is possible; never waits."""
        ...

    async def stop(self) -> None:
        """Tell what was taken, as far as that is possible within some seconds, and end."""
        ...


class Machine(Protocol):
    """What this process uses of the machine that it runs on."""

    def busy_s(self) -> float:
        """Processor time of this process so far, in seconds."""
        ...

    def memory_share(self) -> float:
        """Of the machine's or the container's memory, the share this process has; 0: unknown."""
        ...


class IdSource(Protocol):
    """Ids and chance, so that tests can seed them."""

    def uuid7(self) -> str:
        """A new UUID, version 7 (RFC 9562, section 5.7), which sorts by time."""
        ...

    def random(self) -> float:
        """A number from [0, 1)."""
        ...
