"""
A gateway inside a test, in time that the test owns: the real engine on the memory store.

The loop's clock stands still while anything can run and jumps to the next timer when nothing
can, so that an hour passes in no time and always in the same order. A thread that works holds
the clock; one that the test has stopped on purpose (``Stop``) does not.

Everything that the log accepts is recorded, and checked at the end: schemas and rules over time.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import selectors
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson

from gateway.app.check import check_lines
from gateway.app.gateway import Gateway
from gateway.domain.access import LOCAL_OPERATOR, Caller
from gateway.domain.errors import ExpectationFailed, StoreUnavailable
from gateway.domain.settings import Settings
from gateway.domain.tally import Tally
from gateway.domain.task import Task
from gateway.execution.engine import Engine
from gateway.execution.parts import Parts
from gateway.execution.record.state import State
from gateway.ports import Draft, Entry, EventLog
from gateway.stores.followers import Followers
from gateway.stores.memory import MemoryLog

__all__ = [
    "AwayLog",
    "Ids",
    "LateLog",
    "SlowLog",
    "Stop",
    "VirtualClock",
    "VirtualLoop",
    "World",
    "another_node",
    "away_world",
    "consistent",
    "world",
]

# Where virtual time begins, so that times look like times.
BEGINNING = 1_800_000_000.0
# A test that waits for something that never comes would let years pass.
LONGEST_TEST_S = 86_400.0 * 4
# How long a thread may really work before the test gives up.
THREAD_LIMIT_S = 20.0


class _Selector(selectors.SelectSelector):
    """Instead of waiting it lets time pass."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.held: Callable[[], bool] = lambda: False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        for _ in range(int(THREAD_LIMIT_S * 1000)):
            if timeout is not None and not self.held():
                self.now += timeout
                assert self.now < LONGEST_TEST_S, "the test waits for something that never comes"
                return []
            if ready := super().select(0.001):
                return ready
        raise AssertionError("everybody waits, and nothing will happen")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while everybody waits."""

    def __init__(self) -> None:
        self.selector = _Selector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


class VirtualClock:
    """
    The ``Clock`` of a virtual loop.

    Attributes:
        ahead_s: How far somebody has set the wall clock forward; negative: back.
    """

    ahead_s = 0.0

    def wall(self) -> float:
        return BEGINNING + self.ahead_s + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - this is the Clock


class Ids:
    """An ``IdSource`` that a seed repeats."""

    def __init__(self, clock: VirtualClock, seed: int = 0) -> None:
        self._clock = clock
        self._chance = random.Random(seed)

    def uuid7(self) -> str:
        digits = f"{int(self._clock.wall() * 1000) << 80 | self._chance.getrandbits(76):032x}"
        return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"

    def random(self) -> float:
        return self._chance.random()


class AwayLog:
    """The same log, which at times does not answer."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._away = False
        self.reason: str | None = None
        self._watchers: Followers[[]] = Followers()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    @property
    def away(self) -> bool:
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        self._away = away
        self._watchers.tell()

    @property
    def available(self) -> bool:
        return not self._away

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        return self._watchers.add(watcher)

    async def append(
        self, drafts: Sequence[Draft], *, expected: Mapping[str, int] | None = None
    ) -> int:
        if self._away:
            raise StoreUnavailable("the store is away")
        return await self._log.append(drafts, expected=expected)


class LateLog:
    """The same log, which at times takes what it is given without an answer, and much later."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.late = False
        self.under_way: list[tuple[Sequence[Draft], Mapping[str, int] | None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(
        self, drafts: Sequence[Draft], *, expected: Mapping[str, int] | None = None
    ) -> int:
        if self.late:
            self.under_way.append((drafts, expected))
            raise StoreUnavailable("the store is away", in_doubt=True)
        return await self._log.append(drafts, expected=expected)

    async def arrive(self) -> None:
        """Take what is under way, as far as nobody else was first."""
        self.late = False
        while self.under_way:
            drafts, expected = self.under_way.pop(0)
            with contextlib.suppress(ExpectationFailed):
                await self._log.append(drafts, expected=expected)


class Stop:
    """A place where an agent's thread stands still, while time passes, until it is let go."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.standing = 0
        self._go = threading.Event()
        self._loop = asyncio.get_running_loop()

    def here(self) -> None:
        """Called in the thread."""
        self.standing += 1
        self._loop.call_soon_threadsafe(self.reached.set)
        assert self._go.wait(THREAD_LIMIT_S)

    def go(self) -> None:
        self.standing = 0
        self._go.set()


