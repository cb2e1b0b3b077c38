"""
Overload: when there is too much to do, judged by what was measured over a time.

Four measures, each with a limit: tasks that wait, the loop's delay, processor and memory. One that
stays at its limit for its time is an overload. It is over when all of them have stayed below a
share of their limits (hysteresis), so that a load just at a limit is no flapping.

Times are seconds on a monotonic clock, given as ``now``. Nothing here reads a clock.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.domain.settings import Settings

__all__ = ["CALM_S", "Load", "Overload"]

# How long a measure has to stay at its limit, in seconds. A processor that is busy for a moment is
# used well; a queue and a memory do not become full by accident.
OVER_S = {"queue": 0.0, "loop_lag": 0.75, "cpu": 2.0, "memory": 0.0}
# A delay in which less than this share of a processor was used is one of a process that
# was stopped, or of a machine that slept, unless it comes again at once.
IDLE = 0.25
# How long all have to stay below their limits, in seconds.
CALM_S = 3.0


class Load(NamedTuple):
    """
    What was measured in one look.

    Attributes:
        queue: Tasks that wait, as a share of the queue's limit.
        loop_lag: How late the loop was, in seconds.
        cpu: Processor time of this process, as a share of one core.
        memory: Of the machine's or the container's memory, the share that this process has.
    """

    queue: float
    loop_lag: float
    cpu: float
    memory: float


class Overload:
    """
    Judges loads, one look after the other.

    Args:
        settings: The limits ``degraded_…``; 0: that measure does not count.

    Attributes:
        load: The newest.
    """

    def __init__(self, settings: Settings) -> None:
        limits = Load(
            settings.degraded_queue,
            settings.degraded_lag,
            settings.degraded_cpu,
            settings.degraded_memory,
        )
        self._limits = {name: most for name, most in limits._asdict().items() if most}
        self._release = settings.degraded_release
        self._over_since: dict[str, float] = {}
        self._calm_since: float | None = None
        self.load = Load(0.0, 0.0, 0.0, 0.0)

    def look(self, load: Load, *, began: float, now: float) -> str | None:
        """
        Take in a load.

        Args:
            began: When this look began.

        Returns:
            The measure that has been over its limit for its time; None: none has.
        """
        self.load = load
        values = load._asdict()
        over = [name for name, most in self._limits.items() if values[name] >= most]
        self._over_since = {
            name: self._over_since.get(
                name, now if name == "loop_lag" and load.cpu < IDLE else began
            )
            for name in over
        }
        if any(values[name] >= most * self._release for name, most in self._limits.items()):
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        for name, since in self._over_since.items():
            if now - since >= OVER_S[name]:
                return name
        return None

    def calm(self, now: float) -> bool:
        """Whether all measures have been well below their limits for long enough."""
        return self._calm_since is not None and now - self._calm_since >= CALM_S
