"""The log's time: learnt from entries, one for nodes whose clocks run apart, never going back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any

import orjson
import pytest

from gateway import Gateway, Task
from gateway.domain.access import LOCAL_OPERATOR
from gateway.domain.errors import Conflict, LockHeld
from gateway.errors import RateLimited
from gateway.execution.node.log_time import FORWARD_S, GENERATION_S, LogTime
from gateway.execution.parts import Parts
from gateway.ports import Entry
from tests.execution.hands import registered
from tests.execution.kept import Cluster, Node, until_killed
from tests.execution.world import VirtualClock, world
from tests.stores.drafts import Clock

# Machines' clocks that are wrong, in seconds.
AHEAD_S, BEHIND_S = 30.0, -30.0
# So exactly does anything end that ends by time.
WITHIN_S = 1.0
# And so exactly on one node, however its clock is set.
EXACTLY_S = 0.25
HOUR_S = 3600.0
NOW = 1_800_000_000.0

# --- call by call ----------------------------------------------------------------------------


class Machine(Clock):
    """A machine's clocks, of which the one on the wall may be wrong."""

    def __init__(self, wall_s: float = 0.0) -> None:
        super().__init__(NOW)
        self.wall_s = wall_s

    def wall(self) -> float:
        return self.now + self.wall_s

    def monotonic(self) -> float:
        return self.now - NOW + 5.0


def test_before_anything_is_learnt_it_is_the_machines_time() -> None:
    assert LogTime(Machine(AHEAD_S)).wall() == NOW + AHEAD_S


@pytest.mark.parametrize("wall_s", [AHEAD_S, BEHIND_S, 0.0])
def test_it_is_that_of_the_newest_entry_and_goes_on_from_there(wall_s: float) -> None:
    machine = Machine(wall_s)
    time = LogTime(machine)
    assert time.learn(NOW)
    assert time.wall() == NOW
    machine.now += 7
    machine.wall_s += 3600  # someone sets the clock on the wall
    assert time.wall() == NOW + 7
    assert time.monotonic() == machine.monotonic()


def test_what_was_under_way_for_long_tells_less() -> None:
    machine = Machine()
    time = LogTime(machine)
    time.learn(NOW - 0.5)
    assert time.learn(NOW), "it is further on than was known"
    assert not time.learn(NOW - 20)
    assert not time.learn(NOW + FORWARD_S / 2)
    assert time.wall() == NOW + FORWARD_S / 2


def test_it_never_goes_back_and_follows_a_store_that_is_set_back() -> None:
    machine = Machine()
    time = LogTime(machine)
    time.learn(NOW)
    last = time.wall()
    for _ in range(40):
        machine.now += GENERATION_S / 10
        time.learn(machine.now - 100)
        assert time.wall() >= last
        last = time.wall()
    assert last == machine.now - 100


def test_a_quiet_log_is_not_forgotten() -> None:
    machine = Machine(AHEAD_S)
    time = LogTime(machine)
    time.learn(NOW)
    machine.now += 100 * GENERATION_S
    assert time.wall() == machine.now
    time.learn(machine.now - 30)  # one that this node had missed
    assert time.wall() == machine.now


def test_of_another_store_nothing_is_known() -> None:
    machine = Machine()
    time = LogTime(machine)
    time.learn(NOW + 1000)
    assert time.wall() == NOW + 1000
    time.forget()
    time.learn(NOW)
    assert time.wall() == NOW


async def test_it_sleeps_as_the_machine_does() -> None:
    machine = Machine()
    await LogTime(machine).sleep(3)
    assert machine.now == NOW + 3


# --- two nodes whose clocks are a minute apart -----------------------------------------------


def apart(cluster: Cluster) -> tuple[Node, Node]:
    """Two nodes, one ahead of the store by half a minute, one behind it."""
    return node_at(cluster, AHEAD_S), node_at(cluster, BEHIND_S)


def node_at(cluster: Cluster, ahead_s: float) -> Node:
    clock = VirtualClock()
    clock.ahead_s = ahead_s
    return cluster.node(clock=clock)


