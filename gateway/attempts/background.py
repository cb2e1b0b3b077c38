"""
Background tasks: what an attempt's code has started in the loop, and nobody waits for.

The rule: their exceptions are told, not only written by asyncio when the garbage collector comes
by. One that somebody reads (who awaits the task, a task group, ``gather``) is no such failure.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Background"]

_CURRENT: contextvars.ContextVar[Background | None] = contextvars.ContextVar(
    "gateway_background", default=None
)
# Which attempt has started a task, as long as there is the task.
_STARTED_BY: weakref.WeakKeyDictionary[asyncio.Future[Any], Background] = (
    weakref.WeakKeyDictionary()
)


class Background:
    """
    The background tasks of one attempt.

    Args:
        failed: Called, in the loop, with what one raised and nobody read.
    """

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._started: weakref.WeakSet[asyncio.Future[Any]] = weakref.WeakSet()

    def begin(self) -> None:
        """Know what is started from here on, by the code of the context that this is called in."""
        loop = asyncio.get_running_loop()
        if not isinstance(loop.get_task_factory(), _Factory):
            # The loop may be somebody's who has a factory and a handler already.
            factory: Any = _Factory(loop.get_task_factory())
            loop.set_task_factory(factory)
            loop.set_exception_handler(_Handler(loop.get_exception_handler()))
        _CURRENT.set(self)

    def end(self) -> None:
        """Look at what has ended, as the code that might have read it has ended, too."""
        _CURRENT.set(None)
        for task in list(self._started):
            # What asyncio itself goes by; reading the exception takes the mark away.
            unread = task.done() and getattr(task, "_log_traceback", False)
            if unread and (error := task.exception()) is not None:
                self._failed(error)

    def started(self, task: asyncio.Future[Any]) -> None:
        """Know of one more."""
        self._started.add(task)
        _STARTED_BY[task] = self

    def failed(self, error: BaseException) -> None:
        """Take what one raised that is gone, unread."""
        self._failed(error)


class _Factory:
    """Makes tasks as before, and knows those of attempts."""

    def __init__(self, before: Callable[..., asyncio.Future[Any]] | None) -> None:
        self._before = before

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **more: Any
    ) -> asyncio.Future[Any]:
        if self._before is None:
            task: asyncio.Future[Any] = asyncio.Task(coro, loop=loop, **more)
        else:
            task = self._before(loop, coro, **more)
        if (background := _CURRENT.get()) is not None:
            background.started(task)
        return task


class _Handler:
    """Handles what the loop cannot as before, but for what attempts are told of."""

    def __init__(self, before: Callable[..., object] | None) -> None:
        self._before = before

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        task, error = context.get("future"), context.get("exception")
        background = None if task is None else _STARTED_BY.get(task)
        if background is not None and isinstance(error, BaseException):
            background.failed(error)
        elif self._before is None:
            loop.default_exception_handler(context)
        else:
            self._before(loop, context)
