"""
How long an attempt has given nothing: no piece of its output, and no progress.

The rule: an agent that still gives something is not cut for it, however long the whole takes; one
that gives nothing any more does not have to be waited for until its limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any

__all__ = ["Idle"]


class Idle:
    """
    The pauses of one attempt, in the time of the loop that it is made in.

    Args:
        limit_s: Seconds that a pause may take; None: any number.

    Attributes:
        limit_s: The same; infinite: any number.
        is_over: Whether a pause took longer, and the attempt was ended for it.
    """

    def __init__(self, limit_s: float | None) -> None:
        self.limit_s = math.inf if limit_s is None else limit_s
        self.is_over = False
        self._time = asyncio.get_running_loop().time
        self._moved_at = self._time()
        self._timer: asyncio.TimerHandle | None = None

    def moved(self) -> None:
        """Note that it has given something; from any thread."""
        self._moved_at = self._time()

    async def wait(self, jobs: AbstractSet[asyncio.Future[Any]], *, limit_s: float) -> None:
        """
        Wait until one of ``jobs`` has ended, a pause is over, or ``limit_s`` is.

        Cancelling ends the wait, not the jobs.
        """
        ends_at = self._time() + limit_s
        while True:
            at = min(ends_at, self._over_at)
            done, _ = await asyncio.wait(
                jobs, timeout=max(0.0, at - self._time()), return_when=asyncio.FIRST_COMPLETED
            )
            now = self._time()
            if done or now >= ends_at:
                return
            if now >= self._over_at:
                self.is_over = True
                return

    @contextlib.contextmanager
    def ends(self, limit: asyncio.Timeout) -> Iterator[None]:
        """Let ``limit`` be reached as soon as a pause is over, until the block ends."""
        if math.isinf(self.limit_s):
            yield
            return
        self._look(limit)
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _look(self, limit: asyncio.Timeout) -> None:
        if self._time() < self._over_at:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._over_at, self._look, limit)
        elif not limit.expired():
            self.is_over = True
            limit.reschedule(self._time())

    @property
    def _over_at(self) -> float:
        return self._moved_at + self.limit_s
