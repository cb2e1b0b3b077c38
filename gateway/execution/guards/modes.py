"""
Modes: what is taken on now, set by an operator or by what is measured.

The rule: an operator's mode stays until an operator sets another. What was measured changes the
mode at most once in a period, and the node that has degraded the gateway makes it normal again; if
that node is gone, any other does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import ExpectationFailed, Unavailable
from gateway.domain.mode import Mode
from gateway.domain.overload import Load, Overload
from gateway.domain.settings import Settings
from gateway.execution.record.intake import Decision, Intake
from gateway.execution.record.mode_drafts import SUBJECT, ModeDrafts
from gateway.execution.record.state import State
from gateway.ports import Clock, Machine

__all__ = ["FEATURES_MAX", "LOOK_EVERY_S", "Modes"]

# Between two looks at the load, in seconds.
LOOK_EVERY_S = 0.25

# An event has a bound, and workers may name any number of features: so many of them are told, those
# of the gateway's own agents first.
FEATURES_MAX = 100

OVERLOAD, OPERATOR = "overload", "operator"

# What a measure says to developers.
SAID: dict[str, Callable[[Load], str]] = {
    "queue": lambda load: f"the queue is {load.queue:.0%} full",
    "loop_lag": lambda load: f"the event loop is {load.loop_lag:.2f} s late",
    "cpu": lambda load: f"the processor is busy for {load.cpu:.0%} of the time",
    "memory": lambda load: f"{load.memory:.0%} of the memory is used",
}

logger = logger_of(__name__)


class Modes:
    """
    Changes the mode.

    Args:
        holder: The agent_id of this process.
        features: Gives the features of all agents.
        machine: What this machine says of itself; None: nothing is measured.
        clock: This machine's.
    """

    def __init__(
        self,
        *,
        holder: str,
        state: State,
        intake: Intake,
        drafts: ModeDrafts,
        features: Callable[[], Iterable[str]],
        machine: Machine | None,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._holder = holder
        self._state = state
        self._intake = intake
        self._drafts = drafts
        self._features = features
        self._machine = machine
        self._clock = clock
        self._settings = settings
        self.overload = Overload(settings)

    async def set(self, name: str, *, note: str | None = None) -> Mode:
        """
        Change the mode for an operator, and give it.

        Args:
            note: Why, in the operator's words; a mode that stays keeps the note that it has. None:
                none were given.

        Raises:
            Unavailable: If the store does not take it.
        """

        def decide(_: ExpectationFailed | None) -> Decision | None:
            mode = self._state.mode
            if mode.name == name and (name == "normal" or mode.reason == OPERATOR):
                return None
            return self._changed(name, OPERATOR, "set by an operator", by=None, note=note)

        await self._intake.decide(decide, about="the mode")
        return self._state.mode

    async def run(self) -> None:
        """Look at the load from time to time, and act on it."""
        if self._machine is None:
            return
        busy_s, began = self._machine.busy_s(), self._clock.monotonic()
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            now, busy = self._clock.monotonic(), self._machine.busy_s()
            load = Load(
                queue=self._state.queue_depth / self._settings.queue_limit,
                loop_lag=max(0.0, now - began - LOOK_EVERY_S),
                cpu=(busy - busy_s) / max(now - began, LOOK_EVERY_S),
                memory=self._machine.memory_share(),
            )
            measure = self.overload.look(load, began=began, now=now)
            try:
                await self._act(measure, now)
            except Unavailable as error:
                logger.info("the mode could not be changed: %s", error)
            busy_s, began = busy, self._clock.monotonic()

    async def _act(self, measure: str | None, now: float) -> None:
        mode = self._state.mode
        if self._intake.clock.wall() - mode.since < self._settings.mode_period:
            return
        if measure is not None and mode.name == "normal":
            await self._change("normal", "degraded", SAID[measure](self.overload.load))
        elif mode.name == "degraded" and self._is_mine(mode) and self.overload.calm(now):
            await self._change("degraded", "normal", "there is room again")

    async def _change(self, before: str, name: str, because: str) -> None:
        def decide(_: ExpectationFailed | None) -> Decision | None:
            if self._state.mode.name != before:
                return None  # an operator or another node was faster
            return self._changed(name, OVERLOAD, because, by=self._holder)

        logger.warning("mode %s: %s", name, because)
        await self._intake.decide(decide, about="the mode")

    def _is_mine(self, mode: Mode) -> bool:
        if mode.reason != OVERLOAD:
            return False
        node = self._state.workers.get(mode.by or "")
        return mode.by == self._holder or node is None or node.status == "offline"

    def _changed(
        self, name: str, reason: str, because: str, *, by: str | None, note: str | None = None
    ) -> Decision:
        mode = self._state.mode
        # A worker that an earlier version took in may have one without a name.
        named = dict.fromkeys(feature for feature in self._features() if feature)
        features = sorted(itertools.islice(named, FEATURES_MAX))
        drafts = self._drafts.changed(
            mode, name, reason=reason, because=because, by=by, features=features, note=note
        )
        return drafts, {SUBJECT: mode.last_offset}
