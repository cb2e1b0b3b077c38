"""The requests of one connection that run at the same time, up to a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["IN_FLIGHT_MAX", "InFlight"]

# How many requests of one connection run at the same time. At the bound the next frame is not
# read, so that the client's writes wait in its socket.
IN_FLIGHT_MAX = 32

# Requests that run when their connection ends have this long to finish, in seconds: the report of
# an agent that dies right after sending it is still recorded.
LEFT_WAIT_S = 1.0


class InFlight:
    """Owns the asyncio tasks of one connection's requests."""

    __slots__ = ("_one_done", "_tasks", "_waiting")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        self._one_done: asyncio.Event | None = None

    def start(self, work: Coroutine[Any, Any, None], *, waits: bool = False) -> None:
        """
        Run a request in a task of its own. Its coroutine reports the outcome itself.

        Args:
            work: The request.
            waits: Whether ``stop_waiting`` cancels it; see ``protocol.shapes.Operation``.
        """
        task = asyncio.create_task(work)
        self._tasks.add(task)
        if waits:
            self._waiting.add(task)
        task.add_done_callback(self._done)

    @property
    def full(self) -> bool:
        """Whether as many run as may."""
        return len(self._tasks) >= IN_FLIGHT_MAX

    async def wait_turn(self) -> None:
        """Wait until fewer than ``IN_FLIGHT_MAX`` requests run."""
        while len(self._tasks) >= IN_FLIGHT_MAX:
            self._one_done = asyncio.Event()
            await self._one_done.wait()

    def stop_waiting(self) -> None:
        """Cancel the requests that only wait for something to tell their client."""
        for task in self._waiting:
            task.cancel()

    async def settle(self) -> None:
        """Wait up to ``LEFT_WAIT_S`` for the requests to finish, then cancel the rest."""
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
