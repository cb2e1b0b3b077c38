"""
Many workers and many tasks while everything is killed at random; what was done is in a ledger.

The ledger is written by the agents themselves, so that what the log tells can be compared with
what really ran. What strikes next, and when, comes from a seed, which stands in a failure.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Set
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from tests.scenarios.durable import seeded
from tests.scenarios.harness import (
    Browser,
    Event,
    GatewayProcess,
    WorkerProcess,
    browser,
    gateway_process,
    worker_process,
)
from tests.scenarios.proxy import Proxy
from tests.simulation.rules import broken_rules, lives_of
from tests.soak import times

# The tests share a gateway and its workers.
pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKERS = times(4, 5)
AT_ONCE = "2"
HEARTBEAT_S = 1.5
LEASE_S = 4.5
# Most that one worker may have done when all work alike: the others have been killed meanwhile.
SHARE_MAX = 0.75
# Until every task has ended; a worker whose process dies again and again comes back late.
WITHIN_S = times(45, 1800)
LINES = 10


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[GatewayProcess]:
    """A gateway that is quick to notice a lost worker."""
    async with gateway_process(
        target=None,
        heartbeat_timeout=HEARTBEAT_S,
        offline_after=HEARTBEAT_S * 3,
        lease_ttl=LEASE_S,
        queue_limit=10_000,
        queue_timeout=WITHIN_S,
        task_timeout=WITHIN_S,
        rate_http=0,
        rate_ws=0,
    ) as running:
        yield running


@dataclasses.dataclass
class Place:
    """
    Where one worker works, behind a proxy of its own; another comes when it is killed.

    Attributes:
        ids: Of all workers that it has had.
        struck: Something is being done to it now.
    """

    crew: Crew
    proxy: Proxy
    stack: contextlib.AsyncExitStack = dataclasses.field(default_factory=contextlib.AsyncExitStack)
    worker: WorkerProcess | None = None
    ids: set[str] = dataclasses.field(default_factory=set)
    struck: bool = False

    async def employ(self) -> None:
        """Start a worker here."""
        self.worker = await self.stack.enter_async_context(
            worker_process(
                f"http://127.0.0.1:{self.proxy.port}",
                *("--concurrency", AT_ONCE),
                target="tests.scenarios.ledger_agents:gateway",
                env={"LEDGER": str(self.crew.ledger), "TMPDIR": str(self.crew.ledger.parent)},
            )
        )
        self.ids.add(self.worker.agent_id)

    async def dismiss(self) -> None:
        """Ask the worker to leave."""
        await self.stack.aclose()

    @property
    def processes(self) -> list[psutil.Process]:
        """The worker's own process and the one that it keeps, which may be gone just now."""
        assert self.worker is not None
        keeper = psutil.Process(self.worker.process.pid)
        return [keeper, *keeper.children()]


@dataclasses.dataclass
class Crew:
    """Some workers and the ledger that they share."""

    ledger: Path
    places: list[Place] = dataclasses.field(default_factory=list)

    def lines(self) -> dict[str, list[tuple[int, int, str]]]:
        """What the ledger says: of each task attempt, process and what."""
        found: dict[str, list[tuple[int, int, str]]] = {}
        for line in self.ledger.read_text().splitlines():
            task_id, attempt, pid, what = line.split()
            found.setdefault(task_id, []).append((int(attempt), int(pid), what))
        return found

    async def complete(self, watch: Watch) -> None:
        """Wait until every worker is well."""
        here = [place.worker.agent_id for place in self.places if place.worker is not None]
        await watch.until(lambda: all(watch.status[agent_id] == "healthy" for agent_id in here))

    def shares(self, ends: list[Event]) -> list[int]:
        """How many of the tasks each place has finished."""
        by = Counter(end["agent_id"] for end in ends)
        return [sum(by[agent_id] for agent_id in place.ids) for place in self.places]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crew(
    gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Crew]:
    """Workers, each behind a proxy."""
    crew = Crew(tmp_path_factory.mktemp("crew") / "ledger")
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(WORKERS):
            proxy = await stack.enter_async_context(Proxy(gateway.port))
            crew.places.append(Place(crew, proxy))
        await asyncio.gather(*(place.employ() for place in crew.places))
        yield crew
        await asyncio.gather(*(place.dismiss() for place in crew.places))