async def ended(cluster: Cluster, type: str, *, within_s: float = 100.0, **fields: object) -> float:
    """Wait for an event; gives its time by the store."""
    for _ in range(int(within_s / 0.05)):
        if cluster.said(type, **fields):
            return cluster.clock.wall()
        await cluster.passing(0.05)
    raise AssertionError(f"{type} does not come")


@pytest.mark.parametrize("by_s", [AHEAD_S, BEHIND_S])
async def test_a_lease_ends_when_the_log_says_on_whichever_node(by_s: float) -> None:
    """The node that gave it is lost; the other one, which has another clock, ends it."""
    cluster = Cluster(task_timeout=1000.0)
    giver, other = node_at(cluster, -by_s), node_at(cluster, by_s)
    async with until_killed(other.engine):
        async with until_killed(giver.engine):
            granted_at = await granted(cluster, giver, ttl_s=20.0)
        ended_at = await ended(cluster, "agent_error", error_code="lease_expired")
    assert ended_at - granted_at == pytest.approx(20.0, abs=WITHIN_S)


@pytest.mark.parametrize("by_s", [AHEAD_S, BEHIND_S])
async def test_a_node_that_begins_in_a_quiet_log_asks_the_store_for_its_time(by_s: float) -> None:
    """All that it reads is old. Leases begin afresh there, since it could renew none before."""
    cluster = Cluster(task_timeout=1000.0)
    giver = node_at(cluster, -by_s)
    async with until_killed(giver.engine):
        await granted(cluster, giver, ttl_s=20.0)
    await cluster.passing(3)
    begun_at = cluster.clock.wall()
    async with until_killed(node_at(cluster, by_s).engine):
        ended_at = await ended(cluster, "agent_error", error_code="lease_expired")
    assert ended_at - begun_at == pytest.approx(20.0, abs=WITHIN_S)


async def granted(cluster: Cluster, node: Node, *, ttl_s: float) -> float:
    """Give a task to a worker that is never heard again; gives when, by the store."""
    caller, proof = await registered(node)
    await node.gateway.submit("writer")
    assert await node.engine.call("task.claim", {**proof, "lease_ttl": ttl_s}, caller)
    return cluster.clock.wall()


async def test_a_lease_that_is_renewed_ends_on_neither_node() -> None:
    cluster = Cluster(task_timeout=1000.0)
    ahead, behind = apart(cluster)
    async with until_killed(ahead.engine), until_killed(behind.engine):
        caller, proof = await registered(ahead)
        task_id = (await ahead.gateway.submit("writer")).task_id
        claim = await ahead.engine.call("task.claim", {**proof, "lease_ttl": 6.0}, caller)
        for turn in range(30):
            await cluster.passing(2)
            node = (ahead, behind)[turn % 2]
            about = {**proof, "task_id": task_id, "term": claim["term"]}
            await node.engine.call("task.heartbeat", about, caller)
        assert cluster.said("agent_error") == []
        granted_at = cluster.clock.wall()
        ended_at = await ended(cluster, "agent_error", error_code="lease_expired")
        left_s = ended_at - granted_at
    # The last beat may have come in the first third of the lease, and renewed nothing.
    assert 6.0 - 2.0 - WITHIN_S <= left_s <= 6.0 + WITHIN_S


