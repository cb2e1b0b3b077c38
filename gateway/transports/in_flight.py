"""The requests of one client that run next to each other, up to a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["IN_FLIGHT_MAX", "InFlight"]

# Requests of one connection that run at the same time; the next frame is not read meanwhile.
IN_FLIGHT_MAX = 32

# Requests that run when their client goes away have this long to finish, in seconds: whoever
# reports a failure and dies is heard.
LEFT_WAIT_S = 1.0


class InFlight:
    """Owns the tasks of one connection's requests."""

    __slots__ = ("_one_done", "_tasks", "_waiting")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        self._one_done: asyncio.Event | None = None

    def start(self, work: Coroutine[Any, Any, None], *, waits: bool = False) -> None:
        """
        Run a request, which tells its own outcome.

        Args:
            work: The request.
            waits: Whether ``stop_waiting`` ends it; see ``protocol.shapes.Operation``.
        """
        task = asyncio.create_task(work)
        self._tasks.add(task)
        if waits:
            self._waiting.add(task)
        task.add_done_callback(self._done)

    async def wait_turn(self) -> None:
        """Wait until one more may run."""
        while len(self._tasks) >= IN_FLIGHT_MAX:
            self._one_done = asyncio.Event()
            await self._one_done.wait()

    def stop_waiting(self) -> None:
        """End at once what waits for something that its client would not hear of any more."""
        for task in self._waiting:
            task.cancel()

    async def settle(self) -> None:
        """Let what runs finish in a short time, then cancel it."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LEFT_WAIT_S)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._waiting.discard(task)
        if self._one_done is not None:
            self._one_done.set()