class Watch:
    """
    What a page was told, counted as it comes: it is asked for with every frame.

    Attributes:
        status: How each worker is.
        changes: How many times that has changed.
        words: Pieces of all tasks.
        ends: Every ``task_finished``, by task.
    """

    def __init__(self, page: Browser) -> None:
        self.page = page
        self.status: dict[str, str] = collections.defaultdict(lambda: "healthy")
        self.changes: Counter[str] = Counter()
        self.words = 0
        self.ends: dict[str, Event] = {}
        self._seen = 0

    async def until(self, holds: Callable[[], bool], *, within_s: float = 40) -> None:
        """Wait until something holds."""

        def now(events: list[Event]) -> bool:
            for event in events[self._seen :]:
                self._count(event)
            self._seen = len(events)
            return holds()

        await self.page.until(now, within_s=within_s)

    def _count(self, event: Event) -> None:
        match event["type"]:
            case "agent_status_changed":
                self.status[event["agent_id"]] = event["status"]
                self.changes[event["agent_id"]] += 1
            case "partial_result":
                self.words += 1
            case "task_finished":
                self.ends[event["task_id"]] = event


# --- what strikes --------------------------------------------------------------------------------


async def kill_process(place: Place, watch: Watch) -> None:
    """The process that runs the agents is gone at once; its keeper starts another."""
    async with noticed(place, watch):
        for child in place.processes[1:]:
            child.kill()


async def kill_worker(place: Place, watch: Watch) -> None:
    """Both are gone, and another worker comes."""
    assert place.worker is not None
    place.worker.process.kill()
    await place.worker.process.wait()
    await place.dismiss()
    await place.employ()


async def stop_process(place: Place, watch: Watch) -> None:
    """Silence for longer than the gateway waits; then it speaks again."""
    await stop(place, watch, place.processes[1:])


async def stop_worker(place: Place, watch: Watch) -> None:
    """The same, of both."""
    await stop(place, watch, place.processes[:1])


async def stop(place: Place, watch: Watch, processes: list[psutil.Process]) -> None:
    """Stop processes until their worker is given up."""
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        if processes:
            await given_up(place, watch)
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


async def cut(place: Place, watch: Watch) -> None:
    """Every connection is reset."""
    async with noticed(place, watch):
        place.proxy.cut()


async def swallow(place: Place, watch: Watch) -> None:
    """Connections stay open and nothing arrives, until it all arrives late."""
    place.proxy.stalled = True
    try:
        await given_up(place, watch)
    finally:
        place.proxy.stalled = False


@contextlib.asynccontextmanager
async def noticed(place: Place, watch: Watch) -> AsyncIterator[None]:
    """Wait until the gateway has noticed what is done to a worker that is well."""
    assert place.worker is not None
    agent_id = place.worker.agent_id
    well, before = watch.status[agent_id] == "healthy", watch.changes[agent_id]
    yield
    if well:
        await watch.until(lambda: watch.changes[agent_id] > before)


async def given_up(place: Place, watch: Watch) -> None:
    """Wait until the gateway has given a worker up for silence."""
    assert place.worker is not None
    agent_id = place.worker.agent_id
    await watch.until(lambda: watch.status[agent_id] in ("unhealthy", "offline"))


Strike = Callable[[Place, Watch], Awaitable[None]]

STRIKES: tuple[Strike, ...] = (
    kill_process,
    kill_worker,
    stop_process,
    stop_worker,
    cut,
    swallow,
)


async def strike(crew: Crew, watch: Watch, tasks: Set[str], chance: random.Random) -> Counter[str]:
    """Strike at random, by how much was told, until every task has an end; says what was done."""
    done: Counter[str] = Counter()
    deck: list[Strike] = []

    async def one(blow: Strike, place: Place) -> None:
        try:
            # A process may just have died, and the next not have begun.
            with contextlib.suppress(psutil.NoSuchProcess):
                await blow(place, watch)
        finally:
            place.struck = False

    def over() -> bool:
        return tasks <= watch.ends.keys()

    async with asyncio.TaskGroup() as blows:
        while True:
            after = watch.words + chance.randrange(4, 16)
            await watch.until(lambda n=after: watch.words >= n or over(), within_s=WITHIN_S)  # type: ignore[misc]
            if over():
                return done
            free = [place for place in crew.places if not place.struck]
            if not free:
                continue
            # Every kind has its turn, in an order of chance.
            deck = deck or chance.sample(STRIKES, len(STRIKES))
            blow, place = deck.pop(), chance.choice(free)
            place.struck = True
            done[blow.__name__] += 1
            blows.create_task(one(blow, place))