@pytest.mark.parametrize("taken_ahead", [True, False])
async def test_a_lock_ends_when_the_log_says_on_both_nodes(taken_ahead: bool) -> None:
    cluster = Cluster()
    ahead, behind = apart(cluster)
    here, there = (ahead, behind) if taken_ahead else (behind, ahead)
    async with until_killed(ahead.engine), until_killed(behind.engine):
        about = {"resource_key": "file", "holder": "a", "ttl": 10.0}
        lock = await here.engine.call("lock.acquire", about, LOCAL_OPERATOR)
        taken_at = cluster.clock.wall()
        for node in (here, there):
            with pytest.raises(LockHeld) as held:
                await node.engine.call("lock.acquire", {**about, "holder": "b"}, LOCAL_OPERATOR)
            assert held.value.retry_after == pytest.approx(10.0, abs=WITHIN_S)
        await cluster.passing(9)
        for node in (here, there):
            with pytest.raises(LockHeld):
                await node.engine.call("lock.acquire", {**about, "holder": "b"}, LOCAL_OPERATOR)
        ended_at = await ended(cluster, "lock_expired")
        assert ended_at - taken_at == pytest.approx(10.0, abs=WITHIN_S)
        again = {"holder": "a", "lock_id": lock["lock_id"], "term": lock["term"], "ttl": 10.0}
        for node in (here, there):
            with pytest.raises(Conflict):
                await node.engine.call("lock.renew", again, LOCAL_OPERATOR)
        taken = await there.engine.call("lock.acquire", {**about, "holder": "b"}, LOCAL_OPERATOR)
        assert taken["term"] == lock["term"] + 1


@pytest.mark.parametrize("ahead_s", [AHEAD_S, BEHIND_S])
async def test_what_waits_is_due_when_the_log_says(ahead_s: float) -> None:
    """Deadlines, and whatever else a timer calls."""
    cluster = Cluster()
    node = node_at(cluster, ahead_s)
    async with until_killed(node.engine):
        submitted_at = cluster.clock.wall()
        await node.gateway.submit("nobody", timeout=40.0)
        ended_at = await ended(cluster, "task_finished")
    assert ended_at - submitted_at == pytest.approx(40.0, abs=WITHIN_S)


async def test_a_clock_that_is_set_while_it_runs_changes_nothing() -> None:
    cluster = Cluster()
    clock = VirtualClock()
    node = cluster.node(clock=clock)
    async with until_killed(node.engine):
        submitted_at = cluster.clock.wall()
        await node.gateway.submit("nobody", timeout=40.0)
        await cluster.passing(10)
        clock.ahead_s = -25.0
        ended_at = await ended(cluster, "task_finished")
    assert ended_at - submitted_at == pytest.approx(40.0, abs=WITHIN_S)


async def test_a_log_that_is_further_on_than_was_known_wakes_the_timers() -> None:
    """After this machine has slept, its monotonic clock is behind; the next entry says so."""
    cluster = Cluster()
    node = node_at(cluster, 0.0)
    parts: Parts = node.engine.parts
    async with until_killed(node.engine):
        called = asyncio.Event()

        async def action() -> None:
            called.set()

        parts.monitor.at(parts.monitor.now + 100, action)
        await cluster.passing(1)
        assert parts.log_time.learn(cluster.clock.wall() + 200)
        parts.monitor.look()
        await cluster.passing(0.01)
        assert called.is_set()


async def test_a_store_that_does_not_say_its_time_is_asked_again() -> None:
    """Nothing is decided before."""
    cluster = Cluster()
    node = node_at(cluster, AHEAD_S)
    node.log.away = True
    async with node.engine.running():
        await cluster.passing(5)
        assert not node.engine.parts.watch.ready
        node.log.away = False
        await node.engine.parts.watch.until_ready()
        assert node.engine.parts.monitor.now == pytest.approx(cluster.clock.wall(), abs=0.1)


@pytest.mark.parametrize("by_s", [AHEAD_S, BEHIND_S])
async def test_backoff_and_cooldown_are_over_when_the_log_says(by_s: float) -> None:
    cluster = Cluster(breaker_threshold=2, breaker_cooldown=20.0)

    def declare(gateway: Gateway) -> None:
        @gateway.agent("down", max_attempts=2)
        async def down(task: Task) -> None:
            raise RateLimited(retry_after=6.0)

    clock, other = VirtualClock(), node_at(cluster, -by_s)
    clock.ahead_s = by_s
    node = cluster.node(declare, clock=clock)
    async with until_killed(node.engine), until_killed(other.engine):
        await node.gateway.submit("down")
        failed_at = await ended(cluster, "agent_error")
        tried_again_at = await ended(cluster, "task_started", attempt=2)
        assert tried_again_at - failed_at == pytest.approx(6.0, abs=WITHIN_S)
        opened_at = await ended(cluster, "circuit_breaker_triggered")
        for left, until_s in ((False, 20.0 - WITHIN_S), (True, 20.0 + WITHIN_S)):
            await cluster.passing(opened_at + until_s - cluster.clock.wall())
            for engine in (node.engine, other.engine):
                breaker, now = engine.parts.state.breakers["down"], engine.parts.monitor.now
                assert (breaker.permits_left(now) > 0) is left


