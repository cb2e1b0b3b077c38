"""
Threads for agents that are plain functions: a bounded number of slots.

A thread cannot be stopped. The rule: a function that runs on past its limit keeps its slot until
it returns. Its thread is a daemon, so that the process can end without it.
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
    Runs functions in threads, each in one of its own.

    There is no queue, and ``run`` does not refuse: callers look at ``room`` first. Hooks and
    cleanups run without looking, since they have to run.

    Args:
        threads_max: How many functions may run before ``room`` is over.
        freed: Called in the loop each time a function has ended.
    """

    def __init__(self, threads_max: int, freed: Callable[[], None] = lambda: None) -> None:
        self._threads_max = threads_max
        self._freed = freed
        self._running: list[str] = []
        self._lock = threading.Lock()

    @property
    def room(self) -> bool:
        """Whether a function may begin now."""
        return len(self._running) < self._threads_max

    def runs(self, name: str) -> bool:
        """Whether a function under that name still runs."""
        return name in self._running

    def run(self, function: Callable[[], Any], *, name: str) -> asyncio.Future[Any]:
        """
        Run ``function`` in a thread of its own, with the caller's context variables.

        Cancelling the future ends the wait, not the thread.

        Args:
            function: What is to be run.
            name: The thread's name; ``runs`` asks by it.

        Returns:
            The function's result, or its exception. What a future cannot carry, or what would
            end the process, becomes a ``RuntimeError``.
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
            except BaseException as raised:  # noqa: BLE001 - the future hands it on
                # A future refuses StopIteration; an exit is the agent's failure, not ours.
                passes = isinstance(raised, Exception | asyncio.CancelledError)
                if passes and not isinstance(raised, StopIteration):
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
