"""
What we ask of the outside: a log, a clock, a source of ids.

The guarantees stand here in words, and as tests in ``tests/stores/contract.py``, which runs
over every implementation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

__all__ = ["Clock", "Draft", "Entry", "EventLog", "IdSource", "Reader"]


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


Reader = Callable[[Entry], None]


class EventLog(Protocol):
    """
    The ordered sequence of everything that happened.

    - *Order*: offsets strictly grow; followers and readers see entries in that order.
    - *Atomicity*: the drafts of one append are all in the log, next to each other, or none is.
    - *Decisions*: an append with ``expected`` succeeds only if, for each subject named, the
      last offset of that subject is the one given. Of two who decide at once, one is told
      ``ExpectationFailed`` and nothing of theirs is in the log.
    - *Own writes*: when ``append`` returns, every follower on this node has seen the entries.
    - *Duplicates*: none; a draft is appended once or not at all.
    - *Bounds*: oldest entries go first, by count, bytes and age. ``oldest`` says what is left.
    - *Loss*: what the implementation keeps over a restart it says itself; with a new log comes
      a new epoch.
    """

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
        """The smallest offset still kept; ``head + 1`` when nothing is."""
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
            StoreUnavailable: The store did not answer in time; nothing is in the log.
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
        """
        ...

    def count(self, *, after: int, topics: Iterable[str] | None) -> int:
        """Count kept entries with an offset over ``after``, of any of ``topics``."""
        ...

    def newest(self, topics: Iterable[str] | None) -> int:
        """Tell the newest kept offset of any of ``topics``; 0 when there is none."""
        ...

    def last_offset(self, subject: str) -> int:
        """Tell the offset of the subject's last entry, 0 when there is none."""
        ...

    def follow(self, reader: Reader) -> Callable[[], None]:
        """
        Call ``reader`` with each entry accepted from now on, in order, each once.

        Readers are called in the order in which they began to follow. A reader must neither
        wait nor raise. Returns a function that ends it.
        """
        ...

    async def close(self) -> None:
        """Let go of what the log holds outside this process."""
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
