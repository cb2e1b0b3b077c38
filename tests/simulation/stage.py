"""
The stage of the rights: some of everything that can belong to a user, of each user.

What a call has changed is put back. Whose everything is, is noted as it is made, and from that and
the events' own fields it follows what of the log a caller may be shown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from gateway.ports import Entry
from tests.simulation.rights import BOOKKEEPING, PLAYED, ROOT, USERS, Params, Who

__all__ = [
    "BREAKER_THRESHOLD",
    "TASKS",
    "Answer",
    "Ask",
    "Stage",
    "heard",
    "judge_events",
    "may_follow",
]


class Answer(NamedTuple):
    """The text code of a refusal, or "ok"; and all that was said."""

    code: str
    told: Any


# Failures after which a breaker opens.
BREAKER_THRESHOLD = 5

Ask = Callable[[Who, str, Params], Awaitable[Answer]]


class Stage:
    """
    Some of everything, of each user.

    Args:
        ask: Calls an operation.
        entries: What the log has accepted, as it grows.

    Attributes:
        things: Ids of what each user has now, by user and name.
        owners: Whose each task and each worker is or was.
    """

    def __init__(self, ask: Ask, entries: Sequence[Entry]) -> None:
        self._ask = ask
        self.entries = entries
        self.things: dict[str, dict[str, Any]] = {user: {} for user in USERS}
        self.owners: dict[str, str] = {}
        self._read: list[dict[str, Any]] = []
        self._number = 0

    async def set(self) -> None:
        """Make everything."""
        for user in USERS:
            for what in FIRST:
                await self.renew(user, what)
        await self._break()

    async def renew(self, user: str, what: str) -> None:
        """Make one thing anew, as its user, who may do all that a user may."""
        await MAKERS[what](self, Who(user, PLAYED), self.things[user])

    async def ask(self, who: Who, operation: str, **params: Any) -> Any:
        """Call what has to be carried out."""
        answer = await self._ask(who, operation, params)
        if answer.code != "ok":
            raise RuntimeError(f"the stage cannot be set: {who}, {operation} {params}: {answer}")
        return answer.told

    async def answer(self, who: Who, operation: str, params: Params) -> Answer:
        return await self._ask(who, operation, params)

    def name(self) -> str:
        """Give a name that was never used."""
        self._number += 1
        return f"new-{self._number}"

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events, as operators see them."""
        for entry in self.entries[len(self._read) :]:
            self._read.append(orjson.loads(entry.operator))
        return self._read

    def marks(self, who: Who, named: Params) -> list[str]:
        """What no refusal may tell this caller: what others wrote, and ids that it did not name."""
        known = orjson.dumps(named).decode()
        found = []
        for user in USERS:
            if user != who.user:
                things = self.things[user]
                found += [f"secret of {user}", things["worker"]["agent_secret"]]
                found += [*things["tasks"].values(), things["lock"]["lock_id"]]
                found += [things["note"], things["failure"]]
        return [mark for mark in found if mark not in known]

    async def _break(self) -> None:
        """Let the breaker of an agent open, which everybody is told."""
        worker = await self.ask(ROOT, "agent.register", handle="fragile")
        self.owners[worker["agent_id"]] = ROOT.user
        for _ in range(BREAKER_THRESHOLD):
            asked = {"agent": "fragile", "max_attempts": 1}
            task_id = (await self.ask(ROOT, "task.create", **asked))["task_id"]
            self.owners[task_id] = ROOT.user
            lease = {"agent_id": worker["agent_id"], "task_id": task_id}
            lease["term"] = (await self.ask(ROOT, "task.claim", **lease))["term"]
            await self.ask(ROOT, "task.fail", **lease, message="m", error_type="timeout")
        assert any(event["user_id"] == "*" for event in self.events)

    # --- making -----------------------------------------------------------------------------

    async def _worker(self, who: Who, things: dict[str, Any]) -> None:
        told = await self.ask(who, "agent.register", handle=f"{who.user}-bot")
        things["worker"] = {name: told[name] for name in ("agent_id", "agent_secret")}
        self.owners[told["agent_id"]] = who.user
        things.setdefault("tasks", {})
        for kind in TASKS:  # those that the last one held went back to the queue
            await self._task(kind, who, things)

    async def _task(self, kind: str, who: Who, things: dict[str, Any]) -> None:
        by = ROOT if kind == "critical" else who
        asked: Params = {"agent": f"{who.user}-bot", "input": f"secret of {who.user}"}
        if kind == "critical":
            asked |= {"user_id": who.user, "priority": 0}
        told = await self.ask(by, "task.create", max_attempts=1, timeout=80000, **asked)
        task_id = things["tasks"][kind] = told["task_id"]
        self.owners[task_id] = who.user
        lease = {"task_id": task_id, **things["worker"]}
        if kind in ("running", "dead", "done"):
            lease["term"] = (await self.ask(who, "task.claim", **lease, lease_ttl=3600))["term"]
        match kind:
            case "running":
                things["term"] = lease["term"]
                await self.ask(who, "task.update", **lease, text=f"secret of {who.user}")
            case "dead":
                await self.ask(who, "task.fail", **lease, message="m", error_type="timeout")
            case "done":
                await self.ask(who, "task.complete", **lease, result=f"secret of {who.user}")
            case "critical":
                await self.ask(who, "task.cancel", task_id=task_id)

    async def _lock(self, who: Who, things: dict[str, Any]) -> None:
        key, holder = f"{who.user}-key-{self.name()}", f"{who.user}-desk"
        told = await self.ask(who, "lock.acquire", resource_key=key, holder=holder, ttl=3600)
        things["key"] = key
        things["lock"] = {name: told[name] for name in ("lock_id", "holder", "term")}

    async def _note(self, who: Who, things: dict[str, Any]) -> None:
        about: Params = {"type": "notification", "subject": "s", "payload": f"secret of {who.user}"}
        told = await self.ask(who, "event.publish", recipient_id=who.user, **about)
        things["note"] = told["event_id"]
        about["payload"] = "for a channel"
        told = await self.ask(who, "event.publish", channel=f"{who.user}-room", **about)
        things["post"] = told["event_id"]
        agent_id = things["worker"]["agent_id"]
        await self.ask(who, "event.publish", recipient_id=agent_id, **about)

    async def _failure(self, who: Who, things: dict[str, Any]) -> None:
        about = {"type": "agent_error", "user_id": who.user, "agent_name": f"{who.user}-bot"}
        told = await self.ask(who, "event.publish", error_type="timeout", **about)
        things["failure"] = told["error_id"]