# --- one node, whose clock is set all the time -------------------------------------------------


async def set_again_and_again(clock: VirtualClock) -> None:
    """Forward by an hour, back by two, and so on, until cancelled."""
    for ahead_s in itertools.cycle((HOUR_S, -HOUR_S, 0.0, -HOUR_S, HOUR_S)):
        clock.ahead_s = ahead_s
        await clock.sleep(0.7)


@pytest.mark.parametrize("kept", [False, True], ids=["memory", "durable"])
async def test_whatever_is_due_is_due_on_time_while_the_clock_is_set(kept: bool) -> None:
    """Deadline, time in the queue, lease, lock, backoff, cooldown; and a frozen worker is seen."""
    settings: dict[str, Any] = {
        "breaker_threshold": 2,
        "breaker_cooldown": 20.0,
        "queue_timeout": 30.0,
    }

    def declare(gateway: Gateway) -> None:
        @gateway.agent("down", max_attempts=2)
        async def down(task: Task) -> None:
            raise RateLimited(retry_after=6.0)

    async with contextlib.AsyncExitStack() as stack:
        if kept:
            cluster = Cluster(**settings)
            clock = VirtualClock()
            node = cluster.node(declare, clock=clock)
            gateway, engine = node.gateway, node.engine
            await stack.enter_async_context(until_killed(engine))
        else:
            here = await stack.enter_async_context(world(complete=False, **settings))
            gateway, engine = here.gateway, here.engine
            declare(gateway)
            assert isinstance(engine.clock, VirtualClock)
            clock = engine.clock
        setting = asyncio.ensure_future(set_again_and_again(clock))
        stack.callback(setting.cancel)
        seen: dict[str, float] = {}
        due: dict[str, float] = {}

        def note(entry: Entry) -> None:
            event = orjson.loads(entry.public)
            what = " ".join(str(event.get(k) or "") for k in ("type", "agent_name", "attempt"))
            seen.setdefault(what, clock.monotonic())

        engine.log.follow(note)
        await clock.sleep(1)
        begun = clock.monotonic()
        # A worker that is never heard again, with a lease; nobody beats for it.
        call = engine.call
        worker = await call("agent.register", {"handle": "writer"}, LOCAL_OPERATOR)
        proof = {name: worker[name] for name in ("agent_id", "agent_secret")}
        await gateway.submit("writer", timeout=100.0)
        assert await call("task.claim", {**proof, "lease_ttl": 12.0}, LOCAL_OPERATOR)
        about = {"resource_key": "file", "holder": "a", "ttl": 10.0}
        await call("lock.acquire", about, LOCAL_OPERATOR)
        await gateway.submit("late", timeout=9.0)
        await gateway.submit("waiting", timeout=1000.0)
        await gateway.submit("down")
        due["lock_expired  "] = begun + 10.0
        due["task_finished late "] = begun + 9.0
        due["task_dead_lettered waiting "] = begun + 30.0
        due["task_started down 2"] = begun + 6.0
        await clock.sleep(40)
        breaker = engine.parts.state.breakers["down"]
        opened_at = seen["circuit_breaker_triggered down "]
        assert breaker.permits_left(engine.log_time()) > 0
        assert breaker.permits_left(engine.log_time() - (clock.monotonic() - opened_at) + 19) == 0
    assert {what: seen.get(what) for what in due} == pytest.approx(due, abs=EXACTLY_S)
    lost_s = seen["agent_status_changed writer "] - begun
    assert lost_s <= engine.parts.settings.offline_after + EXACTLY_S
