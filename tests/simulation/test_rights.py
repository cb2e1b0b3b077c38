"""
Rights at random: tokens × operations × owners, against a small model of what SECURITY.md says.

Each call has to be answered as the model says. One that is refused leaves nothing in the log and
tells nothing of others; what is read and what is delivered concerns its reader, and is all there.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import Gateway
from gateway.domain import access
from gateway.domain.errors import NotFound, RequestError
from gateway.domain.worker import Worker
from gateway.execution.handlers import events, publishing, tasks
from gateway.execution.handlers.reporters import Reporters
from gateway.execution.handlers.tasks import TaskHandlers
from gateway.execution.holders.locks import Locks
from gateway.execution.holders.registry import Registry
from gateway.ports import Entry
from gateway.protocol.operations import OPERATIONS
from gateway.transports.follower import Audience, Follower
from gateway.transports.subscription import check_topics
from tests.execution.world import VirtualLoop
from tests.execution.world import World as Inside
from tests.execution.world import world as inside
from tests.simulation.rights import (
    DECLARED,
    NEEDS,
    ROOT,
    SUBSCRIBE,
    Choose,
    Params,
    Who,
    anybody,
    somebody,
)
from tests.simulation.stage import BREAKER_THRESHOLD, Answer, Stage, heard, judge_events
from tests.simulation.trying import TRIES, attempt, judge
from tests.soak import times
from tests.transports.doors import Door, Refused, Socket, doors
from tests.transports.http_client import Stream, plain_http
from tests.transports.world import SECRET, Wire, World, connected, token, world

# Silent workers stay, and nothing that is leased or locked ends within a run.
QUIET: dict[str, Any] = {
    "heartbeat_timeout": 30000,
    "offline_after": 60000,
    "breaker_threshold": BREAKER_THRESHOLD,
    "breaker_cooldown": 3600,
}
# Of how many calls a run is, and how often each operation comes; publishing is of many kinds.
STEPS, STEPS_BY_DOORS = 40, 150
OFTEN = [*TRIES, *("event.publish", "event.list", SUBSCRIBE, "agent.register", "task.retry") * 3]
# Entries of a call that was refused: the refusal itself is told.
TOLD = frozenset({"request_rejected", "audit_recorded"})


def test_every_operation_has_its_right_and_is_tried() -> None:
    assert NEEDS.keys() == TRIES.keys() == OPERATIONS.keys() | {SUBSCRIBE}


async def step(stage: Stage, who: Who, choose: Choose) -> None:
    """Make one call, judge its answer, and put back what it has changed."""
    operation = choose(OFTEN)
    made = attempt(operation, stage, who, choose)
    before = len(stage.entries)
    answer = await stage.answer(who, operation, made.params)
    judge(made, answer, who, stage)
    if answer.code == "ok":
        for user, what in made.spoils:
            await stage.renew(user, what)
        return
    new = [entry.type for entry in stage.entries[before:] if entry.type not in TOLD]
    # A failure is never silent: that a report was refused is told in its place.
    in_its_place = made.params.get("type") == "agent_error" and answer.code == "not_found"
    assert new == ["agent_error"] * in_its_place, (new, made, answer, who)


# --- at the engine -------------------------------------------------------------------------------


def caller(who: Who) -> access.Caller:
    return access.Caller(
        who.user, who.scopes, agents=who.agents, channels=who.channels, played=who.played
    )


async def set_inside(here: Inside) -> Stage:
    """Set the stage at an engine, which is called as a door calls it."""
    here.gateway.agent(DECLARED)(lambda task: None)

    async def ask(who: Who, operation: str, params: Params) -> Answer:
        try:
            if operation == SUBSCRIBE:
                check_topics(here.engine, caller(who), params["topics"])
                return Answer("ok", here.engine.snapshot(params["topics"], caller(who)))
            return Answer("ok", await here.call(operation, caller(who), **params))
        except RequestError as error:
            return Answer(error.code, {"message": error.message, **error.data()})

    stage = Stage(ask, here.entries)
    await stage.set()
    return stage


async def play(choose: Choose) -> None:
    async with inside(complete=False, **QUIET) as here:
        stage = await set_inside(here)
        for _ in range(STEPS):
            await step(stage, anybody(choose), choose)


def run(choose: Choose) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(play(choose))


@pytest.mark.timeout(times(400, 3600))  # only one that fails looks for the shortest way to fail
@settings(max_examples=times(8, 2000))
@given(data=st.data())
def test_every_call_is_answered_as_the_table_of_rights_says(data: Any) -> None:
    run(lambda options: data.draw(st.sampled_from(options)))


# --- with faults in the product ------------------------------------------------------------------


def _nothing(*args: Any, **more: Any) -> None:
    """Refuse nobody."""


def _yes(*args: Any, **more: Any) -> bool:
    return True


def _any_lock(self: Any, lock_id: str, *args: Any) -> Any:
    return self._known(lock_id)


def _any_task(self: Any, params: Params, caller: Any) -> Any:
    return self._state.tasks[params["task_id"]]


def _telling(self: Any, params: Params, caller: Any) -> Any:
    task = self._state.tasks[params["task_id"]]
    if task.user_id != caller.user_id and not caller.reads_all:
        raise NotFound(f"you may not see {task.input}", field="task_id")
    return task


async def _releasing(self: Any, lock_id: str, holder: str, term: int, caller: Any) -> Any:
    lock = self._known(lock_id)
    await RELEASE(self, lock_id, lock.holder, lock.term, access.LOCAL_OPERATOR)
    return self._of(lock_id, holder, term, caller)


RELEASE = Locks.release


FAULTS: Mapping[str, tuple[tuple[Any, str, Any], ...]] = {
    "scopes are not looked at": ((access.Caller, "require", _nothing),),
    "to see a task is to change it": ((TaskHandlers, "_own", TaskHandlers._seen),),
    "everybody's tasks are seen": ((access.Caller, "may_see_user", _yes),),
    "a task is there for all": ((TaskHandlers, "_seen", _any_task),),
    "a refusal tells what others wrote": ((TaskHandlers, "_seen", _telling),),
    "a refusal comes too late": ((Locks, "release", _releasing),),
    "a retry makes what is critical": ((tasks, "_require_critical", _nothing),),
    "workers need no secret": ((Worker, "proves", _yes),),
    "names of agents are free": ((Registry, "_require_own", _nothing),),
    "tokens are for all agents": ((access.Caller, "may_serve", _yes),),
    "tokens are for all channels": ((access.Caller, "may_use", _yes),),
    "names of holders are free": ((Locks, "_require_name", _nothing),),
    "locks are everybody's": ((Locks, "_of", _any_lock),),
    "reports are in any name": ((Reporters, "require_names", _nothing),),
    "reports end any failure": ((Reporters, "require_failure", _nothing),),
    "threads are open": ((events, "may_see", _yes), (publishing, "may_see", _yes)),
    "topics are open": ((access.Caller, "may_follow", _yes),),
    "bookkeeping is for all": ((access.Caller, "operator", True),),
}


@pytest.mark.parametrize("fault", [*FAULTS][:: times(3, 1)])
def test_a_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for where, name, instead in FAULTS[fault]:
        monkeypatch.setattr(where, name, instead)
    with pytest.raises(AssertionError, match=JUDGED):
        run_until_found()


def run_until_found() -> None:
    for seed in range(50):
        run(random.Random(seed).choice)


# How a judgement begins: with an answer, with who was told something, or with what was left behind.
JUDGED = r"^\((Answer|Who|\[)"


# --- by the doors --------------------------------------------------------------------------------


class Outside:
    """
    A gateway whose operations are called by its doors, with real tokens, or played on an open one.

    Args:
        choose: Chooses the door of each call.
        stack: Keeps the connections open.

    Attributes:
        following: Who follows what, over which connection.
    """

    def __init__(self, here: World, choose: Choose, stack: contextlib.AsyncExitStack) -> None:
        self.here = here
        self.following: list[tuple[Who, list[str], Wire]] = []
        self._choose = choose
        self._stack = stack
        self._open = here.engine.parts.settings.token_secret == ""
        self._doors: dict[Who, Mapping[str, Door]] = {}
        entries: list[Entry] = []
        here.engine.log.follow(entries.append)
        self.stage = Stage(self.ask, entries)

    async def ask(self, who: Who, operation: str, params: Params) -> Answer:
        if operation == SUBSCRIBE:
            ways = [self._follow] if self._open else [self._follow, self._stream]
            answer: Answer = await self._choose(ways)(who, params["topics"])
            return answer
        about = OPERATIONS[operation]
        by = [door for door in (await self._doors_of(who)).values() if door.takes(about, params)]
        told = await self._choose(by).ask(about, params)
        if isinstance(told, Refused):
            return Answer(told.code, told._asdict())
        return Answer("ok", told)

    async def _doors_of(self, who: Who) -> Mapping[str, Door]:
        if who not in self._doors:
            if self._open:  # who one plays is said to a socket only
                self._doors[who] = {"socket": Socket(await self._connect(who))}
            else:
                opening = doors(self.here, token=token_of(who))
                self._doors[who] = await self._stack.enter_async_context(opening)
        return self._doors[who]

    async def _connect(self, who: Who) -> Wire:
        named = {"token": token_of(who)}
        if self._open:
            named = {} if who is ROOT else {"user_id": who.user}
        return await self._stack.enter_async_context(connected(self.here, **named))

    async def _follow(self, who: Who, topics: list[str]) -> Answer:
        """Subscribe to all that is kept, and go on listening."""
        wire = await self._connect(who)
        reply = await wire.ask("subscribe", topics=topics, since="start", snapshot=True)
        if "error" in reply:
            return Answer(reply["error"]["data"]["code"], reply)
        self.following.append((who, topics, wire))
        return Answer("ok", reply["result"]["snapshot"])

    async def _stream(self, who: Who, topics: list[str]) -> Answer:
        """Read all that is kept as server-sent events."""
        asked = {"topic": ",".join(topics), "since": "start", "snapshot": "true"}
        bearer = {"authorization": f"Bearer {token_of(who)}"}
        async with (
            plain_http(self.here.http) as client,
            client.stream("GET", STREAM, params=asked, headers=bearer) as response,
        ):
            if response.status_code != 200:
                refused = orjson.loads(await response.aread())
                return Answer(refused["code"], refused)
            stream = Stream(response)
            subscribed, snapshot = await stream.next(), await stream.next()
            told: list[dict[str, Any]] = []
            while len(told) < subscribed["data"]["replayed"]:
                block = await stream.next()
                told += [block["data"]] if "data" in block else []  # else it is a heartbeat
            self._judge(who, topics, told)
            return Answer("ok", snapshot["data"])

    async def judge_deliveries(self) -> None:
        for _, _, wire in self.following:
            await wire.result("ping")
        for who, topics, wire in self.following:
            self._judge(who, topics, [frame for frame in wire.frames if "type" in frame])

    def _judge(self, who: Who, topics: list[str], got: list[dict[str, Any]]) -> None:
        """A subscriber hears all that it may hear, in order, and nothing else."""
        judge_events(who, got, self.stage)
        offsets = [event["offset"] for event in got]
        assert offsets == heard(who, topics, self.stage), (who, topics)


STREAM = "/api/events/stream"


def token_of(who: Who) -> str:
    named = {"agents": who.agents, "channels": who.channels}
    narrow = {name: sorted(names) for name, names in named.items() if names is not None}
    return token(who.user, " ".join(sorted(who.scopes)), **narrow)


async def play_by_doors(seed: int, *, secret: str) -> None:
    choose: Choose = random.Random(seed).choice
    declaring = Gateway()
    declaring.agent(DECLARED)(lambda task: None)
    async with (
        world(secret=secret, agents=declaring.agents, **QUIET) as here,
        contextlib.AsyncExitStack() as stack,
    ):
        outside = Outside(here, choose, stack)
        await outside.stage.set()
        for _ in range(STEPS_BY_DOORS):
            who = somebody(choose, played=not secret)
            if who.scopes:  # a token without any right opens no socket
                await step(outside.stage, who, choose)
        await outside.judge_deliveries()


@pytest.mark.parametrize("secret", [SECRET, ""], ids=["tokens", "open"])
async def test_the_doors_answer_and_deliver_as_the_table_of_rights_says(secret: str) -> None:
    for seed in range(times(1, 100)):
        await play_by_doors(seed, secret=secret)


@pytest.mark.parametrize(
    ("where", "name", "instead"),
    [
        (Follower, "index_topics", lambda self: {"*"}),
        (Audience, "sees", _yes),
    ],
    ids=["everything is delivered", "bookkeeping is delivered"],
)
async def test_a_fault_of_delivery_is_found(
    where: Any, name: str, instead: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, name, instead)
    with pytest.raises(AssertionError, match=JUDGED):
        await play_by_doors_until_found()


async def play_by_doors_until_found() -> None:
    for seed in range(20):
        await play_by_doors(seed, secret=SECRET)
