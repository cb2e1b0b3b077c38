"""
Membership: this process as a worker among those on its log.

A node that runs agents is registered and heard like any other worker, so that its loss is nothing
special: its tasks go on elsewhere (decision 10). A node that only answers callers holds no task,
and is not registered.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

from gateway.attempts.agents import Agents
from gateway.domain.access import GATEWAY
from gateway.domain.errors import NotFound
from gateway.execution.holders.alone import HANDLE
from gateway.execution.holders.block import Blocks
from gateway.execution.holders.presence import Presence
from gateway.execution.holders.registry import Registry
from gateway.execution.record.state import State

__all__ = ["Membership"]


class Membership:
    """
    Registers this process, lets it be heard, and says goodbye.

    Args:
        holder: agent_id under which this process holds its tasks.
        secret: What it proves that with; the same while the process lives, so that it can come
            back after it was removed.
    """

    def __init__(
        self,
        *,
        holder: str,
        secret: str,
        state: State,
        registry: Registry,
        presence: Presence,
        agents: Agents,
        blocks: Blocks,
    ) -> None:
        self._holder = holder
        self._secret = secret
        self._state = state
        self._registry = registry
        self._presence = presence
        self._agents = agents
        self._blocks = blocks
        self._caller = dataclasses.replace(GATEWAY, session_id=holder)
        self._left = False

    def begin(self) -> None:
        """Be a member from the next beat on, perhaps once more."""
        self._left = False

    async def beat(self) -> None:
        """
        Give a sign of life; register first, if this node runs agents and is not registered.

        Raises:
            Unavailable: If the store does not take the registration.
        """
        if self._left:
            return
        worker = self._state.workers.get(self._holder)
        if worker is not None and not worker.removed:
            await self._presence.heard(worker, self._holder)
            return
        agents = [declared.registration() for declared in self._agents]
        if agents or self._blocks.used:
            about: dict[str, Any] = {"agent_secret": self._secret, "handle": HANDLE}
            about |= {"type": "node", "agents": agents}
            await self._registry.enrol(self._holder, about, self._caller)

    async def leave(self) -> None:
        """Say goodbye: tasks that this node holds are given back, its blocks' tasks end."""
        self._left = True
        await self._blocks.give_up()
        with contextlib.suppress(NotFound):
            await self._registry.remove(self._holder)
