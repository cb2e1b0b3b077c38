"""
The reporter of one attempt: it passes on what the attempt says, and how it ends.

The rule: in the order in which it was said, until the listener has taken it, and once.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import orjson

from gateway.attempts.assignment import Assignment
from gateway.attempts.cleanup import Cleaned
from gateway.attempts.pieces import TEXT_CHARS_MAX, Piece, Pieces, Rest
from gateway.attempts.tries import Tries
from gateway.domain import own_failures
from gateway.domain.description import describe
from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import RequestError, StaleTerm, Unavailable
from gateway.domain.failure import Failure
from gateway.domain.redaction import Redacted
from gateway.ports import Clock
from gateway.values import RESULT_BYTES_MAX

__all__ = ["Listener", "Reporter"]

logger = logger_of(__name__)

# How long to wait, in seconds, after a piece was told. It makes ten pieces a second at the most,
# the last one included.
TELL_EVERY_S = 0.12

# How long to wait, in seconds, before telling again what the store did not take, unless the store
# says how long.
RETRY_S = 1.0

# The end of an attempt is one entry: next to a result, or to what is preserved, this much of what
# waits has room in it, as JSON. A store that takes 1 MiB takes the whole.
REST_BYTES_MAX = 128 * 1024


class Listener(Protocol):
    """
    The side that attempts report to: the lifecycle of this process, or a gateway elsewhere.

    ``tell``, ``succeed`` and ``fail`` raise ``StaleTerm`` if the attempt has lost its task, so
    that a task ends once. A task may have many pieces and cleanups, so these come with ``tries``:
    calls that are given the same record are tries of one event.
    """

    async def tell(
        self, task_id: str, term: int, piece: Piece, *, tries: Tries | None = None
    ) -> None:
        """Take what the attempt has produced, or how far it is."""

    async def succeed(
        self, task_id: str, term: int, result: Any, *, steps: Mapping[str, Any] | None = None
    ) -> None:
        """End the task with its result; ``steps`` are finished ones that were not told yet."""

    async def fail(
        self,
        task_id: str,
        term: int,
        failure: Failure,
        *,
        cause: str,
        detail: Redacted | None = None,
        rest: Rest | None = None,
    ) -> object:
        """Take why the attempt failed, and decide what comes next."""

    async def cleaned(
        self,
        task_id: str,
        term: int,
        *,
        resources: list[str],
        memory_freed: int,
        leftovers: list[str],
        tries: Tries | None = None,
    ) -> None:
        """Take what was cleaned up after the attempt; the task may have ended."""


class Reporter:
    """
    Tells a listener about one attempt.

    While the store is away it tries again. When the store is back it may refuse: by then the
    task may have reached its deadline, or another worker may have it.

    Args:
        assignment: The attempt.
        pieces: What the attempt has said and not told yet.
        listener: Takes what is told.
        clock: For the time between two tries.
    """

    def __init__(
        self, assignment: Assignment, pieces: Pieces, listener: Listener, clock: Clock
    ) -> None:
        self.task_id = assignment.task_id
        self.term = assignment.term
        self._pieces = pieces
        self._listener = listener
        self._clock = clock
        # Held over all tries of one call: if the attempt ends meanwhile, its end comes after.
        self._turn = asyncio.Lock()

    async def tell_all(self, waiting: asyncio.Event) -> None:
        """Tell each piece whenever ``waiting`` is set, until cancelled or the attempt has lost."""
        while True:
            await waiting.wait()
            waiting.clear()
            refused: RequestError | None = None
            while (piece := self._pieces.take()) is not None:
                try:
                    await self.tell(piece)
                except StaleTerm as lost:
                    self._pieces.flushed(lost)
                    return
                except RequestError as error:
                    logger.exception("task %s: a piece was not told", self.task_id)
                    refused = error
                if not self._pieces.hurried:
                    await self._clock.sleep(TELL_EVERY_S)
            self._pieces.flushed(refused)

    async def tell(self, piece: Piece) -> None:
        """Tell what the attempt has produced, or how far it is."""
        await self._told_once(self._listener.tell, self.task_id, self.term, piece)

    async def succeed(self, result: Any) -> None:
        """
        Tell what waits, then the result; a result that is refused makes it a failure.

        Raises:
            StaleTerm: If the attempt has lost its task.
        """
        rest = self._pieces.close()
        # Streamed text has pieces of its own. Steps that wait go along with the result.
        rest = await self._tell_ahead(rest, text_too=True)
        try:
            await self._told(
                self._listener.succeed, self.task_id, self.term, result, steps=rest.steps
            )
        except StaleTerm:
            raise
        except RequestError as error:
            failure = own_failures.unencodable_result(rule=error.code, bytes_max=RESULT_BYTES_MAX)
            await self._fail(
                failure, cause="exception", detail=describe(error), rest=Rest(steps=rest.steps)
            )

    async def fail(self, failure: Failure, *, cause: str, detail: Redacted | None) -> None:
        """Tell why the attempt failed, along with what waits."""
        rest = await self._tell_ahead(self._pieces.close(), text_too=False)
        await self._fail(failure, cause=cause, detail=detail, rest=rest)

    async def cleaned(self, cleaned: Cleaned) -> None:
        """Tell what was cleaned up after the attempt."""
        await self._told_once(
            self._listener.cleaned,
            self.task_id,
            self.term,
            resources=cleaned.resources,
            memory_freed=cleaned.memory_freed,
            leftovers=cleaned.leftovers,
        )

    async def _tell_ahead(self, rest: Rest, *, text_too: bool) -> Rest:
        """
        Tell what would be too large for the one entry that ends the attempt.

        Args:
            text_too: Whether text is told whatever its size. Text that replaces what was told
                before always is: the end of an attempt only adds to that.

        Returns:
            What is left, for the end.
        """
        for failure, detail in rest.failures:
            await self.tell(Piece(failure=failure, detail=detail))
        rest = dataclasses.replace(rest, failures=())
        large = len(orjson.dumps([rest.steps, rest.text])) > REST_BYTES_MAX
        if large:
            for name, data in rest.steps.items():
                await self.tell(Piece(step=name, data=data))
            rest = dataclasses.replace(rest, steps={})
        if large or text_too or rest.replaces:
            for start in range(0, max(len(rest.text), int(rest.replaces)), TEXT_CHARS_MAX):
                text = rest.text[start : start + TEXT_CHARS_MAX]
                await self.tell(Piece(text=text, replaces=rest.replaces and start == 0))
            rest = dataclasses.replace(rest, text="", replaces=False)
        return rest

    async def _fail(
        self, failure: Failure, *, cause: str, detail: Redacted | None, rest: Rest
    ) -> None:
        await self._told(
            self._listener.fail,
            self.task_id,
            self.term,
            failure,
            cause=cause,
            detail=detail,
            rest=rest,
        )

    async def _told_once(
        self, tell: Callable[..., Awaitable[object]], *what: Any, **more: Any
    ) -> None:
        await self._told(tell, *what, tries=Tries(), **more)

    async def _told(self, tell: Callable[..., Awaitable[object]], *what: Any, **more: Any) -> None:
        async with self._turn:
            while True:
                try:
                    await tell(*what, **more)
                except Unavailable as error:
                    logger.warning("not told yet: %s", error)
                    await self._clock.sleep(error.retry_after or RETRY_S)
                else:
                    return
