"""
The monitor: timers for what has to happen when nothing else does.

One asyncio task, one heap of due times in the log's time (seconds since the Unix epoch). The rule:
an action looks at the folds when it is due, and does nothing when the world has moved on, so that
no timer has to be cancelled; those of tasks that have ended are swept out when they are many. An
action that fails is called again until it does not.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable, Container

from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import Unavailable
from gateway.ports import Clock

__all__ = ["Monitor"]

logger = logger_of(__name__)

Action = Callable[[], Awaitable[None]]

# The longest sleep at a stretch, in seconds: should the log's time run ahead of this machine's by
# some millionths, nothing is late by more than a few of those.
SLEEP_S_MAX = 10.0
# A wake-up that is later than this, in seconds: the process was stopped, or its loop was blocked.
LATE_S = 1.0
# Actions that are due together hold the loop for so many seconds at the most.
HOLD_S_MAX = 0.0005
# When the store did not take an action, it is called again after this, unless the store says when.
RETRY_S = 1.0
# When an action failed by a mistake of ours, it is called again after this.
FAILED_RETRY_S = 30.0
# Timers of ended tasks are looked for when there are this many timers, then when they have doubled.
SWEEP_MIN = 1024


class Monitor:
    """
    Calls actions when they are due.

    Args:
        clock: This machine's: by it a process notices that it did not run.
        now: Tells the log's time.
        live: Gives the tasks that have not ended, by id.

    Its bound: the heap holds a few timers for each live task (its deadline, its time in the queue
    or its backoff, its lease) and one for each breaker; of ended tasks at the most as many again,
    and ``SWEEP_MIN``.
    """

    def __init__(
        self, clock: Clock, *, now: Callable[[], float], live: Callable[[], Container[str]]
    ) -> None:
        self._clock = clock
        self._now = now
        self._live = live
        self._sweep_at = SWEEP_MIN
        self._when_late: list[Callable[[], None]] = []
        self._due: list[tuple[float, int, str | None, Action]] = []
        self._order = itertools.count()
        self._earlier = asyncio.Event()

    @property
    def now(self) -> float:
        """The log's time, in seconds since the Unix epoch."""
        return self._now()

    def when_late(self, action: Callable[[], None]) -> None:
        """
        Call ``action`` before any other when this process did not run for a while.

        What it did not hear meanwhile, it could not hear.
        """
        self._when_late.append(action)

    def soon(self, action: Action) -> None:
        """Call ``action`` as soon as the loop comes to it."""
        self.at(self.now, action)

    def at(self, due: float, action: Action, *, task_id: str | None = None) -> None:
        """
        Call ``action`` at ``due``, in the log's seconds since the Unix epoch.

        Args:
            task_id: The task that it is about: it need not be called when that has ended. None: it
                is about no task.
        """
        if len(self._due) >= self._sweep_at:
            self._sweep()
        heapq.heappush(self._due, (due, next(self._order), task_id, action))
        if self._due[0][0] == due:
            self._earlier.set()

    def _sweep(self) -> None:
        live = self._live()
        self._due = [timer for timer in self._due if timer[2] is None or timer[2] in live]
        heapq.heapify(self._due)
        self._sweep_at = max(SWEEP_MIN, 2 * len(self._due))

    def look(self) -> None:
        """Look again what is due: the log's time is further on than was known."""
        self._earlier.set()

    def clear(self) -> None:
        """Drop all timers."""
        self._due.clear()
        self._sweep_at = SWEEP_MIN

    async def run(self) -> None:
        """Call the actions as they become due, until cancelled."""
        self._earlier = asyncio.Event()  # belongs to the loop that runs now
        while True:
            self._earlier.clear()
            since = self._clock.monotonic()
            while self._due and self._due[0][0] <= self.now:
                if self._clock.monotonic() - since > HOLD_S_MAX:
                    await self._clock.sleep(0)
                    since = self._clock.monotonic()
                _, _, task_id, action = heapq.heappop(self._due)
                try:
                    await action()
                except Unavailable as error:
                    # The store did not take it: what is due stays due.
                    self.at(self.now + (error.retry_after or RETRY_S), action, task_id=task_id)
                except Exception:
                    # It must not stop the timers of other tasks, nor leave its own task without a
                    # deadline.
                    logger.exception("a timer's action failed; it is tried again")
                    self.at(self.now + FAILED_RETRY_S, action, task_id=task_id)
            wait = SLEEP_S_MAX
            if self._due:
                wait = min(wait, max(0.0, self._due[0][0] - self.now))
            until = self._clock.monotonic() + wait
            sleep = asyncio.ensure_future(self._clock.sleep(wait))
            earlier = asyncio.ensure_future(self._earlier.wait())
            try:
                await asyncio.wait({sleep, earlier}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleep.cancel()
                earlier.cancel()
            late_s = self._clock.monotonic() - until
            if late_s > LATE_S:
                logger.warning("this process did not run for %.1f s", late_s)
                for late in self._when_late:
                    late()
