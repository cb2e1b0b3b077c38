"""
Calling an agent's function: its input becomes arguments, and what it yields is kept as it comes.

An async function and an async generator run in the loop, everything else in a thread. The rule:
whatever the function does, the process survives it; an agent that exits has only failed.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any

from gateway.attempts.task import ITEM, Task, items_before, text_before
from gateway.attempts.threads import Threads
from gateway.domain.agent_failures import InvalidInput
from gateway.domain.diagnostics import logger_of

__all__ = [
    "InputMismatch",
    "call",
    "error_of",
    "is_async",
    "seen",
    "thread_named",
    "thread_of",
]

logger = logger_of(__name__)


class InputMismatch(InvalidInput):
    """
    The input does not fit the agent's parameters.

    Attributes:
        field: The parameter; ``input`` if it is something of the input that no parameter takes.
        rule: ``required`` or ``unexpected``.
    """

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field} is {rule}")
        self.field = field
        self.rule = rule


def is_async(function: Callable[..., Any] | None) -> bool:
    """Whether the function runs in the loop, as far as can be seen without calling it."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def thread_of(task: Task) -> str:
    """Name the thread in which an attempt's function runs."""
    return thread_named(task.task_id, task.attempt)


def thread_named(task_id: str, attempt: int) -> str:
    """Name the thread of one attempt at a task."""
    return f"task {task_id} attempt {attempt}"


async def call(function: Callable[..., Any], task: Task, *, threads: Threads) -> Any:
    """
    Call an agent's function and wait for its result. Cancelling does not stop a thread.

    Returns:
        What the function returns; of a generator, and of whatever it returns that can be iterated
        asynchronously, the items as a list, or as one text if all of them are text: after the
        text that is kept, if the attempt went on from that.

    Raises:
        InputMismatch: If the input does not fit; the function is not called.
    """
    arguments = _arguments(function, task)
    try:
        if is_async(function):
            result = function(*arguments.args, **arguments.kwargs)
        else:
            result = await threads.run(
                lambda: _called(function, arguments, task), name=thread_of(task)
            )
        # A lambda or a decorated function does not look async, and may be; a client's stream may
        # come out of either.
        if inspect.isawaitable(result):
            result = await result
        if hasattr(type(result), "__aiter__"):
            return await _drained(result, task)
        if inspect.isgenerator(result):
            return await threads.run(lambda: _collected(result, task), name=thread_of(task))
        return result
    except (SystemExit, KeyboardInterrupt) as error:
        # asyncio lets these two out of the loop; the process would end with the agent.
        raise RuntimeError(f"the agent raised {type(error).__name__}") from error


def _arguments(function: Callable[..., Any], task: Task) -> inspect.BoundArguments:
    signature = inspect.signature(function)
    given = task.input
    try:
        if isinstance(given, dict):
            return signature.bind(task, **given)
        return signature.bind(task) if given is None else signature.bind(task, given)
    except TypeError as error:
        # Names of parameters are the agent's own. What the user wrote is not repeated.
        missing = [
            name
            for name, parameter in list(signature.parameters.items())[1:]
            if parameter.default is parameter.empty
            and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            and not (isinstance(given, dict) and name in given)
        ]
        raise InputMismatch(
            missing[0] if missing else "input", "required" if missing else "unexpected"
        ) from error


async def _drained(items: AsyncIterable[Any], task: Task) -> Any:
    kept = _Items(task)
    try:
        async for item in items:
            kept.add(item)
    finally:
        # Closed here, so that its ``finally`` runs now and not with the garbage collector. The
        # streams of SDKs have ``close`` for it.
        close: Any = getattr(items, "aclose", None) or getattr(items, "close", None)
        if inspect.iscoroutinefunction(close) or inspect.isasyncgen(items):
            await close()
    return kept.result()


def _called(function: Callable[..., Any], arguments: inspect.BoundArguments, task: Task) -> Any:
    result = function(*arguments.args, **arguments.kwargs)
    return _collected(result, task) if inspect.isgenerator(result) else result


def _collected(items: Iterable[Any], task: Task) -> Any:
    kept = _Items(task)
    for item in items:
        kept.add(item)
    return kept.result()


class _Items:
    """
    What a generator gives: text is appended, everything else is kept as a step of its own.

    Those of an attempt that goes on from what was kept come after the earlier ones, and its result
    has both, as its readers do.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._before: dict[int, Any] | None = None
        self._items: list[Any] = []

    def add(self, item: Any) -> None:
        """Keep one."""
        if isinstance(item, str):
            self._task.append(item)
        else:
            last = next(reversed(self._earlier()), 0)
            self._task.preserve(f"{ITEM}{last + len(self._items) + 1}", item)
        self._items.append(item)

    def result(self) -> Any:
        """Make all of them a result."""
        text, earlier = text_before(self._task), self._earlier()
        if not earlier and all(isinstance(item, str) for item in self._items):
            return text + "".join(self._items)
        return [*([text] if text else []), *earlier.values(), *self._items]

    def _earlier(self) -> dict[int, Any]:
        if self._before is None:
            self._before = items_before(self._task)
        return self._before


def error_of(running: asyncio.Future[Any]) -> BaseException | None:
    """Give what a call that has ended has raised; None: nothing."""
    return asyncio.CancelledError() if running.cancelled() else running.exception()


def seen(running: asyncio.Future[Any]) -> None:
    """Look at a late end, so that asyncio does not warn of an exception that was not read."""
    if not running.cancelled() and (error := running.exception()) is not None:
        logger.info("an agent raised %s after its end", type(error).__name__)
