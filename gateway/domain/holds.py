"""
Holds: an upstream that has said when it wants to be asked again is not asked before.

A failure of an attempt that brings a Retry-After holds its whole upstream, for all tasks and on
every node: holds are a fold of the log. One ends by time, or by an operator; a success of a call
that was under way does not lift it early, since the upstream has said when, and one call proves
nothing for a hundred. A later Retry-After makes it longer, never shorter.

After a hold the calls come back in a ramp, which doubles each second: one at once, two within a
second, four within two, a thousand within ten. Else all that have waited would call in the same
instant, and be held again. The ramp follows from the log's times alone; no call has to succeed for
the next to begin, so that one that takes long stops nobody.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from gateway.domain.facts import Fact, Failed, Started

__all__ = ["HOLDS_MAX", "HOLD_S_MAX", "RAMP_S", "Hold", "Holds", "of_user", "upstream_in"]

# The longest hold, in seconds. The task that failed waits as long as it was told; the others find
# out after an hour whether the upstream still means it. One that means it holds again.
HOLD_S_MAX = 3600.0
# After so many seconds the ramp is over: a thousand calls have begun by then.
RAMP_S = 10.0
# Upstreams that are held at once, those whose ramp is not over included; at the bound the hold that
# ends first is forgotten.
HOLDS_MAX = 10_000


# Between an upstream and the user whose own agents alone are held; a name has no blanks.
_OF = " of "


def of_user(upstream: str, user_id: str) -> str:
    """Name an upstream as it is held for the own agents of one user alone."""
    return f"{upstream}{_OF}{user_id}"


def upstream_in(name: str) -> str:
    """Give the upstream of a hold's name, for whomever it is held."""
    return name.partition(_OF)[0]


@dataclasses.dataclass(frozen=True, slots=True)
class Hold:
    """
    The hold of one upstream.

    Attributes:
        upstream: Its name; see ``Policies.upstream_of``.
        until: When it ends, in seconds since the Unix epoch.
        begun: How many calls have begun since.
    """

    upstream: str
    until: float
    begun: int = 0

    def allows(self, now: float) -> bool:
        """Whether one more call may begin: the hold is over, and it is its turn in the ramp."""
        since_s = now - self.until
        return since_s >= RAMP_S or (since_s >= 0 and self.begun + 1 <= 2**since_s)

    def left_s(self, now: float) -> float:
        """Tell for how many seconds more it holds; 0: it is over."""
        return max(0.0, self.until - now)

    def over(self, now: float) -> bool:
        """Whether the ramp is over as well, and nothing more comes of it."""
        return now - self.until >= RAMP_S


class Holds:
    """The holds of all upstreams, by name. Each is replaced when it changes."""

    def __init__(self) -> None:
        self._by_name: dict[str, Hold] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Hold]:
        return iter(self._by_name.values())

    def get(self, upstream: str) -> Hold | None:
        """Give the hold of an upstream, also one that is over; None: none is known."""
        return self._by_name.get(upstream)

    def apply(self, fact: Fact | None, at: float) -> None:
        """Take in what an entry tells of an attempt: that it was asked to wait, or has begun."""
        if isinstance(fact, Failed) and fact.upstream is not None:
            self.asked(fact.upstream, fact.retry_after or 0.0, at)
        elif isinstance(fact, Started) and fact.hold is not None:
            self.began(fact.hold, at)

    def asked(self, upstream: str, retry_after_s: float, at: float) -> None:
        """An upstream has asked at ``at`` not to be called for so many seconds."""
        until = at + min(retry_after_s, HOLD_S_MAX)
        known = self._by_name.get(upstream)
        if known is not None and known.until >= until:
            return
        if known is None and len(self._by_name) >= HOLDS_MAX:
            self._make_room(at)
        self.adopt(Hold(upstream, until))

    def began(self, upstream: str, at: float) -> None:
        """A call of an upstream has begun at ``at``."""
        known = self._by_name.get(upstream)
        if known is None:
            return
        if known.over(at):
            del self._by_name[upstream]
        elif at >= known.until:
            self.adopt(dataclasses.replace(known, begun=known.begun + 1))

    def of(self, upstream: str) -> list[Hold]:
        """Give the holds of an upstream, for all and for single users' agents, over or not."""
        return [hold for name, hold in self._by_name.items() if upstream_in(name) == upstream]

    def lifted(self, upstream: str, at: float) -> None:
        """End the holds of an upstream at ``at``; its calls come back in the ramp."""
        for hold in self.of(upstream):
            if hold.left_s(at) > 0:
                self.adopt(Hold(hold.upstream, at))

    def adopt(self, hold: Hold) -> None:
        """Know a hold as it is."""
        self._by_name[hold.upstream] = hold

    def _make_room(self, at: float) -> None:
        self._by_name = {name: hold for name, hold in self._by_name.items() if not hold.over(at)}
        if len(self._by_name) >= HOLDS_MAX:
            del self._by_name[min(self, key=lambda hold: hold.until).upstream]