def _making(kind: str) -> Callable[[Stage, Who, dict[str, Any]], Awaitable[None]]:
    return lambda stage, who, things: stage._task(kind, who, things)


TASKS = ("pending", "running", "dead", "done", "critical")
MAKERS: Mapping[str, Callable[[Stage, Who, dict[str, Any]], Awaitable[None]]] = {
    "worker": Stage._worker,  # with its tasks
    "lock": Stage._lock,
    "note": Stage._note,
    "failure": Stage._failure,
    **{kind: _making(kind) for kind in TASKS},
}
# What every user has from the beginning; the worker has made the tasks.
FIRST = tuple(what for what in MAKERS if what not in TASKS)


# --- events --------------------------------------------------------------------------------------


def may_follow(who: Who, topic: str, stage: Stage) -> bool:
    """Tell whether a caller may read a topic."""
    kind, _, name = topic.partition(":")
    match kind:
        case "*":
            return who.operates
        case "system":
            return who.may("read")
        case "channel":
            return who.may("read") and who.uses(name)
        case "user":
            return who.sees(name)
        case "recipient":
            return who.sees(stage.owners.get(name, name))
        case "task":
            return who.sees(stage.owners[name])
    return who.may("read all")  # an agent's


def is_of(event: Mapping[str, Any], topic: str) -> bool:
    """Tell whether an event is of a topic, as it is read."""
    kind, _, name = topic.partition(":")
    if kind in ("user", "system") and event["user_id"] == "*":
        return True
    field = {"user": "user_id", "task": "task_id", "agent": "agent_name"}
    field |= {"channel": "channel", "recipient": "recipient_id"}
    return kind == "*" or (kind in field and event.get(field[kind]) == name)


def heard(who: Who, topics: Sequence[str], stage: Stage) -> list[int]:
    """Give the offsets of all events that a caller hears on topics that it may follow."""
    return [
        event["offset"]
        for event in stage.events
        if any(is_of(event, topic) for topic in topics)
        and (who.operates or event["type"] not in BOOKKEEPING)
    ]


def concerns(who: Who, event: Mapping[str, Any], stage: Stage) -> bool:
    """
    Tell whether an event may be shown to a caller at all.

    Once more and in other words than ``may_follow``: what concerns another user only never is.
    """
    if who.operates:
        return True
    if event["type"] in BOOKKEEPING or "detail" in event:
        return False
    channel, recipient = event.get("channel"), event.get("recipient_id")
    if channel is not None and who.uses(channel):
        return True
    addressed = {event["user_id"], stage.owners.get(recipient or "", recipient)} - {None}
    if who.may("read all") and (addressed or channel is None):
        return True
    owner = stage.owners.get(event["task_id"] or "")
    return "*" in addressed or who.user in {*addressed, owner, event.get("sender")}


def judge_events(who: Who, events: Sequence[Mapping[str, Any]], stage: Stage) -> None:
    for event in events:
        assert concerns(who, event, stage), (who, event)
