"""
Threads for agents that are plain functions: a bounded number, each freed when its function is.

A thread cannot be stopped. One that runs on past its limit keeps its slot until it returns,
and being a daemon it does not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Threads"]


class Threads:
    """
    At most ``threads_max`` functions at once.

    There is no queue: whoever asks without ``room`` has not looked.

    Args:
        threads_max: How many may run.
        freed: Called, in the loop, when one has ended: there is room again.
    """

    def __init__(self, threads_max: int, freed: Callable[[], None] = lambda: None) -> None:
        self._threads_max = threads_max
        self._freed = freed
        self._running: list[str] = []
        self._lock = threading.Lock()

    @property
    def room(self) -> bool:
        """Whether another function may run now."""
        return len(self._running) < self._threads_max

    def runs(self, name: str) -> bool:
        """Whether a thread of that name still runs."""
        return name in self._running

    def run(self, function: Callable[[], Any], *, name: str) -> asyncio.Future[Any]:
        """
        Run ``function`` in a thread of its own.

        Cancelling the future ends the wait, not the thread.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()
        with self._lock:
            self._running.append(name)

        def tell(value: Any, error: BaseException | None) -> None:
            self._freed()
            if not done.done():
                if error is None:
                    done.set_result(value)
                else:
                    done.set_exception(error)

        def work() -> None:
            value, error = None, None
            try:
                value = context.run(function)
            except BaseException as raised:  # noqa: BLE001 - handed on to whoever waits
                # A future refuses StopIteration, and an exit is the agent's failure, not ours.
                if isinstance(raised, Exception) and not isinstance(raised, StopIteration):
                    error = raised
                else:
                    error = RuntimeError(f"the agent raised {type(raised).__name__}")
                    error.__cause__ = raised
            finally:
                with self._lock:
                    self._running.remove(name)
            if not loop.is_closed():
                loop.call_soon_threadsafe(tell, value, error)

        threading.Thread(target=work, name=name, daemon=True).start()
        return done