# --- the tests -----------------------------------------------------------------------------------


@pytest.mark.requirement("WS-15", "WS-19", "WEFT-08", "WEFT-09", "MESH-09", "FLUX-01", "FLUX-02")
async def test_whatever_is_killed_every_task_is_finished_once_and_whole(
    gateway: GatewayProcess, crew: Crew
) -> None:
    """Processes killed and stopped, whole workers, connections cut and swallowed, all at once."""
    count = times(40, 1000)
    whole = "".join(f"{number}\n" for number in range(1, LINES + 1))
    with seeded(random.randrange(2**32)) as chance:
        async with browser(gateway.url, since="start") as page:
            watch = Watch(page)
            await crew.complete(watch)
            tasks = await asked(gateway, "scribe", [str(LINES)] * count)
            blows = await strike(crew, watch, tasks, chance)
            assert sum(blows.values()) >= count / 10, blows

            lives = lives_of(page.events)
            assert broken_rules(lives) == []
            ledger = crew.lines()
            for task_id in tasks:
                (end,) = lives[task_id].ends
                assert end["outcome"] == "succeeded", lives[task_id]
                assert (end["result"], lives[task_id].text) == (whole, whole), lives[task_id]
                check_ledger(ledger[task_id], end["attempt"])
            shares = crew.shares([watch.ends[task_id] for task_id in tasks])
            assert max(shares) <= count * SHARE_MAX, shares
            page.check(complete=True)


def check_ledger(lines: list[tuple[int, int, str]], last: int) -> None:
    """Each attempt was one process's, it began once, and the last one came to its end."""
    begun = [attempt for attempt, _, what in lines if what == "begin"]
    assert len(begun) == len(set(begun)), lines
    assert len({(attempt, pid) for attempt, pid, _ in lines}) == len(begun), lines
    # One that was killed may have said "end" before, and it did not arrive.
    assert [what for attempt, _, what in lines if attempt == last][-1] == "end", lines
    assert max(begun) == last, lines


# Batches of items until each worker has had one.
BATCHES_MAX = 5


@pytest.mark.requirement("WEFT-20")
async def test_workers_that_compete_do_each_item_once(gateway: GatewayProcess, crew: Crew) -> None:
    """By what the agents themselves wrote down."""
    count = times(100, 500 * WORKERS)
    async with browser(gateway.url, since="start") as page:
        watch = Watch(page)
        await crew.complete(watch)
        tasks: set[str] = set()
        shares = [0]

        def all_ended() -> bool:
            return tasks <= watch.ends.keys()

        # A worker that has registered may not claim yet while the first items are done.
        for _ in range(BATCHES_MAX):
            tasks.update(await asked(gateway, "clerk", [str(number) for number in range(count)]))
            await watch.until(all_ended, within_s=WITHIN_S)
            shares = crew.shares([watch.ends[task_id] for task_id in tasks])
            if min(shares) > 0:
                break
        ledger, lives = crew.lines(), lives_of(page.events)
        for task_id in tasks:
            assert watch.ends[task_id]["outcome"] == "succeeded", lives[task_id]
            assert [what for _, _, what in ledger[task_id]] == ["begin", "end"], lives[task_id]
        assert min(shares) > 0, shares
        assert max(shares) <= len(tasks) * SHARE_MAX, shares
        page.check(complete=True)


async def asked(gateway: GatewayProcess, agent: str, questions: list[str]) -> Set[str]:
    """Ask for as many tasks, a few at a time; gives their ids."""
    room = asyncio.Semaphore(8)

    async def one(question: str) -> str:
        async with room:
            return str((await gateway.task(agent, question, user_id="ledger"))["task_id"])

    return set(await asyncio.gather(*map(one, questions)))
