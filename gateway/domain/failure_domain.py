"""
Failure domains: how often work fails in a zone or at a provider, and how fast it may go on there.

    closed (full speed) → open (one task a second) → half_open (the same, some of them probes)
                        → closed, or open again

The states are those of a breaker, and so are the rules that they go by: results alone move them,
each opening has a version, exactly ``permits`` probes decide, and all have to succeed. Three things
differ. An open domain is slowed down, not stopped, since its other workers may be well. Only the
failure rate opens it. And whoever is lost with a task has failed there, which no upstream did.

Everything is a fold over the log, so every node on it knows the same. Time alone changes no state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from gateway.domain.breaker import Breaker, BreakerRules, Kind
from gateway.domain.health import weighs
from gateway.domain.task import Task

__all__ = [
    "DOMAINS_MAX",
    "OUTCOMES_MIN",
    "PERIOD_S",
    "FailureDomain",
    "FailureDomains",
    "probe_of",
    "subject_of",
]

# So many outcomes at the least are a rate.
OUTCOMES_MIN = 10
# While it is not closed, so many seconds lie between the beginnings of two tasks in a domain.
PERIOD_S = 1.0
# So many domains are counted at once: workers name them. At the bound a closed one goes, the
# longest without an outcome, and rather one that never opened. While none is closed, no other is
# counted: it keeps its full speed.
DOMAINS_MAX = 1_000


def subject_of(name: str) -> str:
    """Name the log subject of one failure domain."""
    return f"domain/{name}"


@dataclasses.dataclass(slots=True, eq=False)
class FailureDomain(Breaker):
    """
    One failure domain as the log tells it; a breaker whose probes go by task and attempt.

    Attributes:
        next_at: When the next task may begin there, while it is not closed.
        closed_at: When it was closed last; what began before says nothing of it now.
    """

    next_at: float = 0.0
    closed_at: float = 0.0

    # --- folds ------------------------------------------------------------------------------

    def began(self, at: float) -> None:
        """
        Fold the beginning of an attempt there.

        Two nodes may let one begin in the same moment. The next then waits for both, so that the
        speed is that of one.
        """
        if self.state != "closed":
            self.next_at = max(self.next_at, at) + PERIOD_S

    def ended(self, probe: str, kind: Kind, *, began_at: float, at: float) -> None:
        """
        Fold the end of an attempt there.

        Args:
            probe: The attempt, as ``probe_of`` names it.
            began_at: When it began.
            at: The log's time of its end.
        """
        failed = kind == "failure"
        if probe in self.probes:
            if kind == "neutral":
                self.probes.discard(probe)
            elif failed:
                self.probe_failed = self.probe_failed or self.state == "half_open"
            else:
                self.successes += 1
        if kind == "neutral" or began_at < self.closed_at:
            return
        self.window.add(at, failed=failed)
        self.consecutive = self.consecutive + 1 if failed else 0

    def told(self, event: Mapping[str, Any], *, at: float, offset: int) -> None:
        """Fold an event about the domain itself: opened, probing, closed."""
        self.last_offset = offset
        if event["type"] == "circuit_breaker_triggered":
            self.opened(event, at=at)
            self.next_at = at + PERIOD_S
        elif event["type"] == "circuit_breaker_test_request":
            self.state = "half_open"
            self.probes.add(probe_of(event["task_id"], event["attempt"]))
        elif event["type"] == "system_recovered":
            self.closed()
            self.closed_at = at

    # --- questions --------------------------------------------------------------------------

    def due(self) -> Literal["open", "closed"] | None:
        """Tell which state it should go to; None: it stays. The rate alone opens it."""
        if self.state == "closed":
            return "open" if self.rate_tripped(self.window.newest) else None
        return Breaker.due(self)

    def rate_tripped(self, now: float) -> bool:
        """Tell whether more of its outcomes are failures than may be."""
        outcomes, failures = self.window.counts(now)
        return outcomes >= OUTCOMES_MIN and failures / outcomes > self.rules.rate

    def wait_s(self, now: float) -> float:
        """Tell in how many seconds the next task may begin there; 0: now."""
        return 0.0 if self.state == "closed" else max(0.0, self.next_at - now)


class FailureDomains(Mapping[str, FailureDomain]):
    """
    The failure domains in which an attempt has ended, by name.

    Args:
        rules: Of breakers; a domain has its own ``rate``.
        rate: More failures than this share slow a domain down.
        changes: Called with a domain just before it changes.
    """

    def __init__(self, rules: BreakerRules, rate: float, changes: Callable[[object], None]) -> None:
        self.rules = dataclasses.replace(rules, rate=rate)
        self._changes = changes
        self._by_name: dict[str, FailureDomain] = {}

    def __getitem__(self, name: str) -> FailureDomain:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._by_name)

    def of(self, name: str) -> FailureDomain | None:
        """Give a domain, a new one if it is not counted yet; None: there is no room for it."""
        known = self._by_name.get(name)
        if known is None and self._has_room():
            known = self._by_name[name] = FailureDomain(name, "domain", self.rules)
        return known

    def adopt(self, domain: FailureDomain) -> None:
        """Add a domain as a snapshot has it; the settings may have changed since."""
        domain.rules = self.rules
        self._by_name[domain.name] = domain

    def began(self, task: Task, *, at: float) -> None:
        """Fold the beginning of an attempt at ``task`` by a worker of the task's domain."""
        if (known := self._by_name.get(task.domain or "")) is not None:
            self._changes(known)
            known.began(at)

    def ended(self, task: Task, event: Mapping[str, Any], *, at: float) -> None:
        """Fold the end of the newest attempt at ``task``, which ``event`` has told."""
        if task.domain is None:
            return
        kind = _kind_of(event)
        known = self._by_name.get(task.domain) if kind == "neutral" else self.of(task.domain)
        if known is None:
            return
        attempt = task.attempts[-1]
        self._changes(known)
        probe = probe_of(task.task_id, attempt.number)
        known.ended(probe, kind, began_at=attempt.started_at, at=at)

    def told(self, name: str, event: Mapping[str, Any], *, at: float, offset: int) -> None:
        """Fold an event about the domain of that name."""
        if (known := self.of(name)) is not None:
            self._changes(known)
            known.told(event, at=at, offset=offset)

    def _has_room(self) -> bool:
        if len(self._by_name) < DOMAINS_MAX:
            return True
        closed = [known for known in self._by_name.values() if known.state == "closed"]
        if not closed:
            return False
        first = min(closed, key=lambda known: (known.last_offset > 0, known.window.newest))
        del self._by_name[first.name]
        return True


def probe_of(task_id: str, attempt: int) -> str:
    """Name an attempt that is a probe."""
    return f"{task_id}:{attempt}"


def _kind_of(event: Mapping[str, Any]) -> Kind:
    """Say what the end of an attempt says of the domain in which it was made."""
    if event["type"] == "task_finished":
        return "success" if event["outcome"] == "succeeded" else "neutral"
    if event["type"] == "agent_error" and weighs(event["error_type"], event["error_code"]):
        return "failure"
    return "neutral"
