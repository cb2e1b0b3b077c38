"""
What is still done for blocks that have gone on: ends that are told, cleanups that are finished.

The rule: the caller of a block may be cancelled at any moment, again and again, and goes on at
once; what its block has begun to close is closed all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from collections.abc import Set as AbstractSet
from typing import Any

from gateway.domain.diagnostics import logger_of

__all__ = ["Late"]

logger = logger_of(__name__)


class Late:
    """
    The jobs that nobody waits for any more, by task.

    Bounded: no block begins while the store is away, so there are at most as many as ran then.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, set[asyncio.Future[None]]] = {}

    @property
    def tasks(self) -> AbstractSet[str]:
        """The ids of the tasks that something is still done for."""
        return self._jobs.keys()

    def cancel(self) -> None:
        """Stop all of it: this process leaves."""
        for job in [job for jobs in self._jobs.values() for job in jobs]:
            job.cancel()

    async def done(self, task_id: str, closing: Coroutine[Any, Any, None]) -> None:
        """Wait until it is done; when cancelled, leave it to itself. What it raises is raised."""
        job = asyncio.ensure_future(closing)
        try:
            await asyncio.wait({job})
        finally:
            self._leave(task_id, job)
        job.result()

    async def told(
        self, task_id: str, telling: Coroutine[Any, Any, None], *, wait_until: float
    ) -> None:
        """Wait until it is told; at ``wait_until``, or when cancelled, leave it to itself."""
        job = asyncio.ensure_future(telling)
        try:
            await asyncio.wait(
                {job}, timeout=max(0.0, wait_until - asyncio.get_running_loop().time())
            )
        finally:
            if self._leave(task_id, job):
                logger.warning("task %s: its end waits for the store, the block goes on", task_id)
        if job.done():
            job.result()

    def _leave(self, task_id: str, job: asyncio.Future[None]) -> bool:
        """Know of a job until it is done; returns whether it is not yet."""
        if job.done():
            return False
        self._jobs.setdefault(task_id, set()).add(job)
        job.add_done_callback(lambda job: self._ended(task_id, job))
        return True

    def _ended(self, task_id: str, job: asyncio.Future[None]) -> None:
        jobs = self._jobs[task_id]
        jobs.discard(job)
        if not jobs:
            del self._jobs[task_id]
        if not job.cancelled() and (error := job.exception()) is not None:
            logger.error("task %s: its end could not be told", task_id, exc_info=error)
