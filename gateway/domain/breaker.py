"""
Circuit breakers: what counts, which attempts pass, and when a breaker should open or close.

    closed → open → half_open → closed, or open again

A breaker is a fold over the log: outcomes of attempts, and its own openings, probes and
closings. Two rules protect it from late reports. Each opening has a version, and an outcome of
an attempt that was admitted under another version is ignored. A half-open breaker lets exactly
``permits`` probes through; a probe that ends without an outcome (cancelled, worker lost) gives
its permit back.

The rate rule follows the sliding time window of resilience4j; the pattern is M. Nygard's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from gateway.domain.timestamps import seconds_of

__all__ = ["Breaker", "BreakerRules", "Kind", "Outcome", "Window", "least_missed", "subject_of"]

State = Literal["closed", "open", "half_open"]
Kind = Literal["success", "failure", "neutral"]

WINDOW_S = 30
OUTCOMES_MIN = 20


def subject_of(name: str) -> str:
    """Name the log subject of one breaker."""
    return f"breaker/{name}"


@dataclasses.dataclass(frozen=True, slots=True)
class BreakerRules:
    """
    When a breaker opens and closes.

    Attributes:
        threshold: Consecutive failures that open it.
        rate: Failure rate that opens it, over at least 20 outcomes in 30 s.
        cooldown_s: Seconds it stays open before it probes.
        permits: Probes let through half-open; all must succeed.
    """

    threshold: int = 5
    rate: float = 0.5
    cooldown_s: float = 30.0
    permits: int = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """
    How an admitted attempt ended, as the log keeps it.

    Attributes:
        breaker: Name of the breaker that admitted the attempt.
        generation: The breaker's version at that time.
        probe: The test request that the attempt was; None: an ordinary attempt.
        kind: ``neutral`` is for an end that says nothing about the upstream, such as a cancel.
    """

    breaker: str
    generation: int
    probe: str | None
    kind: Kind


@dataclasses.dataclass(slots=True)
class Window:
    """
    Counts of outcomes over the last 29 to 30 s, in buckets of one second.

    Attributes:
        buckets: ``[second, outcomes, failures]``, oldest first, at most thirty.
    """

    buckets: list[list[int]] = dataclasses.field(default_factory=list)

    def add(self, at: float, *, failed: bool) -> None:
        """Count one outcome at the log's time ``at``, in seconds since the Unix epoch."""
        second = math.floor(at)
        if not self.buckets or self.buckets[-1][0] < second:
            self.buckets.append([second, 0, 0])
        self.buckets[-1][1] += 1
        self.buckets[-1][2] += failed
        while self.buckets[0][0] <= at - WINDOW_S:
            del self.buckets[0]

    def counts(self, now: float) -> tuple[int, int]:
        """
        Count the outcomes and the failures of the window that ends at ``now``.

        Reading removes no bucket: the reader's clock may be ahead, and the fold has to follow
        from the log alone.
        """
        inside = [b for b in self.buckets if b[0] > now - WINDOW_S]
        return sum(b[1] for b in inside), sum(b[2] for b in inside)

    @property
    def newest(self) -> int:
        """The second of the newest outcome, by the log's clock; 0 when there is none."""
        return self.buckets[-1][0] if self.buckets else 0

    def clear(self) -> None:
        self.buckets.clear()


