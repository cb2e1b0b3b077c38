"""
The service: all that the doors may ask of the inside.

The transports know this interface and nothing behind it, so that they can be built and tested
against it alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from gateway.domain.access import Caller
from gateway.domain.meters import Meters
from gateway.ports import Clock, EventLog, IdSource

__all__ = ["Connections", "Figures", "Service"]


@dataclasses.dataclass(slots=True)
class Connections:
    """
    How many subscribers the doors have, told to the inside.

    Attributes:
        now: As of now; the hub of this process counts.
    """

    now: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """
    What is so now, in numbers: read from the folds when somebody asks, and kept nowhere.

    Attributes:
        mode: As ``stats.get`` has it.
        tasks_open: Tasks that have not ended.
        tasks_without_end: Those of them that should have, by their own limits.
        queue_depth: Tasks that wait.
        queue_oldest_age_s: How old the oldest of them is, in seconds; 0: none waits.
        workers: How many there are, by status.
        health: Agent → the lowest health score of the workers that serve it and are there.
        breakers: Name → state.
        domains: Failure domain → the share of its outcomes that failed lately, 0 to 1.
        log_events: Entries that are kept.
        log_bytes: Bytes that they have.
        log_offset: The newest offset.
    """

    mode: str
    tasks_open: int
    tasks_without_end: int
    queue_depth: int
    queue_oldest_age_s: float
    workers: Mapping[str, int]
    health: Mapping[str, float]
    breakers: Mapping[str, str]
    domains: Mapping[str, float]
    log_events: int
    log_bytes: int
    log_offset: int


class Service(Protocol):
    """The gateway as the doors see it; ``Engine`` is the one that they get."""

    @property
    def log(self) -> EventLog:
        """The one log."""
        ...

    @property
    def clock(self) -> Clock:
        """The time."""
        ...

    @property
    def ids(self) -> IdSource:
        """Ids and chance."""
        ...

    @property
    def connections(self) -> Connections:
        """Where the doors count their subscribers."""
        ...

    @property
    def meters(self) -> Meters:
        """What this process counts and measures itself."""
        ...

    def figures(self) -> Figures | None:
        """Tell what is so now, in numbers; None: this node does not know yet what the log says."""
        ...

    def log_time(self) -> float:
        """Tell the log's time, in seconds since the Unix epoch."""
        ...

    @property
    def reason(self) -> str | None:
        """Why this node should not be asked now, for operators; None: it should."""
        ...

    @property
    def doubt(self) -> str | None:
        """What is to be said of the log's time, as a sentence; None: it agrees with the clock's."""
        ...

    @property
    def degradation(self) -> Mapping[str, Any] | None:
        """
        What is degraded and cannot be told by an event: fields of ``graceful_degradation``.

        None: nothing is. Watchers of ``log.watch`` are told when it changes.
        """
        ...

    def require_ready(self) -> None:
        """
        Go on only when this node knows what the log says.

        Raises:
            Unavailable: If it is still being read.
        """
        ...

    async def call(self, name: str, params: Mapping[str, Any], caller: Caller) -> Any:
        """
        Carry out one operation of ``protocol.operations.OPERATIONS``.

        Raises:
            RequestError: The request is refused; state is unchanged.
        """
        ...

    async def reached(self, offset: int, *, within_s: float) -> bool:
        """
        Wait until this node has seen ``offset``, and tell whether it has.

        Args:
            within_s: How long to wait, in seconds; 0: not at all.
        """
        ...

    def sign_in_refused(self, reason: str) -> None:
        """Take in that a token was not accepted; ``reason`` is one of a few, for operators."""
        ...

    def check_params(self, name: str, params: Any) -> None:
        """
        Check parameters against the schema of an operation or of a session's method.

        Raises:
            InvalidParams: With the field, the rule and the remedy.
        """
        ...

    async def session_closed(self, session_id: str) -> None:
        """Take in that a connection is gone; the workers that used it are suspect."""
        ...

    def owner_of(self, topic: str) -> str | None:
        """Tell whose task or worker a topic is about; None: no such one is known."""
        ...

    def snapshot(self, topics: Iterable[str], caller: Caller) -> dict[str, Any]:
        """Tell the state of ``topics`` as of exactly ``log.head``; never waits."""
        ...
