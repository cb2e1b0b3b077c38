"""
Workers whose lives are drawn by lot, with a record of what each of them has said.

Each word has a mark of its own, so that the log can be asked of every single one: of those that
were accepted each is in it once, under its own attempt, and of those that were refused none is,
anywhere.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from gateway.domain.access import Caller
from gateway.domain.errors import RequestError
from gateway.ports import Draft, Entry
from tests.execution.world import SlowLog, World

__all__ = ["Claim", "FarLog", "Hand", "Words", "settle"]

SCOPES = frozenset({"agent", "events:read", "tasks:write"})
MARK = re.compile(rb"<word \d+>")


class FarLog(SlowLog):
    """The same log, whose other readers see an entry before its writer gets the answer."""

    async def append(
        self, drafts: Sequence[Draft], *, expected: Mapping[str, int] | None = None
    ) -> int:
        offset = await super().append(drafts, expected=expected)
        await asyncio.sleep(self._chance.choice((0, 0, 0.001, 0.05)))  # noqa: TID251 - virtual
        return offset


class Words:
    """What was said, by which worker, and with which answer."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._accepted: dict[str, tuple[str, str, int]] = {}
        self._refused: set[str] = set()

    def new(self) -> str:
        """Give a mark that was never said before."""
        return f"<word {next(self._numbers)}>"

    def accepted(self, mark: str, told_as: str, *, by: str, attempt: int) -> None:
        """Note that something was taken as said, and as which event."""
        self._accepted[mark] = told_as, by, attempt

    def refused(self, mark: str) -> None:
        """Note that something was not."""
        self._refused.add(mark)

    def broken(self, entries: Iterable[Entry]) -> list[str]:
        """Say which words are where they should not be, or are missing, in the whole log."""
        told: dict[str, list[tuple[str, str, int]]] = {}
        for entry in entries:
            for mark in set(MARK.findall(entry.operator + (entry.state or b""))):
                event = orjson.loads(entry.operator)
                place = event["type"], event.get("agent_id"), event["attempt"]
                told.setdefault(mark.decode(), []).append(place)
        found = [
            f"{mark} was refused and is in {told[mark]}"
            for mark in sorted(self._refused & told.keys())
        ]
        for mark, place in self._accepted.items():
            times = told.get(mark, []).count(place)
            # How far it is is said again when a person wants a task tried now.
            if times != 1 and not (times and place[0] == "task_progress"):
                found.append(f"{mark} was accepted as {place} and is in {told.get(mark)}")
        return found


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim as its holder got it; it may be over without the holder's knowledge."""

    task_id: str
    term: int

    def as_dict(self) -> dict[str, Any]:
        """As every word about it carries it."""
        return {"task_id": self.task_id, "term": self.term}


