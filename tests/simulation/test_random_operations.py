"""
Operations at random, of users, workers and holders of locks, and a book that is kept of them.

Each step is a call, or several at the same moment, or time that passes. After it the answers have
to be possible, the statistics have to be what the book counts, and the log has to keep the rules
over time. For calls at the same moment some order has to explain all answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import math
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from gateway import Gateway
from gateway.domain import dead_letter, queue
from gateway.domain.access import OPEN_USER_SCOPES, SCOPES, Caller
from gateway.domain.dead_letter import DeadLetter
from gateway.domain.errors import RequestError
from gateway.domain.lock import Lock, Locks
from gateway.domain.settings import Settings
from gateway.domain.tally import Place, Tally
from gateway.execution.holders.limits import Limits
from gateway.execution.holders.presence import Presence
from gateway.execution.record.lock_drafts import LockDrafts
from gateway.execution.record.order_keys import OrderKeys
from gateway.execution.tasks.lifecycle import Lifecycle
from gateway.ports import EventLog
from tests.execution.world import BEGINNING, SlowLog, VirtualLoop, World, compliant, world
from tests.nats import NatsServer
from tests.simulation.asking import AGENTS, CAPABILITY, OFTEN, Asking, Choose, Lengths
from tests.simulation.book import Book, Bounds, Impossible, Worker, require
from tests.simulation.looking import LogReader, compare, look
from tests.simulation.possible import OPERATOR, Answer, Call, enter
from tests.soak import SOAK
from tests.stores.jetstream.world import new_stream

RUNS, RUNS_ON_NATS, STEPS_MAX = (1000, 100, 100) if SOAK else (10, 3, 30)
# Only a test that fails takes that long, in seconds: it looks for the shortest way to fail again.
SHRINKING_S = 3600 if SOAK else 400
# What a test waits for at the most, in seconds; only one that fails takes that long.
WAIT_S = 10.0

# What a step may be beside one call, and how often each comes.
AT_ONCE, TIME, LOSS = "calls at once", "time passes", "a connection is lost"
STEPS = (*OFTEN, *(AT_ONCE,) * 16, *(TIME,) * 16, LOSS, LOSS)

# A worker has this long to report that it ran into its limit, in seconds.
LIMIT_MARGIN_S = 0.5
# Calls are made at whole seconds, and everything ends between two of them, each kind at a moment
# of its own, so that the order of the ends is known.
VIRTUAL = Lengths(
    leases_s=(3.30, 20.30),
    locks_s=(4.65, 30.65),
    deadlines_s=(15.45, 70.45),
    timeouts_s={"writer": 11.85, "painter": 24.85},
)
VIRTUAL_BOUNDS = Bounds(
    limits_s={name: s + LIMIT_MARGIN_S for name, s in VIRTUAL.timeouts_s.items()},
    queue_s=40.50,
    missed_s=3.70,
    unhealthy_s=5.55,
    offline_s=15.60,
    retry_base_s=2.0,
    retry_max_s=8.0,
    slack_s=0.002,
)


def settings_of(bounds: Bounds) -> dict[str, Any]:
    """The settings of a gateway with these bounds; the book slows and stops nobody."""
    return {
        "queue_timeout": bounds.queue_s,
        "heartbeat_timeout": bounds.unhealthy_s,
        "offline_after": bounds.offline_s,
        "retry_base": bounds.retry_base_s,
        "retry_max": bounds.retry_max_s,
        "breaker_threshold": 1_000_000,
        "breaker_rate": 1.0,
        "domain_rate": 1.0,
        "quarantine_below": 0,
        "quarantine_release": 0.01,
    }


class Machine(RuleBasedStateMachine):
    """One gateway, the book of it, and a reader of its log."""

    lengths, bounds = VIRTUAL, VIRTUAL_BOUNDS

    def __init__(self) -> None:
        super().__init__()
        self.runner = self.make_runner()
        self.stack = contextlib.AsyncExitStack()
        self.book = Book(self.bounds)
        self.asking = Asking(self.lengths)
        self.log = LogReader()
        self.here: World = self.do(self.stack.enter_async_context(self.open_world()))

    def make_runner(self) -> asyncio.Runner:
        raise NotImplementedError

    def open_world(self) -> contextlib.AbstractAsyncContextManager[World]:
        raise NotImplementedError

    @property
    def now(self) -> float:
        raise NotImplementedError

    def do(self, work: Any) -> Any:
        # Not ``Runner.run``, which makes a text of each answer when it looks after signals.
        return self.runner.get_loop().run_until_complete(work)

    def teardown(self) -> None:
        failed = sys.exc_info()[0] is not None
        try:
            self.do(self.stack.aclose())
        except AssertionError:
            if not failed:
                raise
        finally:
            self.runner.close()

    # --- what may happen --------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        """Two workers are there."""
        for agents, session in ((AGENTS, None), (AGENTS[:1], self.asking.session())):
            about = self.asking.registration(
                agents, session, capabilities=[CAPABILITY], domain="zone"
            )
            self.make(about)

    # One rule only: of several each run would leave some out.
    @rule(what=st.sampled_from(STEPS), data=st.data())
    def step(self, what: str, data: Any) -> None:
        if what == AT_ONCE:
            self.call_at_once(data)
        elif what == TIME:
            self.time_passes(data)
        elif what == LOSS:
            self.lose_connection(data)
        else:
            self.make(self.draw(what, data))

    def call_at_once(self, data: Any) -> None:
        """No call waits for another's answer."""
        operations = data.draw(st.lists(st.sampled_from(OFTEN), min_size=2, max_size=3))
        calls = of_one_mind([self.draw(operation, data) for operation in operations])
        answers = self.do(self.answers_to(calls))
        found, reasons = self.look(), []
        answers = with_what_began(calls, answers, found["claims"][len(self.book.claims) :])
        for order in itertools.permutations(zip(calls, answers, strict=True)):
            book = self.book.copy()
            try:
                for call, answer in order:
                    enter(book, call, answer)
                compare(book, found, self.now)
            except Impossible as reason:
                reasons.append(str(reason))
            else:
                self.book = book
                return
        raise Impossible("\n".join(["there is no order:", *reasons]))

    def time_passes(self, data: Any) -> None:
        raise NotImplementedError

    def lose_connection(self, data: Any) -> None:
        """One worker's, if any has one."""
        workers = self.book.workers.values()
        if there := [worker for worker in workers if worker.connected and worker.session]:
            worker: Worker = self.chooser(data)(there)
            self.do(self.here.engine.session_closed(worker.session or ""))
            worker.connected = False

    # --- what has to hold -------------------------------------------------------------------

    @invariant()
    def the_book_is_right(self) -> None:
        compare(self.book, self.look(), self.now)

    @invariant()
    def the_log_complies(self) -> None:
        broken = self.log.broken()
        require(broken == [], f"no rule over time is broken: {broken}")

    def look(self) -> dict[str, Any]:
        found: dict[str, Any] = self.do(look(self.here, self.log))
        return found

    # --- how calls are made -----------------------------------------------------------------

    def draw(self, operation: str, data: Any) -> Call:
        """Make a call at random."""
        return self.asking.call(self.book, operation, self.chooser(data))

    def chooser(self, data: Any) -> Choose:
        """Give a way to draw one of several."""

        def choose(options: Sequence[Any]) -> Any:
            return data.draw(st.sampled_from(options))

        return choose

    def make(self, call: Call) -> None:
        """Make a call, and enter it into the book."""
        (answer,) = self.do(self.answers_to([call]))
        enter(self.book, call, answer)

    async def answers_to(self, calls: Sequence[Call]) -> list[Answer]:
        alone = len(calls) == 1
        answers = await asyncio.gather(*(self._answer_to(call, alone=alone) for call in calls))
        for call, answer in zip(calls, answers, strict=True):
            note(f"{call}\n    {answer}")
        await self.to_the_second()
        return answers

    async def _answer_to(self, call: Call, *, alone: bool) -> Answer:
        params, at = dict(call.params), self.now
        worker = self.book.workers.get(params.get("agent_id", ""))
        session = params.pop("session", None if worker is None else worker.session)
        scopes = frozenset(SCOPES) if call.by == OPERATOR else OPEN_USER_SCOPES
        caller = Caller(call.by, scopes, session_id=session)
        try:
            code, result = "ok", await self.here.call(call.operation, caller, **params)
        except RequestError as refusal:
            code, result = refusal.code, refusal.data()
        return Answer(code, result, at, self.now, alone)

    async def to_the_second(self) -> None:
        """Where time is virtual: let the rest of the second pass of which calls took a part."""


