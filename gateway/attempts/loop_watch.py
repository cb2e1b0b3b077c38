"""
A watch beside an event loop, which names the line that blocks it.

Agents are asyncio code, and one that calls something that blocks stops everything else in its
process: other tasks, timers, beats. A loop cannot tell that of itself, so a thread looks.
"""

from __future__ import annotations

import asyncio
import sys
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from gateway.domain.diagnostics import logger_of
from gateway.ports import Clock

__all__ = ["BLOCKED_S", "LoopWatch"]

logger = logger_of(__name__)

# A loop that did not come round for so long is told of, in seconds.
BLOCKED_S = 1.0
# How often the loop ticks, and the thread looks, in seconds.
EVERY_S = 0.25
# A look that is so late, in seconds: the process itself did not run, and nothing is known.
LATE_S = 0.5

# Where code lives that is not the user's: this package, Python's and installed ones.
_NOT_THEIRS = (
    f"{Path(__file__).parents[1]}/",
    *(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib", "purelib", "platlib")),
)


class LoopWatch:
    """
    Watches the running loop, from ``start`` until ``stop``.

    Args:
        clock: Its monotonic time is read in a thread, too.
        alive: Called by the loop each time that it comes round, every 0.25 s; None: nothing is.
        blocked: Called in a thread with the place that blocks the loop, once each time; None:
            nothing is.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        alive: Callable[[], None] | None = None,
        blocked: Callable[[str], None] | None = None,
    ) -> None:
        self._clock = clock
        self._alive = alive
        self._blocked = blocked
        self._ticked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._over = threading.Event()

    def start(self) -> None:
        """Begin to watch the running loop, which runs in this thread."""
        self._over = threading.Event()
        self._tick(asyncio.get_running_loop())
        threading.Thread(
            target=self._look,
            args=(self._over, threading.get_ident()),
            name="loop watch",
            daemon=True,
        ).start()

    def stop(self) -> None:
        """End watching; the second call does nothing."""
        self._over.set()
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ticked_at = self._clock.monotonic()
        if self._alive is not None:
            self._alive()
        self._timer = loop.call_later(EVERY_S, self._tick, loop)

    def _look(self, over: threading.Event, thread: int) -> None:
        looked_at, since = self._clock.monotonic(), None
        while not over.wait(EVERY_S):
            now = self._clock.monotonic()
            late, looked_at = now - looked_at - EVERY_S > LATE_S, now
            ticked_at = self._ticked_at
            if since is not None and ticked_at != since:
                logger.warning("the event loop runs again, after %.1f s", ticked_at - since)
                since = None
            if late or since is not None or now - ticked_at < BLOCKED_S:
                continue
            since = ticked_at
            place = place_of(sys._current_frames().get(thread))
            logger.warning(
                "the event loop is blocked at %s: everything else in this process waits; "
                "call what blocks in a plain function or with asyncio.to_thread()",
                place,
            )
            if self._blocked is not None:
                self._blocked(place)


def place_of(frame: FrameType | None) -> str:
    """Name the line at which a thread is: the innermost one of the user's, else the innermost."""
    if frame is None:
        return "an unknown place"
    theirs: FrameType | None = frame
    while theirs is not None and theirs.f_code.co_filename.startswith((*_NOT_THEIRS, "<")):
        theirs = theirs.f_back
    at = theirs or frame
    return f"{at.f_code.co_filename}:{at.f_lineno} in {at.f_code.co_qualname}"