@dataclasses.dataclass
class Hand:
    """
    One worker, from the inside.

    Attributes:
        caller: With its connection; without one it calls over HTTP.
        heard_at: When it last called, on the monotonic clock.
        closed_at: When each of its connections was lost.
        silent_until: It is stopped until then; infinity: it is dead.
        gone: It has said goodbye.
        claims: Everything that it ever held, newest last.
    """

    here: World
    words: Words
    agent_id: str
    secret: str
    caller: Caller
    heard_at: float
    closed_at: dict[str, float] = dataclasses.field(default_factory=dict)
    silent_until: float = 0.0
    gone: bool = False
    claims: list[Claim] = dataclasses.field(default_factory=list)

    @classmethod
    async def register(
        cls, here: World, words: Words, *, session: str | None, **params: Any
    ) -> Hand:
        """Come as a new worker."""
        caller = Caller("worker", SCOPES, session_id=session)
        heard_at = here.engine.clock.monotonic()
        answer = await here.call("agent.register", caller, **params)
        return cls(here, words, answer["agent_id"], answer["agent_secret"], caller, heard_at)

    @property
    def proof(self) -> dict[str, str]:
        return {"agent_id": self.agent_id, "agent_secret": self.secret}

    @property
    def connected(self) -> bool:
        """Whether it has no connection that it could have lost, or has it still."""
        return self.caller.session_id not in self.closed_at

    @property
    def awake(self) -> bool:
        """Whether it is alive, and nothing stops it."""
        return not self.gone and self.here.engine.clock.monotonic() >= self.silent_until

    @property
    def speaks(self) -> bool:
        """Whether it can be heard, too."""
        return self.awake and self.connected

    async def call(self, operation: str, **params: Any) -> Any:
        """Call as this worker; gives the answer, or the refusal."""
        self.heard_at = self.here.engine.clock.monotonic()
        try:
            return await self.here.call(operation, self.caller, **self.proof, **params)
        except RequestError as refusal:
            return refusal

    async def come_back(self, session: str | None, **params: Any) -> None:
        """Register again as the same worker, over another connection."""
        self.caller = dataclasses.replace(self.caller, session_id=session)
        await self.call("agent.register", **params)

    async def lose_connection(self) -> None:
        """What it hears and says over its connection ends here."""
        session_id = self.caller.session_id
        if session_id is not None and session_id not in self.closed_at:
            self.closed_at[session_id] = self.here.engine.clock.monotonic()
            await self.here.engine.session_closed(session_id)

    async def claim(self, **params: Any) -> Claim | None:
        """Take a task, if there is one."""
        answer = await self.call("task.claim", **params)
        if not isinstance(answer, Mapping):
            return None
        claim = Claim(answer["task_id"], answer["term"])
        if claim not in self.claims:
            self.claims.append(claim)
        return claim

    async def say(self, claim: Claim, chance: random.Random) -> None:
        """Say anything that one may say about a claim, whether it is still in force or not."""
        mark = self.words.new()
        told_as: str | None
        match chance.randrange(12):
            case 0 | 1 | 2:
                answer = await self.call("task.update", **claim.as_dict(), text=mark)
                told_as = "partial_result"
            case 3:
                answer = await self.call("task.update", **claim.as_dict(), step=mark, data=1)
                told_as = "partial_result"
            case 4:
                how_far = {"progress": round(chance.random(), 2), "step": mark}
                answer = await self.call("task.update", **claim.as_dict(), **how_far)
                told_as = "task_progress"
            case 5:
                report = {"type": "partial_result", "text": mark}
                answer = await self.call("event.publish", **claim.as_dict(), **report)
                told_as = "partial_result"
            case 6 | 7 | 8:
                answer = await self.call("task.complete", **claim.as_dict(), result=mark)
                told_as = "task_finished"
            case 9:
                kind = chance.choice(("rate_limit", "processing_error", "agent_lost", "timeout"))
                report = {"message": "no", "error_type": kind, "text": mark}
                answer = await self.call("task.fail", **claim.as_dict(), **report)
                # What is preserved once stands in all that is preserved later.
                told_as = None
            case 10:
                report = {"type": "agent_error", "error_type": "network_error", "message": mark}
                answer = await self.call("event.publish", **claim.as_dict(), **report)
                told_as = "agent_error"
            case _:
                await self.call("task.release", **claim.as_dict())
                return
        if isinstance(answer, RequestError):
            self.words.refused(mark)
        elif told_as is not None:
            self.words.accepted(mark, told_as, by=self.agent_id, attempt=claim.term)

    async def renew(self, claim: Claim, chance: random.Random) -> None:
        """Keep a claim, perhaps for a shorter or a longer time than before."""
        ttl_s = chance.choice((None, None, 1.0, 6.0, 30.0))
        length = {} if ttl_s is None else {"lease_ttl": ttl_s}
        await self.call("task.heartbeat", **claim.as_dict(), **length)


async def settle(jobs: set[asyncio.Task[None]]) -> None:
    """Let everything come to its end, and raise what was raised."""
    for job in list(jobs):
        await job