def of_one_mind(calls: Sequence[Call]) -> list[Call]:
    """Leave out what a worker says while it comes back or says goodbye: it waits for the answer."""
    moves = {
        call.params["agent_id"]: call
        for call in calls
        if call.operation in ("agent.register", "agent.remove") and "agent_id" in call.params
    }
    return [call for call in calls if moves.get(call.params.get("agent_id"), call) is call]


def with_what_began(
    calls: Sequence[Call], answers: Sequence[Answer], began: Sequence[tuple[str, str]]
) -> list[Answer]:
    """Note with the claims which attempts they have begun and not given."""
    left = Counter(began)
    for call, answer in zip(calls, answers, strict=True):
        if call.operation == "task.claim" and answer.code == "ok" and answer.result is not None:
            left[answer.result["agent_id"], answer.result["task_id"]] -= 1
    noted = []
    for call, answer in zip(calls, answers, strict=True):
        if call.operation == "task.claim":
            for began_by, task_id in +left:
                if began_by == call.params["agent_id"] and answer.began is None:
                    answer = dataclasses.replace(answer, began=task_id)
                    left[began_by, task_id] -= 1
        noted.append(answer)
    return noted


# --- in virtual time ----------------------------------------------------------------------------


class InMemory(Machine):
    """Everything at once, and time that passes only when it is let."""

    def make_runner(self) -> asyncio.Runner:
        return asyncio.Runner(loop_factory=VirtualLoop)

    def open_world(self) -> contextlib.AbstractAsyncContextManager[World]:
        return world(**settings_of(self.bounds))

    @property
    def now(self) -> float:
        return BEGINNING + self.runner.get_loop().time()

    async def to_the_second(self) -> None:
        if (rest_s := math.ceil(self.now - 1e-5) - self.now) > 0:
            await self.here.passing(rest_s)

    def time_passes(self, data: Any) -> None:
        self.do(self.here.passing(data.draw(st.sampled_from((4, 1, 2, 9, 20)))))


