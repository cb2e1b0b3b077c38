"""
This process among the nodes on one log: what one of them hears, the others know.

Beats of workers are not in the log, so each node tells the others whom it hears. A node that
runs agents itself is a worker like any other: registered, heard while it lives, and when it is
silent its tasks go on elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import orjson

from gateway.attempts.agents import Agents
from gateway.domain import own_failures
from gateway.domain.access import Caller
from gateway.domain.errors import NotFound, RequestError
from gateway.execution.holders.block import Supervised
from gateway.execution.holders.registry import Workers
from gateway.execution.node.watch import StoreWatch
from gateway.execution.record.state import State
from gateway.execution.tasks.lifecycle import Lifecycle
from gateway.ports import Clock, Pulse

__all__ = ["Nodes"]

logger = logging.getLogger(__name__)

# What is told between nodes: whom somebody heard; whom to ask to leave; what was saved.
HEARD, LEAVE, SAVED = "heard", "leave", "saved"
# Whom a node has heard it tells this often within the time in which a beat is due.
TELLINGS_PER_BEAT = 4
# As which the nodes are listed among the workers.
HANDLE = "gateway"


class Nodes:
    """
    Tells the other nodes, and hears them.

    Args:
        holder: agent_id under which this process holds its tasks.
        secret: What it proves that with; the same for its whole life, so that it can come back.
    """

    def __init__(
        self,
        *,
        holder: str,
        pulse: Pulse,
        state: State,
        workers: Workers,
        agents: Agents,
        lifecycle: Lifecycle,
        watch: StoreWatch,
        supervised: Supervised,
        secret: str,
        clock: Clock,
    ) -> None:
        self._holder = holder
        self._pulse = pulse
        self._state = state
        self._workers = workers
        self._agents = agents
        self._lifecycle = lifecycle
        self._watch = watch
        self._supervised = supervised
        self._secret = secret
        self._clock = clock
        self._caller = Caller(HANDLE, frozenset({"agent"}), session_id=holder)
        self._heard: set[str] = set()
        self._leaving: dict[str, float] = {}
        self._saved_at = 0
        self._left = False
        workers.on_heard = self._heard.add
        workers.on_leave = self._leaving.__setitem__
        watch.on_saved = self._note_saved

    async def run(self) -> None:
        """Be one of them until cancelled."""
        self._left = False
        unfollow = self._pulse.follow(self._hear)
        every_s = self._workers.heartbeat_interval_s
        due = 0.0
        try:
            while True:
                await self._watch.until_ready()
                if self._clock.monotonic() >= due and not self._left:
                    due = self._clock.monotonic() + every_s
                    try:
                        await self._be_there()
                    except RequestError as error:
                        logger.warning("this node is not known to the others: %s", error)
                await self._tell()
                await self._clock.sleep(every_s / TELLINGS_PER_BEAT)
        finally:
            unfollow()

    async def leave(self) -> None:
        """Say goodbye: what this node holds is given back, to go on elsewhere."""
        self._left = True
        for task in self._state.held_by(self._holder):
            if task.reserved_for is not None:
                # Code of this process runs it, which nobody else has.
                await self._lifecycle.give_up(task.task_id, own_failures.shutdown())
        with contextlib.suppress(NotFound):
            await self._workers.remove(self._holder)

    async def _be_there(self) -> None:
        """Beat; register first where that is needed."""
        worker = self._state.workers.get(self._holder)
        if worker is not None and not worker.removed:
            await self._workers.heard(worker, self._holder)
            return
        agents = [declared.registration() for declared in self._agents]
        # Whoever only answers for others holds nothing that could be lost with it.
        if agents or self._supervised.used:
            about: dict[str, Any] = {"agent_id": self._holder, "agent_secret": self._secret}
            about |= {"handle": HANDLE, "type": "node", "agents": agents}
            await self._workers.register(about, self._caller)

    # --- between nodes ----------------------------------------------------------------------

    async def _tell(self) -> None:
        if self._heard:
            heard = sorted(self._heard)
            self._heard.clear()
            await self._say(HEARD, heard)
        while self._leaving:
            await self._say(LEAVE, self._leaving.popitem())
        if self._saved_at:
            await self._say(SAVED, self._saved_at)
            self._saved_at = 0

    async def _say(self, subject: str, what: Any) -> None:
        await self._pulse.publish(subject, orjson.dumps([self._holder, what]))

    def _note_saved(self, offset: int) -> None:
        self._saved_at = offset

    def _hear(self, subject: str, body: bytes) -> None:
        try:
            node, said = orjson.loads(body)
            if node == self._holder:
                return
            match subject:
                case "heard":
                    for agent_id in said:
                        self._workers.heard_elsewhere(agent_id)
                case "leave":
                    agent_id, grace_s = said
                    self._workers.asked_elsewhere(agent_id, grace_s)
                case "saved":
                    self._watch.saved_elsewhere(said)
        except (ValueError, TypeError, LookupError):
            logger.warning("another node said something unknown about %s", subject)
