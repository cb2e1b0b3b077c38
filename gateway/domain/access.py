"""
What a caller may do and see: scopes, and the topics that each scope opens.

A caller that gives no name has no scopes and reads nothing. On an open gateway (loopback, no
secret) a caller without a name is an operator instead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from gateway.domain.errors import NotPermitted

__all__ = ["GATEWAY", "LOCAL_OPERATOR", "OPEN_USER_SCOPES", "SCOPES", "Caller"]

SCOPES: Mapping[str, str] = {
    "events:read": "own events, own tasks, own notifications, and what concerns everyone",
    "events:read:all": "every user's events and tasks, without operators' detail",
    "events:write": "send notifications",
    "tasks:write": "create, cancel and retry own tasks",
    "tasks:critical": "create own tasks of priority 0, which nothing else holds up",
    "agent": "register workers, claim tasks, report",
    "admin": "operate the gateway: everything above, detail, breakers, mode",
}

# The scopes of a caller that names a user on an open gateway.
OPEN_USER_SCOPES = frozenset(
    {"events:read", "events:write", "tasks:write", "tasks:critical", "agent"}
)


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """
    The user, worker or operator that a request comes from.

    Attributes:
        user_id: The user that this caller is. Tasks that it creates belong to this user.
        scopes: What it may do; see ``SCOPES``.
        expires_at: When its token ends, in seconds since the Unix epoch; None: never.
        session_id: The connection that the request came over; None: a single HTTP request.
        played: Whether it only says that it is this user, on an open gateway.
        agents: The only agents that it may serve; None: any. Operators are not narrowed.
        channels: The only channels that it may read and write to; None: any. The same.
    """

    user_id: str
    scopes: frozenset[str]
    expires_at: float | None = None
    session_id: str | None = None
    played: bool = False
    agents: frozenset[str] | None = None
    channels: frozenset[str] | None = None

    @property
    def operator(self) -> bool:
        """Whether this caller sees detail and bookkeeping."""
        return "admin" in self.scopes

    @property
    def reads_all(self) -> bool:
        """Whether this caller sees what concerns other users."""
        return self.operator or "events:read:all" in self.scopes

    @property
    def reads(self) -> bool:
        """Whether this caller sees any events at all."""
        return self.reads_all or "events:read" in self.scopes

    def has(self, scope: str) -> bool:
        """
        Whether this caller has ``scope``.

        An operator has every scope; ``agent`` includes ``events:write``.
        """
        return (
            self.operator
            or scope in self.scopes
            or (scope == "events:read" and self.reads)
            or (scope == "events:write" and "agent" in self.scopes)
        )

    def require(self, scope: str) -> None:
        """
        Refuse a caller without ``scope``.

        Raises:
            NotPermitted: If this caller does not have ``scope``.
        """
        if not self.has(scope):
            raise NotPermitted(f"this needs the scope {scope}")

    def may_see_user(self, user_id: str | None) -> bool:
        """Whether what concerns ``user_id`` may be shown to this caller."""
        return self.reads_all or (self.reads and user_id == self.user_id)

    def may_follow(self, topic: str, *, owner: str | None = None) -> bool:
        """
        Tell whether this caller may subscribe to ``topic``.

        Args:
            topic: One well-formed topic.
            owner: For a task's topic, the user that owns the task; for a recipient's, the user
                that has registered the worker of that id. None: no such task or worker.
        """
        if topic == "*":
            return self.operator
        if not self.reads:
            return False
        kind, _, name = topic.partition(":")
        if kind == "channel":
            return self.may_use(name)
        if self.reads_all:
            return True
        if kind in ("user", "recipient") and name == self.user_id:
            return True
        if kind in ("task", "recipient"):
            return owner == self.user_id
        return topic == "system"

    def may_use(self, channel: str) -> bool:
        """Whether the token leaves this channel to its bearer."""
        return self.channels is None or channel in self.channels or self.operator

    def may_serve(self, agent_name: str) -> bool:
        """Whether the token lets its bearer work, and report, as this agent."""
        return self.agents is None or agent_name in self.agents or self.operator


LOCAL_OPERATOR = Caller("local", frozenset(SCOPES))

# The gateway itself, where it acts as a worker: no user id is empty.
GATEWAY = Caller("", frozenset({"agent"}))
