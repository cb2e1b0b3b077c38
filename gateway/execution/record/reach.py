"""The parts that carry out an operation: handlers need not know who put them together."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any

from gateway.attempts.agents import Agents
from gateway.domain.errors import InvalidParams, Unavailable
from gateway.domain.settings import Settings
from gateway.domain.stream import parse_position
from gateway.execution.record.intake import Intake
from gateway.execution.record.state import State
from gateway.execution.record.task_drafts import Telling
from gateway.execution.tasks.acceptance import Orders
from gateway.execution.tasks.lifecycle import Lifecycle
from gateway.ports import Clock, EventLog, IdSource

__all__ = ["Core", "Reach"]

# How long a reader waits for a position that this node has not reached yet.
REACH_LIMIT_S = 1.0


class Reach:
    """Lets readers wait until this node has seen an offset."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    async def reached(self, offset: int) -> None:
        """
        Wait until this node has seen ``offset``, at most 1 s.

        Raises:
            Unavailable: If it has not by then.
        """
        if self._log.head >= offset:
            return
        there: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((offset, there))
        try:
            async with asyncio.timeout(REACH_LIMIT_S):
                await there
        except TimeoutError:
            raise Unavailable(
                f"this node is at offset {self._log.head}, {offset} was asked for; ask again",
                field="min_position",
                retry_after=REACH_LIMIT_S,
            ) from None
        finally:
            self._waiting.remove((offset, there))

    async def wait_for(self, params: Mapping[str, Any]) -> None:
        """
        Wait for the ``min_position`` that a reader names, if it names one.

        Raises:
            InvalidParams: If it is of another log.
            Unavailable: If this node has not reached it in time.
        """
        if "min_position" not in params:
            return
        epoch = self._log.epoch
        wanted = parse_position(params["min_position"], epoch=epoch, field="min_position")
        if wanted.epoch != epoch:
            raise InvalidParams(
                "min_position is of another log; ask without it", field="min_position"
            )
        await self.reached(wanted.offset)

    def saw(self, offset: int) -> None:
        """The log has come as far as ``offset``."""
        for wanted, there in self._waiting:
            if wanted <= offset and not there.done():
                there.set_result(None)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """What handlers work with."""

    log: EventLog
    clock: Clock
    ids: IdSource
    settings: Settings
    agents: Agents
    state: State
    intake: Intake
    telling: Telling
    lifecycle: Lifecycle
    orders: Orders
    reach: Reach