class SlowLog:
    """The same log, further away: every append takes a moment, in which the world moves on."""

    takes_at_once = False

    def __init__(self, log: EventLog, chance: random.Random) -> None:
        self._log = log
        self._chance = chance

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(
        self, drafts: Sequence[Draft], *, expected: Mapping[str, int] | None = None
    ) -> int:
        await asyncio.sleep(self._chance.choice((0, 0.001, 0.01)))  # noqa: TID251 - virtual
        offset = await self._log.append(drafts, expected=expected)
        await asyncio.sleep(0)  # noqa: TID251 - virtual
        return offset


class World:
    """
    One gateway and what it has said.

    Attributes:
        entries: What the log has accepted, in order.
        stops: Where threads stand still on purpose.
    """

    def __init__(self, gateway: Gateway, engine: Engine) -> None:
        self.gateway = gateway
        self.engine = engine
        self.entries: list[Entry] = []
        self.stops: list[Stop] = []
        engine.log.follow(self.entries.append)
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualLoop):
            loop.selector.held = self._threads_work

    def _threads_work(self) -> bool:
        standing = sum(stop.standing for stop in self.stops)
        return len(self.engine.parts.attempts.threads._running) > standing

    @property
    def state(self) -> State:
        """What the folds know."""
        return self.engine.parts.state

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events, as operators see them."""
        return [orjson.loads(entry.operator) for entry in self.entries]

    def stopped_for(self, seconds: float) -> None:
        """Let time pass in which nothing here can run, as if the process were stopped."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.selector.now += seconds

    def said(self, *types: str, **fields: Any) -> list[dict[str, Any]]:
        """The events of these types with these fields."""
        return [
            event
            for event in self.events
            if event["type"] in types
            and all(event.get(name) == value for name, value in fields.items())
        ]

    def types(self, task_id: str | None = None) -> list[str]:
        """What was said, in order; with ``task_id`` only about that task."""
        return [e["type"] for e in self.events if task_id in (None, e["task_id"])]

    def stop(self) -> Stop:
        """Make a place for a thread to stand still."""
        self.stops.append(Stop())
        return self.stops[-1]

    async def call(self, name: str, caller: Caller = LOCAL_OPERATOR, /, **params: Any) -> Any:
        """Carry out an operation."""
        return await self.engine.call(name, params, caller)

    async def submit(self, agent: str, input: Any = None, **options: Any) -> str:
        """Ask for something; returns the task's id."""
        return (await self.gateway.submit(agent, input, **options)).task_id

    async def done(self, task_id: str) -> Task:
        """Wait for a task's end, and until everything is cleaned up after it."""
        task = await self.engine.parts.ends.of(task_id)
        while self.engine.parts.runner.busy:
            await self.passing(0.01)
        return task

    async def run(self, agent: str, input: Any = None, **options: Any) -> Task:
        """Ask for something and wait for its end."""
        return await self.done(await self.submit(agent, input, **options))

    async def run_later(self, agent: str, **options: Any) -> str:
        """The same, a second later, and without waiting for the cleanup; returns the task's id."""
        await self.passing(1)
        return (await self.engine.parts.ends.of(await self.submit(agent, **options))).task_id

    async def passing(self, seconds: float) -> None:
        """Let time pass."""
        await self.engine.clock.sleep(seconds)

    async def until(self, holds: Callable[[], Any], *, within: float = 1000.0) -> None:
        """Let time pass until something holds."""
        end = self.engine.clock.monotonic() + within
        while not holds():
            assert self.engine.clock.monotonic() < end, "it does not come to hold"
            await self.passing(0.01)


