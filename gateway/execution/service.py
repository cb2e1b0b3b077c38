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
from gateway.ports import Clock, EventLog, IdSource

__all__ = ["Connections", "Service"]


@dataclasses.dataclass(slots=True)
class Connections:
    """
    How many subscribers the doors have, told to the inside.

    Attributes:
        now: As of now; the hub of this process counts.
    """

    now: int = 0


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
    def reason(self) -> str | None:
        """Why this node should not be asked now, for operators; None: it should."""
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
