"""
Meters: what this process has counted and measured since it began, where no state has the number.

What is so now is read from the folds when somebody asks, and is not kept here. The rule: whatever a
client can name is bounded before it becomes a label (``Names``).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence

__all__ = ["NAMES_MAX", "OTHER", "UNKNOWN_SHOWN", "Frequent", "Histogram", "Meters", "Names"]

# So many names of agents, and as many of breakers and of domains, have series of their own; each is
# four series, of a domain one.
NAMES_MAX = 100
# The name of all others together.
OTHER = "other"

# So many classes of exceptions that no table knows are told by name.
UNKNOWN_SHOWN = 10

# Failures that were detected and whose news has not gone out; at the bound the oldest is dropped.
DETECTED_MAX = 1_000

# Upper bounds in seconds: a millisecond is what is promised, ten seconds what somebody waits.
DELIVERY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
DETECTION_BOUNDS_S = (*DELIVERY_BOUNDS_S, 30.0)


class Histogram:
    """
    How often a value was within each bound.

    Args:
        bounds: Upper bounds, each inclusive, growing.
    """

    __slots__ = ("_counts", "bounds", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.sum = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value that was observed ``times``; one below 0, by clocks that differ, is 0."""
        if value < 0.0:
            value = 0.0
        self._counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def cumulative(self) -> list[tuple[float, int]]:
        """Give each bound with the number of values within it; the last one is infinite."""
        within, total = [], 0
        for bound, count in zip((*self.bounds, math.inf), self._counts, strict=True):
            total += count
            within.append((bound, total))
        return within


class Names:
    """
    Names as labels: the first ``NAMES_MAX`` keep their own, later ones share ``OTHER``.

    A name that has its own keeps it for as long as the process lives, so that no count moves.
    """

    def __init__(self) -> None:
        self._own: dict[str, None] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def of(self, name: str) -> str:
        """Give the label of a name."""
        if name in self._own:
            return name
        # One that is called like the others' series is one of them: no series is told twice.
        if name == OTHER or len(self._own) >= NAMES_MAX:
            return OTHER
        self._own[name] = None
        return name


class Frequent:
    """
    Names that come from anywhere, counted: at the bound the least frequent makes way.

    What is left out is counted together, so that the total is exact.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self.total = 0

    def count(self, name: str) -> None:
        """Count a name once."""
        self.total += 1
        if name not in self._counts and len(self._counts) >= NAMES_MAX:
            least = min(self._counts, key=self._counts.__getitem__)
            del self._counts[least]
        self._counts[name] += 1

    def most(self, number: int) -> list[tuple[str, int]]:
        """Give the most frequent names that are known, with their counts."""
        return self._counts.most_common(number)


class Meters:
    """
    The counts and times of this process.

    Attributes:
        agents: The agents with series of their own.
        finished: How many tasks this process has ended, by agent and outcome.
        refused: How many requests were refused, by reason.
        sign_ins_refused: How many sign-ins were refused, by reason; the reasons are few, and ours.
        unknown: The classes of exceptions that no table knows.
        stale_terms: How many reports were refused because their term is over.
        alerts_sent: How many alerts were taken by their receiver.
        alerts_dropped: How many were dropped, since it did not take them.
        delivery: Seconds from an event's acceptance in the log to its write, once per connection.
        detection: Seconds from the detection of a task's failure here to the write of its
            ``agent_error``, once per failure.
    """

    def __init__(self) -> None:
        self.agents = Names()
        self.finished: Counter[tuple[str, str]] = Counter()
        self.refused: Counter[str] = Counter()
        self.sign_ins_refused: Counter[str] = Counter()
        self.unknown = Frequent()
        self.stale_terms = 0
        self.alerts_sent = self.alerts_dropped = 0
        self.delivery = Histogram(DELIVERY_BOUNDS_S)
        self.detection = Histogram(DETECTION_BOUNDS_S)
        # Subject → the term of the attempt that failed, and when that was detected.
        self._detected: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def ended(self, agent: str | None, outcome: str) -> None:
        """
        Count the end of a task.

        Args:
            agent: Its agent; None: it has none, or one that nobody has registered. What anybody
                may name has no series of its own.
        """
        self.finished[OTHER if agent is None else self.agents.of(agent), outcome] += 1

    def detected(self, subject: str, term: int, now: float) -> None:
        """
        Note that an attempt has failed; of one attempt the first time counts.

        Args:
            subject: The log subject of its task.
            now: Monotonic seconds.
        """
        known = self._detected.get(subject)
        if known is not None and known[0] == term:
            return
        self._detected[subject] = term, now
        self._detected.move_to_end(subject)
        if len(self._detected) > DETECTED_MAX:
            self._detected.popitem(last=False)

    def told(self, subject: str, now: float) -> None:
        """Note that a subscriber was told of a failure; ``now`` as for ``detected``."""
        if (known := self._detected.pop(subject, None)) is not None:
            self.detection.observe(now - known[1])
