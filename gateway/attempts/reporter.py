"""
The reporter of one attempt: it tells what comes about in its order, until it is taken, and once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from gateway.attempts.assignment import Assignment
from gateway.attempts.cleanup import Cleaned
from gateway.attempts.pieces import TEXT_CHARS_MAX, Piece, Pieces, Rest
from gateway.attempts.tries import Tries
from gateway.domain import own_failures
from gateway.domain.description import describe
from gateway.domain.errors import RequestError, StaleTerm, Unavailable
from gateway.domain.failure import Failure
from gateway.ports import Clock
from gateway.values import RESULT_BYTES_MAX

__all__ = ["Listener", "Reporter"]

logger = logging.getLogger(__name__)

# What the store did not take is told again after this, unless the store says when.
RETRY_S = 1.0


class Listener(Protocol):
    """
    The side that attempts report to: the lifecycle of this process, or a gateway elsewhere.

    Each of the first three raises ``StaleTerm`` if the attempt has lost its task, so that of its
    end there is only one. What can be told more than once, pieces and cleanups, comes with
    ``tries``: calls that are given the same record are tries of one event.
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
        detail: Mapping[str, Any] | None = None,
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
    Tells of one attempt.

    A store that is away takes it when it is back, or refuses it: by then the task's deadline may
    have ended it, or another worker may have it.

    Args:
        assignment: The attempt.
        pieces: What the attempt has not told yet.
        listener: Takes what is told.
        clock: For the time between two tries.
    """

    def __init__(
        self, assignment: Assignment, pieces: Pieces, listener: Listener, clock: Clock
    ) -> None:
        self.task_id = assignment.task_id
        self._term = assignment.term
        self._pieces = pieces
        self._listener = listener
        self._clock = clock
        # The attempt may end while a piece waits for its next try: the end comes after it.
        self._turn = asyncio.Lock()

    async def tell(self, piece: Piece) -> None:
        """Tell what the attempt has produced, or how far it is."""
        await self._told_once(self._listener.tell, self.task_id, self._term, piece)

    async def succeed(self, result: Any) -> None:
        """Tell what is left to tell, and the result."""
        rest = self._pieces.close()
        # What was streamed is told to its end; steps that wait are kept with the result.
        for start in range(0, len(rest.text), TEXT_CHARS_MAX):
            await self.tell(Piece(text=rest.text[start : start + TEXT_CHARS_MAX]))
        try:
            await self._told(
                self._listener.succeed, self.task_id, self._term, result, steps=rest.steps
            )
        except StaleTerm:
            raise
        except RequestError as error:
            failure = own_failures.unencodable_result(rule=error.code, bytes_max=RESULT_BYTES_MAX)
            await self._fail(
                failure, cause="exception", detail=describe(error), rest=Rest(steps=rest.steps)
            )

    async def fail(self, failure: Failure, *, cause: str, detail: Mapping[str, Any] | None) -> None:
        """Tell why it failed, with what is left to tell."""
        await self._fail(failure, cause=cause, detail=detail, rest=self._pieces.close())

    async def cleaned(self, cleaned: Cleaned) -> None:
        """Tell what was cleaned up after it."""
        await self._told_once(
            self._listener.cleaned,
            self.task_id,
            self._term,
            resources=cleaned.resources,
            memory_freed=cleaned.memory_freed,
            leftovers=cleaned.leftovers,
        )

    async def _fail(
        self, failure: Failure, *, cause: str, detail: Mapping[str, Any] | None, rest: Rest
    ) -> None:
        await self._told(
            self._listener.fail,
            self.task_id,
            self._term,
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
