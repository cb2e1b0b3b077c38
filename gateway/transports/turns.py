"""
Turns: who asks much waits for a turn, so that who asks little does not wait for it.

All that the gateway does is done in one loop, a step of this and a step of that in each round. A
user with a hundred connections would have a hundred requests in each round, and each step of
anybody else's task would come after them. So a user has some requests a second that begin at once;
the others begin one by one, a user after the other, with some rounds of the loop between them.
"""

from __future__ import annotations

import asyncio
from collections import deque

from gateway.domain.rates import Buckets
from gateway.ports import Clock

__all__ = ["AT_ONCE_MAX", "ROUNDS_AFTER_LONG", "ROUNDS_BETWEEN", "Turns"]

# Requests of one user that begin at once, each second, and as a burst: a page that opens.
AT_ONCE_PER_S, AT_ONCE_MAX = 25.0, 100.0
# For each so many bytes a request counts as one more.
SIZE_OF_ONE = 16 * 1024

# Rounds of the loop between two turns, and after one that has held the loop for long, in seconds.
# An empty round takes ten microseconds; a task takes about eight from `task.create` to
# `task_finished`, so that it meets one turn that is long at the most.
ROUNDS_BETWEEN, ROUNDS_AFTER_LONG = 4, 16
LONG_S = 0.001


class Turns:
    """
    The turns of all users at one gateway.

    Args:
        clock: Tells how long a turn has held the loop.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at_once = Buckets(rate=AT_ONCE_PER_S, burst=AT_ONCE_MAX)
        # In the order of whose turn is next.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        # The loop that is to give the next turn.
        self._going: asyncio.AbstractEventLoop | None = None
        self._rounds_left = 0
        # When the newest round began; None: the newest turn has held the loop for long already.
        self._round_at: float | None = None

    def __len__(self) -> int:
        """How many users have requests that wait."""
        return len(self._waiting)

    async def wait(self, key: str, *, size: int = 0) -> None:
        """
        Wait until a request may begin, after those of the same key that wait.

        Cancelling gives the turn up.

        Args:
            key: Whose request it is.
            size: Its bytes: a large one counts as many.
        """
        loop = asyncio.get_running_loop()
        line = self._waiting.get(key)
        if line is None:
            if not self._at_once.take(key, self._clock.monotonic(), 1 + size / SIZE_OF_ONE):
                return
            if self._going is not loop:
                self._going = loop
                loop.call_soon(self._go_on, loop)
            line = self._waiting[key] = deque()
        turn = loop.create_future()
        line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in line:
                line.remove(turn)
            if not line and self._waiting.get(key) is line:
                del self._waiting[key]
            raise

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give the next turn, when enough rounds of the loop have gone by."""
        now = self._clock.monotonic()
        if self._round_at is not None:
            if now - self._round_at > LONG_S:
                self._rounds_left, self._round_at = ROUNDS_AFTER_LONG, None
            else:
                self._round_at = now
        if self._rounds_left:
            self._rounds_left -= 1
        elif self._waiting:
            self._give()
            self._rounds_left, self._round_at = ROUNDS_BETWEEN, now
        if self._waiting:
            loop.call_soon(self._go_on, loop)
        else:
            self._going = None

    def _give(self) -> None:
        key = next(iter(self._waiting))
        line = self._waiting.pop(key)
        turn = line.popleft()
        if not turn.done():  # else it is being cancelled
            turn.set_result(None)
        if line:
            self._waiting[key] = line
