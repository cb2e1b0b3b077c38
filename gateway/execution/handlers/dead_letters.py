"""
The operations on dead letters, for operators: list, retry, discard.

A page of the list ends at its limit or at a number of bytes, since a letter holds its whole input.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from gateway.domain import dead_letter
from gateway.domain.access import Caller
from gateway.domain.dead_letter import DeadLetter
from gateway.domain.task import Task
from gateway.execution.handlers.params import Handler, Page, Params
from gateway.execution.record.reach import Reach
from gateway.execution.record.state import State
from gateway.execution.tasks.dead_letters import DeadLetters
from gateway.ports import Clock
from gateway.values import offset_of

__all__ = ["DeadLetterHandlers"]

# What a letter may take in a page beyond its size, in bytes: that it was retried.
BESIDE_BYTES = 63

# The filters of dead_letter.list, and what each compares.
FILTERS = {"agent": "agent_name", "reason": "reason", "user_id": "user_id"}


class DeadLetterHandlers:
    """
    The operations ``dead_letter.*``.

    Args:
        submitted: Describes the task that a retry has made, as ``task.retry`` does.
    """

    def __init__(
        self,
        *,
        state: State,
        dead_letters: DeadLetters,
        submitted: Callable[[Task], Awaitable[dict[str, Any]]],
        reach: Reach,
        clock: Clock,
    ) -> None:
        self._state = state
        self._dead_letters = dead_letters
        self._submitted = submitted
        self._reach = reach
        self._clock = clock
        self.by_name: dict[str, Handler] = {
            "dead_letter.list": self._list,
            "dead_letter.retry": self._retry,
            "dead_letter.discard": self._discard,
        }

    async def _list(self, params: Params, caller: Caller) -> Any:
        await self._reach.wait_for(params)
        before = offset_of(params.get("cursor"), field="cursor")
        asked = [(FILTERS[name], params[name]) for name in FILTERS if name in params]
        page, next = Page(params), None
        for letter in self._state.dead_letters.newest_first(self._clock.wall()):
            if before is not None and letter.sequence >= before:
                continue
            if asked and not _fits(letter, asked):
                continue
            if not page.takes(dead_letter.view(letter), size=letter.size + BESIDE_BYTES):
                return {"items": page.items, "next": next}
            next = str(letter.sequence)
        return {"items": page.items, "next": None}

    async def _retry(self, params: Params, caller: Caller) -> Any:
        made = await self._dead_letters.retry(
            params["task_id"], by=caller.user_id, reason="operator"
        )
        return await self._submitted(made)

    async def _discard(self, params: Params, caller: Caller) -> Any:
        letter = await self._dead_letters.discard(params["task_id"], by=caller.user_id)
        return dead_letter.view(letter)


def _fits(letter: DeadLetter, asked: list[tuple[str, Any]]) -> bool:
    # Not by ``all``: ten thousand generators take as long as everything else.
    for name, value in asked:  # noqa: SIM110
        if getattr(letter, name) != value:
            return False
    return True
