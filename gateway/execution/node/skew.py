"""
Skew: whether this machine's clock and the log's time agree, and whether somebody has set the clock.

Nothing that is due goes by the machine's clock (``log_time``), only what it knows from elsewhere,
such as the end of a token. So a difference moves no timer; it shows in the times of events.
"""

from __future__ import annotations

from gateway.domain.diagnostics import logger_of
from gateway.ports import Clock

__all__ = ["Skew"]

logger = logger_of(__name__)

# How often the clocks are compared, in seconds.
LOOK_S = 2.0
# A clock that has moved by more than this between two looks, beyond the time that passed, was set.
# NTP bends a clock by a thousandth of that time at the most.
STEP_S = 0.5
# Skew up to this is not told, in seconds: what NTP leaves, and what a node needs to hear of others.
SKEW_S_MAX = 2.0


class Skew:
    """
    Compares the clocks, and logs a warning for each step, and once while they are apart.

    Args:
        machine: This machine's clock.
        log: A clock whose ``wall`` is the log's time.
    """

    def __init__(self, machine: Clock, log: Clock) -> None:
        self._machine = machine
        self._log = log
        self._set_s: float | None = None
        self._told = False

    @property
    def said(self) -> str | None:
        """How far the log's time is from this machine's clock, as a sentence; None: they agree."""
        apart_s = self._log.wall() - self._machine.wall()
        if abs(apart_s) <= SKEW_S_MAX:
            return None
        which = "ahead of" if apart_s > 0 else "behind"
        return (
            f"the log's time is {abs(apart_s):.1f} s {which} this machine's clock: times in events "
            "are so far off, and nothing is due early or late; keep clocks by NTP, and after one "
            "was set restart all gateways on this log together"
        )

    async def run(self) -> None:
        """Compare them now and then, until cancelled."""
        while True:
            self.look()
            await self._machine.sleep(LOOK_S)

    def look(self) -> None:
        """Compare them."""
        set_s = self._machine.wall() - self._machine.monotonic()
        step_s = 0.0 if self._set_s is None else set_s - self._set_s
        self._set_s = set_s
        if abs(step_s) > STEP_S:
            logger.warning(
                "this machine's clock was set %s by %.1f s; what is due goes by the log's time, "
                "which goes on",
                "forward" if step_s > 0 else "back",
                abs(step_s),
            )
        said = self.said
        if said is not None and not self._told:
            logger.warning(said)
        self._told = said is not None
