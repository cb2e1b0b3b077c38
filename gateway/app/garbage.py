"""
Garbage: how a gateway looks for what only cycles hold, so that no look stops its loop for long.

Python counts references, so that it lets go of almost everything at once. Cycles it has to look
for: often through the young objects, and now and then through all, which takes a tenth of a second
for a hundred thousand, in which no client is served. Here what is no longer young is looked through
once and then set aside (``gc.freeze``), and all is looked through only when the process has grown.

Python looks when there are many new objects, which is in the middle of a task. So each look is
taken before that, when the loop has little else to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

from gateway.ports import Clock
from gateway.transports.turns import Calm

__all__ = ["CALM_WITHIN_S", "EVERY_S", "GROWTH_BYTES", "NEVER", "UNCALM", "YOUNG", "looked_for"]

# So many more objects than before bring a look at the newest, and so many of these looks one at
# the young (as gc.set_threshold has it): some milliseconds each.
YOUNG = 250, 1
# After so many looks at the young, those that are left are old. A request is over by then, so that
# hardly anything becomes garbage once it is set aside.
OLD_AFTER = 2
# How often it is seen whether a look is due, and how long one waits for a calm loop, in seconds.
EVERY_S, CALM_WITHIN_S = 0.05, 0.05
# When there are so many times as many new objects, Python does not wait. It never looks at all.
UNCALM, NEVER = 8, 1_000_000
# The process is looked through as a whole when it has grown by half since it last was, and by so
# much at the least; so much may garbage in cycles hold.
GROWTH, GROWTH_BYTES = 0.5, 64 * 2**20


@contextlib.contextmanager
def looked_for(memory_bytes: Callable[[], int | None], clock: Clock) -> Iterator[None]:
    """
    Look for garbage in this way while the block runs; what is there when it begins, stays.

    ``gc.collect()`` looks through everything, as ever.

    Args:
        memory_bytes: Tells how much memory this process has; None: it is not known. Then Python
            looks for garbage in its own way.
        clock: Tells how long a round of the loop takes.
    """
    gc.collect()
    gc.freeze()
    least = memory_bytes()
    if least is None:
        yield
        return
    looks = _Looks(memory_bytes, least, clock)
    before = gc.get_threshold()
    gc.set_threshold(YOUNG[0] * UNCALM, YOUNG[1], NEVER)
    gc.callbacks.append(looks.on_look)
    looking = asyncio.get_running_loop().create_task(looks.run())
    try:
        yield
    finally:
        looking.cancel()
        gc.callbacks.remove(looks.on_look)
        gc.set_threshold(*before)


class _Looks:
    """
    The looks at the garbage of a process.

    Args:
        memory_bytes: See ``looked_for``.
        least: What it tells now.
        clock: See ``looked_for``.
    """

    def __init__(self, memory_bytes: Callable[[], int | None], least: int, clock: Clock) -> None:
        self._memory_bytes = memory_bytes
        # What the process had after it was last looked through as a whole.
        self._least = least
        self._clock = clock
        # Looks at the young since the last one at the old.
        self._young = 0
        self._only_old = False

    def on_look(self, phase: str, about: dict[str, Any]) -> None:
        """Hear of a look, in the thread that happens to do it (``gc.callbacks``)."""
        generation = about["generation"]
        if generation == 1 and phase == "stop":
            self._young += 1
        elif generation == 2 and phase == "start":
            self._young = 0
            if not self._only_old:
                gc.unfreeze()
        elif generation == 2:
            gc.freeze()
            if not self._only_old:
                self._least = self._memory_bytes() or 0

    async def run(self) -> None:
        """Take each look that is due when the loop is calm, until cancelled."""
        while True:
            await self._clock.sleep(EVERY_S)
            newest, since_young, _ = gc.get_count()
            if self._young >= OLD_AFTER:
                await self._calm()
                self._look_at_old()
            elif newest >= YOUNG[0]:
                await self._calm()
                gc.collect(1 if since_young > YOUNG[1] else 0)

    async def _calm(self) -> None:
        """Wait until the loop has little to do, as for a turn, but not for long."""
        calm, now = Calm(), self._clock.monotonic()
        latest = now + CALM_WITHIN_S
        while not calm.after_round(now) and now < latest:
            await self._clock.sleep(0)
            now = self._clock.monotonic()

    def _look_at_old(self) -> None:
        """Look through what has become old, or through everything."""
        memory = self._memory_bytes() or 0
        self._only_old = memory - self._least < max(GROWTH_BYTES, GROWTH * self._least)
        try:
            gc.collect()
        finally:
            self._only_old = False