class FarAway(InMemory):
    """Every append takes a moment, in which others decide."""

    def open_world(self) -> contextlib.AbstractAsyncContextManager[World]:
        chance = random.Random(0)

        def wrap(log: EventLog) -> EventLog:
            return SlowLog(log, chance)

        return world(wrap=wrap, **settings_of(self.bounds))


# --- in real time -------------------------------------------------------------------------------

REAL = Lengths(
    leases_s=(3600.0,),
    locks_s=(3600.0,),
    deadlines_s=(7200.0, 9000.0),
    timeouts_s={"writer": 3600.0, "painter": 3600.0},
)
REAL_BOUNDS = Bounds(
    limits_s=REAL.timeouts_s,
    queue_s=3600.0,
    missed_s=2400.0,
    unhealthy_s=3600.0,
    offline_s=7200.0,
    retry_base_s=1000.0,
    retry_max_s=1000.0,
    slack_s=0.5,
)
LOG_BYTES = 2**21
# What ends while one waits for it, in seconds, and how often in one run.
SHORT_S, SHORT_MAX = 0.15, 3
SHORT = (("lease_ttl", "task.claim"), ("ttl", "lock.acquire"))


class OnNats(Machine):
    """A real store, where only what is left on purpose ends within the test."""

    lengths, bounds = REAL, REAL_BOUNDS

    def __init__(self, url: str) -> None:
        self.url, self.left = url, 0
        super().__init__()

    def make_runner(self) -> asyncio.Runner:
        return asyncio.Runner()

    @contextlib.asynccontextmanager
    async def open_world(self) -> AsyncIterator[World]:
        # The server sets the bytes of each log aside.
        about = settings_of(self.bounds) | {"store": self.url, "store_stream": new_stream()}
        gateway = Gateway(Settings(log_bytes=LOG_BYTES, **about))
        async with gateway.lifespan():
            await gateway.engine.parts.watch.until_ready()
            here = World(gateway, gateway.engine)
            yield here
        compliant(here, complete=False)

    def chooser(self, data: Any) -> Choose:
        # One draw for all: the same draws have to be possible however a race ends.
        return random.Random(data.draw(st.integers(0, 2**32 - 1))).choice

    @property
    def now(self) -> float:
        return self.here.engine.parts.intake.clock.wall()

    def time_passes(self, data: Any) -> None:
        """Somebody takes something, and nobody says anything more of it until its time is over."""
        length, operation = data.draw(st.sampled_from(SHORT))
        call = self.draw(operation, data)
        if length not in call.params or self.left == SHORT_MAX:
            return
        told = len(self.here.entries)
        self.make(dataclasses.replace(call, params={**call.params, length: SHORT_S}))
        if any(at < self.now + SHORT_S for at, _ in self.book.ends()):
            self.left += 1
            self.do(self.here.until(lambda: self.has_ended(told), within=WAIT_S))

    def has_ended(self, told: int) -> bool:
        """Whether what is new in the log tells of an end by time."""
        types = {entry.type for entry in self.here.entries[told:]}
        return not types.isdisjoint({"agent_error", "lock_expired"})