@dataclasses.dataclass(slots=True, eq=False)
class Breaker:
    """
    One breaker as the log tells it. Times are seconds since the Unix epoch.

    Attributes:
        scope: ``agent`` or ``upstream``; see ``AgentPolicy.breaker_scope``. ``domain``: see
            ``failure_domain``.
        version: Grows by one with each opening.
        consecutive: Counted failures since the last success.
        opened_at: When it opened last; None while closed.
        first_opened_at: When it opened from closed; a failed probe does not change it.
        probe_at: When the first probe may pass; None while closed.
        error_id: The failure that the opening is, until the breaker closes; None while closed.
        last_type: error_type of the newest counted failure.
        probes: Test requests that hold a permit.
        successes: Probes of this opening that succeeded.
        openings: Openings since it was last closed.
        last_offset: Newest offset of its log subject, which a decision expects.
        probe_failed: Whether a probe of this opening has failed.
    """

    name: str
    scope: str
    rules: BreakerRules
    state: State = "closed"
    version: int = 0
    consecutive: int = 0
    window: Window = dataclasses.field(default_factory=Window)
    opened_at: float | None = None
    first_opened_at: float | None = None
    probe_at: float | None = None
    error_id: str | None = None
    last_type: str = "service_unavailable"
    probes: set[str] = dataclasses.field(default_factory=set)
    successes: int = 0
    openings: int = 0
    last_offset: int = 0
    probe_failed: bool = False

    # --- folds ------------------------------------------------------------------------------

    def record(self, outcome: Outcome, *, at: float, error_type: str | None = None) -> bool:
        """
        Fold the outcome of one attempt.

        Args:
            outcome: How the attempt ended.
            at: The log's time of the outcome.
            error_type: Of the attempt's failure; None: it did not fail.

        Returns:
            Whether the outcome counts: False for a neutral one and for one of another opening.
        """
        if outcome.probe is not None:
            if outcome.probe not in self.probes:
                return False
            if outcome.kind == "neutral":
                self.probes.discard(outcome.probe)
                return False
        elif outcome.generation != self.version or self.state != "closed":
            return False
        if outcome.kind == "neutral":
            return False
        failed = outcome.kind == "failure"
        self.window.add(at, failed=failed)
        if failed:
            self.consecutive += 1
            self.last_type = error_type or self.last_type
            self.probe_failed = self.state == "half_open"
        else:
            self.consecutive = 0
            if self.state == "half_open":
                self.successes += 1
        return True

    def opened(self, event: Mapping[str, Any], *, at: float) -> None:
        """Fold ``circuit_breaker_triggered``."""
        self.state = "open"
        self.version = event["breaker_version"]
        self.opened_at = at
        self.first_opened_at = self.first_opened_at or at
        self.probe_at = seconds_of(event["probe_at"])
        self.error_id = event["error_id"]
        self.openings += 1
        self.probes.clear()
        self.successes = 0
        self.probe_failed = False

    def probing(self, event: Mapping[str, Any]) -> None:
        """Fold ``circuit_breaker_test_request``: the probe takes one permit."""
        self.state = "half_open"
        self.probes.add(event["test_request_id"])

    def closed(self) -> None:
        """Fold ``system_recovered`` of this breaker."""
        self.state = "closed"
        self.opened_at = self.first_opened_at = self.probe_at = self.error_id = None
        self.consecutive = self.successes = self.openings = 0
        self.probes.clear()
        self.probe_failed = False
        self.window.clear()

    # --- questions --------------------------------------------------------------------------

    def due(self) -> Literal["open", "closed"] | None:
        """
        Tell which state the breaker should go to; None: it stays as it is.

        Every node finds the same, however late it looks and whatever its clock says: the
        failure rate is the one at the time of the newest outcome.
        """
        if self.state == "half_open":
            if self.probe_failed:
                return "open"
            return "closed" if self.successes >= self.rules.permits else None
        if self.state == "closed" and (
            self.consecutive >= self.rules.threshold or self.rate_tripped(self.window.newest)
        ):
            return "open"
        return None

    def permits_left(self, now: float) -> int:
        """Count the attempts that may still pass as probes; 0 while closed or cooling down."""
        if self.state == "closed" or (self.state == "open" and now < (self.probe_at or 0.0)):
            return 0
        return self.rules.permits - len(self.probes)

    def retry_after_s(self, now: float) -> float:
        """Tell in how many seconds it is worth asking again."""
        if self.state == "open":
            return max(0.001, (self.probe_at or now) - now)
        # Half-open with every permit taken: a probe takes about as long as one call.
        return min(1.0, self.rules.cooldown_s)

    def holds_back_s(self, now: float, *, failing: bool, probe: str | None) -> float:
        """
        Tell for how many seconds the breaker will hold back a task whose attempt ends now.

        Args:
            now: When the attempt ends.
            failing: Whether the attempt counts as a failure; it may be the one that opens the
                breaker.
            probe: The test request that the attempt was; None: an ordinary attempt.
        """
        if self.state == "open":
            return self.retry_after_s(now)
        opens = (
            self.consecutive + 1 >= self.rules.threshold
            if self.state == "closed"
            else probe in self.probes
        )
        return self.rules.cooldown_s if failing and opens else 0.0

    def failure_rate(self, now: float) -> float:
        """Give failures as a share of the outcomes in the window; 0 when there are none."""
        outcomes, failures = self.window.counts(now)
        return failures / outcomes if outcomes else 0.0

    def rate_tripped(self, now: float) -> bool:
        """Tell whether the failure rate alone is a reason to open."""
        outcomes, failures = self.window.counts(now)
        return outcomes >= OUTCOMES_MIN and failures / outcomes >= self.rules.rate


def least_missed(breakers: Mapping[str, Breaker]) -> Breaker | None:
    """
    Give the first closed one, rather one that the log tells nothing of but outcomes.

    None: none is closed.
    """
    closed = [breaker for breaker in breakers.values() if breaker.state == "closed"]
    return next((one for one in closed if not one.last_offset), closed[0] if closed else None)
