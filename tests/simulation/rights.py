"""
Rights: who may do what to what is whose, told from SECURITY.md and the reference alone.

Nothing here is taken from the gateway's own rules.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = [
    "BOOKKEEPING",
    "CRITICAL",
    "DECLARED",
    "FREE",
    "NEEDS",
    "PLAYED",
    "ROOT",
    "SUBSCRIBE",
    "USERS",
    "Choose",
    "Params",
    "Who",
    "anybody",
    "somebody",
]

Params = dict[str, Any]
Choose = Callable[[Sequence[Any]], Any]

USERS = ("ann", "bob", "cy")
# An agent that the gateway declares itself, and a name that nobody serves.
DECLARED, FREE = "declared", "nobody-serves-this"

# --- the table of SECURITY.md --------------------------------------------------------------------

CRITICAL = "ask for what is critical"
EVERYTHING = frozenset({"read", "read all", "notify", "ask", CRITICAL, "work", "operate"})
GIVES: Mapping[str, frozenset[str]] = {
    "events:read": frozenset({"read"}),
    "events:read:all": frozenset({"read", "read all"}),
    "events:write": frozenset({"notify"}),
    "tasks:write": frozenset({"ask"}),
    "tasks:critical": frozenset({CRITICAL}),
    "agent": frozenset({"work", "notify"}),
    "admin": EVERYTHING,
}
SUBSCRIBE = "subscribe"
# One of these is needed before anything else is looked at.
NEEDS: Mapping[str, tuple[str, ...]] = {
    "task.create": ("ask",),
    "task.list": ("read",),
    "task.get": ("read", "ask"),
    "task.partial": ("read", "ask"),
    "task.cancel": ("ask",),
    "task.retry": ("ask",),
    "dead_letter.list": ("operate",),
    "dead_letter.retry": ("operate",),
    "dead_letter.discard": ("operate",),
    "task.claim": ("work",),
    "task.heartbeat": ("work",),
    "task.update": ("work",),
    "task.complete": ("work",),
    "task.fail": ("work",),
    "task.release": ("work",),
    "agent.register": ("work",),
    "agent.heartbeat": ("work",),
    "agent.list": ("read",),
    "agent.get": ("read",),
    "agent.remove": ("work",),
    "agent.shutdown": ("operate",),
    "lock.acquire": ("work",),
    "lock.renew": ("work",),
    "lock.release": ("work",),
    "breaker.list": ("operate",),
    "breaker.open": ("operate",),
    "breaker.close": ("operate",),
    "mode.get": ("read",),
    "mode.set": ("operate",),
    "event.publish": ("notify",),
    "event.list": ("read",),
    "stats.get": ("read all",),
    "impact": ("read",),
    SUBSCRIBE: ("read",),
}
# Events that operators alone see.
BOOKKEEPING = frozenset(
    {
        *("agent_registered", "lease_changed", "lock_changed", "mode_changed"),
        *("dead_letter_changed", "audit_recorded"),
    }
)


@dataclasses.dataclass(frozen=True)
class Who:
    """
    A caller.

    Attributes:
        agents: The only agents that its token is for; None: any.
        channels: The only channels that its token is for; None: any.
        played: Whether it only says that it is this user, on an open gateway.
    """

    user: str
    scopes: frozenset[str]
    agents: frozenset[str] | None = None
    channels: frozenset[str] | None = None
    played: bool = False

    def may(self, right: str) -> bool:
        return any(right in GIVES[scope] for scope in self.scopes)

    @property
    def operates(self) -> bool:
        return self.may("operate")

    def owns(self, user: str) -> bool:
        """Whether it may change what is that user's."""
        return user == self.user or self.operates

    def sees(self, user: str) -> bool:
        """Whether it may read what is that user's."""
        return self.may("read all") or (self.may("read") and user == self.user)

    def is_for(self, agent: str) -> bool:
        return self.agents is None or agent in self.agents or self.operates

    def uses(self, channel: str) -> bool:
        return self.channels is None or channel in self.channels or self.operates

    def speaks_as(self, owner: str) -> bool:
        """Whether it may use the name of that user's agent."""
        return self.owns(owner) or self.played


ROOT = Who("root", frozenset({"admin"}))
PLAYED = frozenset({"events:read", "events:write", "tasks:write", "tasks:critical", "agent"})


def somebody(choose: Choose, *, played: bool = False) -> Who:
    """Make a caller with some of the scopes; on an open gateway with those that one has there."""
    user = choose(USERS)
    if played:
        return Who(user, PLAYED, played=True)
    scopes = {scope for scope in GIVES if scope != "admin" and choose((True, True, False))}
    if choose((False,) * 7 + (True,)):
        scopes.add("admin")
    narrowed = (None, None, frozenset[str](), frozenset({f"{choose(USERS)}-bot", DECLARED}))
    rooms = (None, None, frozenset[str](), frozenset({f"{choose(USERS)}-room"}))
    return Who(user, frozenset(scopes), agents=choose(narrowed), channels=choose(rooms))


def anybody(choose: Choose) -> Who:
    """Make a caller of a gateway with tokens, or of an open one."""
    return somebody(choose, played=choose((False, False, False, True)))
