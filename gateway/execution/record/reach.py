"""
Reach: how far this node has read the log, and the one way to wait until it has read further.

A caller may have been answered by another node, which had read more. The caller names what it
knows, a position or the term of a lease, and waits here until this node knows it, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from gateway.domain.errors import InvalidParams, Unavailable
from gateway.domain.stream import parse_position
from gateway.ports import EventLog

__all__ = ["Reach"]

# How long a read with ``min_position`` waits for this node to reach that position.
READ_WAIT_S = 1.0


class Reach:
    """
    Lets callers wait for entries that this node has not seen yet.

    Args:
        log: Tells its head and its epoch.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._shown = 0
        self._waiting: dict[asyncio.Future[None], Callable[[], bool]] = {}

    async def until(self, holds: Callable[[], bool], *, within_s: float) -> bool:
        """
        Wait until a condition on the folds holds; it is checked after each entry.

        Args:
            holds: The condition. It reads the folds, and must neither wait nor raise.
            within_s: How long to wait, in seconds; 0: not at all.

        Returns:
            Whether the condition holds.
        """
        if within_s <= 0 or holds():
            return holds()
        there: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[there] = holds
        try:
            async with asyncio.timeout(within_s):
                await there
        except TimeoutError:
            return holds()
        finally:
            del self._waiting[there]
        return True

    async def offset(self, offset: int, *, within_s: float) -> bool:
        """Wait until this node has seen ``offset``, and tell whether it has; see ``until``."""
        return await self.until(lambda: self._head >= offset, within_s=within_s)

    async def wait_for(self, params: Mapping[str, Any]) -> None:
        """
        Wait up to 1 s for the ``min_position`` among ``params``; return at once if there is none.

        Raises:
            InvalidParams: If the position is of another log, or no position.
            Unavailable: If this node has not reached the position in time.
        """
        if "min_position" not in params:
            return
        epoch = self._log.epoch
        wanted = parse_position(params["min_position"], epoch=epoch, field="min_position")
        if wanted.epoch != epoch:
            raise InvalidParams(
                "min_position is of another log; ask without it", field="min_position"
            )
        if not await self.offset(wanted.offset, within_s=READ_WAIT_S):
            raise Unavailable(
                f"this node is at offset {self._head}, {wanted.offset} was asked for; ask again",
                field="min_position",
                retry_after=READ_WAIT_S,
            )

    def saw(self, offset: int) -> None:
        """The folds have seen ``offset``: let every caller go on whose condition holds now."""
        # While followers are shown an entry, the head of a log may still be the entry before.
        self._shown = offset
        for there, holds in self._waiting.items():
            if not there.done() and holds():
                there.set_result(None)
        self._shown = 0

    @property
    def _head(self) -> int:
        return max(self._log.head, self._shown)