@pytest.mark.timeout(SHRINKING_S)
@pytest.mark.requirement("MESH-03", "MESH-07", "MESH-W9", "WEFT-06")
@pytest.mark.parametrize("machine", [InMemory, FarAway])
def test_whatever_is_asked_the_book_explains_the_answers(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine, settings=settings(max_examples=RUNS, stateful_step_count=STEPS_MAX)
    )


@pytest.mark.timeout(SHRINKING_S)
@pytest.mark.requirement("MESH-03", "WEFT-06")
def test_on_nats_the_book_explains_the_answers(server: NatsServer) -> None:
    run_state_machine_as_test(
        lambda: OnNats(server.url),  # type: ignore[arg-type] # whatever makes one
        settings=settings(stateful_step_count=STEPS_MAX, max_examples=RUNS_ON_NATS),
    )


# --- what it would find -------------------------------------------------------------------------


UNTIL_FOUND = settings(
    max_examples=500,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)
COUNTED, VIEW = Tally.changed, dead_letter.view


async def nothing(*_: Any, **__: Any) -> None:
    """Instead of something that has to be done."""


def uncounted(self: Tally, task: Any, before: Place) -> None:
    """Count all but what is given back."""
    if (before[0], task.status) != ("running", "pending"):
        COUNTED(self, task, before)


def emptied(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter without its payload."""
    return {**VIEW(letter), "input": None}


# What is broken: where, by what, and a part of what is said when it is found.
FAULTS: dict[str, tuple[Any, str, Any, str]] = {
    "a lock has two holders": (Lock, "held", lambda self, now: False, "lock"),
    "a lock's term stands still": (Locks, "next_term", lambda self, key: 1, "its term comes after"),
    "a lock outlives its task": (
        LockDrafts,
        "let_go",
        lambda self, task_id: ((), {}),
        "these are held|left a lock of task",
    ),
    "an old term is taken": (Lifecycle, "held", lambda self, task, term: None, "stale_term"),
    "a lease has no end": (Limits, "_lease_over", nothing, "'status': 'running'"),
    "a key makes a second task": (
        OrderKeys,
        "task_of",
        lambda self, user_id, key: None,
        "the key stands for|idempotency_key_reused",
    ),
    "a letter's payload is lost": (dead_letter, "view", emptied, "its payload is"),
    "the last comes first": (
        queue,
        "_step_of",
        lambda priority, *_: -priority,
        "it is the turn of",
    ),
    "silence is not noticed": (Presence, "_look", nothing, "agents"),
    "what is given back is not counted": (Tally, "changed", uncounted, "by_status is"),
}


@contextlib.contextmanager
def spoiled(where: Any, name: str, instead: Any) -> Iterator[None]:
    """Plant a fault into the product."""
    right = vars(where)[name]
    setattr(where, name, instead)
    try:
        yield
    finally:
        setattr(where, name, right)


@pytest.mark.parametrize("fault", [*FAULTS][:: 1 if SOAK else 3])
def test_a_fault_is_found(fault: str) -> None:
    where, name, instead, words = FAULTS[fault]
    with spoiled(where, name, instead), pytest.raises(AssertionError, match=words):
        run_state_machine_as_test(InMemory, settings=UNTIL_FOUND)


class OldTerms(InMemory):
    """A claim is answered with the term before its own."""

    async def _answer_to(self, call: Call, *, alone: bool) -> Answer:
        answer = await super()._answer_to(call, alone=alone)
        if call.operation == "task.claim" and answer.code == "ok" and answer.result is not None:
            spoiled = {**answer.result, "term": answer.result["term"] - 1}
            return dataclasses.replace(answer, result=spoiled)
        return answer


def test_an_answer_that_cannot_be_is_found() -> None:
    with pytest.raises(Impossible, match="term 0 comes after term 0"):
        run_state_machine_as_test(OldTerms, settings=UNTIL_FOUND)
