"""
The other nodes on the log: each tells them which workers it hears, and hears what they tell.

Beats of workers are not in the log, so the nodes repeat them to each other as signals (``Pulse``).
A signal may be lost: a worker is heard again with its next beat, a snapshot too many does no harm,
and a request to leave has to be made again.
"""

from __future__ import annotations

from typing import Any

import orjson

from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import RequestError
from gateway.execution.guards.health import Health
from gateway.execution.holders.presence import Presence
from gateway.execution.node.membership import Membership
from gateway.execution.node.watch import StoreWatch
from gateway.ports import Clock, Pulse

__all__ = ["Others"]

logger = logger_of(__name__)

# The subjects of signals: workers that were heard; how well some say they are; a worker that is to
# leave; the offset of a snapshot that was saved. These words are on the wire.
HEARD, HEALTH, LEAVE, SAVED = "heard", "health", "leave", "saved"
# How often a node repeats to the others which workers it hears, within the time between two beats.
TELLINGS_PER_BEAT = 4


class Others:
    """
    Tells the other nodes, and hears them.

    Args:
        holder: agent_id of this node; it ignores its own signals.
        every_s: Seconds between two beats of this node.
    """

    def __init__(
        self,
        *,
        holder: str,
        every_s: float,
        pulse: Pulse,
        presence: Presence,
        health: Health,
        membership: Membership,
        watch: StoreWatch,
        clock: Clock,
    ) -> None:
        self._holder = holder
        self._every_s = every_s
        self._pulse = pulse
        self._presence = presence
        self._health = health
        self._membership = membership
        self._watch = watch
        self._clock = clock
        self._told_saved = 0

    async def run(self) -> None:
        """Beat, tell and hear, until cancelled."""
        self._membership.begin()
        unfollow = self._pulse.follow(self._hear)
        due = 0.0
        try:
            while True:
                await self._watch.until_ready()
                if self._clock.monotonic() >= due:
                    due = self._clock.monotonic() + self._every_s
                    try:
                        await self._membership.beat()
                    except RequestError as error:
                        logger.warning("this node is not known to the others: %s", error)
                await self._tell()
                await self._clock.sleep(self._every_s / TELLINGS_PER_BEAT)
        finally:
            unfollow()

    async def _tell(self) -> None:
        if heard := self._presence.take_heard():
            await self._say(HEARD, heard)
        if reported := self._health.take_reported():
            await self._say(HEALTH, reported)
        for asked in self._presence.take_asked().items():
            await self._say(LEAVE, asked)
        if self._watch.saved != self._told_saved:
            self._told_saved = self._watch.saved
            await self._say(SAVED, self._told_saved)

    async def _say(self, subject: str, what: Any) -> None:
        await self._pulse.publish(subject, orjson.dumps([self._holder, what]))

    def _hear(self, subject: str, body: bytes) -> None:
        try:
            node, said = orjson.loads(body)
            if node == self._holder:
                return
            match subject:
                case "heard":
                    for agent_id in said:
                        self._presence.heard_elsewhere(agent_id)
                case "health":
                    for agent_id, health in said.items():
                        self._health.report(agent_id, health, tell=False)
                case "leave":
                    agent_id, grace_s = said
                    self._presence.ask_to_leave(agent_id, grace_s, tell=False)
                case "saved":
                    self._watch.saved_elsewhere(said)
        except (ValueError, TypeError, LookupError):
            logger.warning("another node said something unknown about %s", subject)
