"""
Refusals of tokens, in the log: why each was refused, which nobody who sent one is told.

The rule: the first refusal for a reason is logged at once, the others of that second are counted
and logged at its end. So a flood of bad tokens is one line a second for each reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gateway.domain.diagnostics import logger_of

__all__ = ["Refusals"]

# For how long refusals for one reason are counted together, in seconds.
TOGETHER_S = 1.0

logger = logger_of(__name__)


class Refusals:
    """
    Logs refusals. What is kept is bounded by the number of reasons, which are ours.

    Args:
        counted: Takes in each refusal, by its reason.
    """

    def __init__(self, counted: Callable[[str], None]) -> None:
        self._counted = counted
        # How many were not logged yet, by reason, while a second runs on that loop.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._more: dict[str, int] = {}

    def tell(self, reason: str, about: str, *, level: int = logging.WARNING) -> None:
        """
        Log a refusal.

        Args:
            reason: One of a few; what is counted together.
            about: What was found, cut to what a line may hold; only the first one's is logged.
            level: Of the log.
        """
        self._counted(reason)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._more = loop, {}
        if reason in self._more:
            self._more[reason] += 1
            return
        logger.log(level, "a token was refused: %s%s", reason, f" ({about})" if about else "")
        self._more[reason] = 0
        loop.call_later(TOGETHER_S, self._look, loop, reason, level)

    def _look(self, loop: asyncio.AbstractEventLoop, reason: str, level: int) -> None:
        if more := self._more.pop(reason, 0):
            logger.log(level, "%d more tokens were refused: %s", more, reason)
            self._more[reason] = 0
            loop.call_later(TOGETHER_S, self._look, loop, reason, level)