@contextlib.asynccontextmanager
async def world(
    *,
    seed: int = 0,
    wrap: Callable[[EventLog], EventLog] = lambda log: log,
    complete: bool = True,
    **changes: Any,
) -> AsyncIterator[World]:
    """
    Run a gateway.

    Args:
        seed: Of ids and chance.
        wrap: Puts another log in front of the memory's.
        complete: At the end everything has to have come to its end.
        changes: Settings.
    """
    clock = VirtualClock()
    ids = Ids(clock, seed)
    settings = Settings(**changes)
    gateway = Gateway(settings)
    log = MemoryLog(
        epoch=ids.uuid7(),
        clock=clock,
        events_max=settings.log_events,
        bytes_max=settings.log_bytes,
        age_max_s=settings.log_age,
    )
    parts = Parts(log=wrap(log), clock=clock, ids=ids, settings=settings, agents=gateway.agents)
    engine = Engine(parts)
    gateway.engine = engine
    here = World(gateway, engine)
    async with gateway.lifespan():
        yield here
    compliant(here, complete=complete)
    await clock.sleep(0.001)
    # Only an agent that swallows its cancellation may outlive the gateway.
    ours = ("Attempts.make", "Attempts._tell", "Runner.", "Monitor.")
    left = [job for job in asyncio.all_tasks() if any(o in repr(job.get_coro()) for o in ours)]
    assert left == [], left


async def away_world(open_world: Callable[..., Awaitable[World]]) -> tuple[World, AwayLog]:
    """Open a world with a store that a test may send away."""
    logs: list[AwayLog] = []

    def wrap(log: EventLog) -> AwayLog:
        logs.append(AwayLog(log))
        return logs[0]

    return await open_world(wrap=wrap), logs[0]


@contextlib.asynccontextmanager
async def another_node(here: World) -> AsyncIterator[World]:
    """Run a second gateway on the same log, without signals between the two."""
    gateway = Gateway(here.engine.parts.settings)
    gateway.engine = Engine(
        Parts(
            log=here.engine.log,
            clock=here.engine.clock,
            ids=Ids(VirtualClock(), 1),
            settings=here.engine.parts.settings,
            agents=gateway.agents,
        )
    )
    async with gateway.lifespan():
        yield World(gateway, gateway.engine)


MAY_STAY_OPEN = ("failure-ends", "degradation-ends")


def compliant(here: World, *, complete: bool = True) -> None:
    """Everything said complies, publicly and to operators, and nothing is left open."""
    for view in ("public", "operator"):
        report = check_lines((getattr(entry, view) for entry in here.entries), complete=complete)
        # Reports from outside, breakers and modes may stay open when the gateway ends.
        task_ends = [
            finding
            for finding in report.findings
            if finding.rule not in MAY_STAY_OPEN or not _stays_open(here, finding.offset)
        ]
        assert task_ends == [], task_ends
    state = here.engine.parts.state
    if complete:
        assert state.live == {}
        assert state._running == 0
        assert here.engine.parts.attempts._made == {}
    consistent(here)


def _stays_open(here: World, offset: int | None) -> bool:
    event = next(event for event in here.events if event["offset"] == offset)
    return event["task_id"] is None


def consistent(here: World) -> None:
    """What the folds count is what there is."""
    state = here.engine.parts.state
    assert {id for id, task in state.tasks.items() if task.live} == set(state.live)
    assert state._running == sum(task.status == "running" for task in state.live.values())
    tally = Tally()
    for task in state.tasks.values():
        tally.came(task)
    assert +state.tally.by_status == +tally.by_status
    for count in (Tally.by_agent, Tally.by_domain, Tally.by_user):
        assert count(state.tally) == count(tally)
    sizes: dict[str, int] = {}
    for task in state.tasks.values():
        if task.preserved.size:
            sizes[task.user_id] = sizes.get(task.user_id, 0) + task.preserved.size
    assert {user: size for user, size in state._bytes_by_user.items() if size} == sizes
    assert state._bytes_all == sum(sizes.values())
    for breaker in state.breakers.values():
        assert len(breaker.probes) <= breaker.rules.permits
    letters = state.dead_letters
    assert letters.size == sum(letter.size for letter in letters.by_task.values())
    discarded = {e["task_id"] for e in here.said("dead_letter_changed", action="discarded")}
    dead = {id for id, task in state.tasks.items() if task.status == "dead_lettered"}
    assert dead - discarded <= set(letters.by_task)
    for letter in letters.by_task.values():
        made = here.said("task_submitted", retry_of=letter.task_id)
        assert [event["task_id"] for event in made] == [letter.retried_as] * len(made)
