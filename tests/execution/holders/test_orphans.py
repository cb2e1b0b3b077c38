"""Tasks that look as if somebody worked on them: each is freed, and none waits for its deadline."""

from __future__ import annotations

import asyncio
import pathlib
import random
import subprocess
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from gateway import Gateway, Task
from gateway.domain.access import LOCAL_OPERATOR, Caller
from gateway.domain.errors import StoreUnavailable, Unavailable
from gateway.domain.own_failures import agent_lost
from gateway.execution.guards.breakers import Admission
from gateway.ports import Draft
from tests.execution.kept import Cluster, Node, until_killed
from tests.execution.world import VirtualLoop

SCOPES = frozenset({"agent", "tasks:write", "events:read"})
# The longest that a task may stand still: twice as long as between two looks.
SOON_S = 60.0

Proof = dict[str, Any]


async def registered(node: Node, session: str | None = None) -> tuple[Caller, Proof]:
    """A worker for ``writer``."""
    caller = Caller("w", SCOPES, session_id=session)
    about = {"handle": "writer", "agents": [{"name": "writer", "timeout": 1000.0}]}
    answer = await node.engine.call("agent.register", about, caller)
    return caller, {name: answer[name] for name in ("agent_id", "agent_secret")}


def ends(cluster: Cluster) -> list[tuple[str, str | None]]:
    return [(end["outcome"], end["reason"]) for end in cluster.said("task_finished")]


def slow(cluster: Cluster, *, seconds: float, timeout: float = 1000.0) -> Any:
    """Declare an agent that takes its time."""

    def declare(gateway: Gateway) -> None:
        @gateway.agent("slow", timeout=timeout)
        async def work(task: Task) -> str:
            await cluster.passing(seconds)
            return "done"

    return declare


# --- the node's own ------------------------------------------------------------------------------


async def test_after_a_hole_in_the_log_what_ran_here_is_begun_again() -> None:
    cluster = Cluster()
    node = cluster.node(slow(cluster, seconds=5))
    async with until_killed(node.engine):
        await cluster.passing(1)
        await node.gateway.submit("slow")
        await cluster.passing(1)
        node.log.begin_anew()
        await cluster.passing(SOON_S)
        assert ends(cluster) == [("succeeded", None)]
        assert cluster.said("agent_error") == []


async def test_a_start_that_is_under_way_when_the_node_leaves_is_waited_for() -> None:
    cluster = Cluster()
    node = cluster.node(slow(cluster, seconds=0.5))
    async with until_killed(node.engine):
        await cluster.passing(1)

        async def far_away(drafts: Sequence[Draft]) -> None:
            await cluster.passing(0.005)

        node.log.before = far_away
        asking = asyncio.ensure_future(node.gateway.submit("slow"))
        await cluster.passing(0.007)
        await node.engine.drain()
        await asking
    assert ends(cluster) == [("succeeded", None)]


async def test_a_block_that_is_supervised_has_the_nodes_grace() -> None:
    cluster = Cluster(drain_grace=10.0)
    node = cluster.node()
    async with until_killed(node.engine):

        async def block() -> None:
            async with node.gateway.attempt("search", user_id="ann") as task:
                await cluster.passing(1)
                task.result = "done"

        running = asyncio.ensure_future(block())
        await cluster.passing(0.1)
        await node.engine.drain()
        await running
    assert ends(cluster) == [("succeeded", None)]


async def test_a_node_that_leaves_cleans_up_after_what_it_gives_back() -> None:
    cluster = Cluster(drain_grace=0.5)
    left: list[tuple[subprocess.Popen[bytes], pathlib.Path]] = []

    def declare(gateway: Gateway) -> None:
        @gateway.agent("starter", timeout=100.0)
        async def start(task: Task) -> None:
            left.append((task.start_process("sleep", "60"), task.temp_dir()))
            await cluster.passing(50)

    node = cluster.node(declare)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    # Threads clean up, and no time passes while they work.
    loop.selector.held = lambda: bool(node.engine.parts.attempts.threads._running)
    async with until_killed(node.engine):
        await cluster.passing(1)
        await node.gateway.submit("starter")
        await cluster.passing(1)
        await node.engine.drain()
        ((process, folder),) = left
        assert process.poll() is not None
        assert not folder.exists()
    assert ends(cluster) == []
    assert cluster.said("agent_error") == []


async def test_a_start_that_the_store_did_not_take_is_tried_again() -> None:
    """Though nothing else happens, and the store was never told to be away."""
    cluster = Cluster()
    node = cluster.node(slow(cluster, seconds=1))
    refusals = [StoreUnavailable("insufficient resources")]

    async def refuse_once(drafts: Sequence[Draft]) -> None:
        if drafts[-1].type == "task_started" and refusals:
            raise refusals.pop()

    async with until_killed(node.engine):
        await cluster.passing(1)
        node.log.before = refuse_once
        await node.gateway.submit("slow")
        await cluster.passing(5)
        assert ends(cluster) == [("succeeded", None)]


async def test_a_node_that_stood_still_makes_no_attempt_under_anothers_term() -> None:
    """When it learns that its start was taken, the task has been taken from it."""
    cluster = Cluster()
    made: list[int] = []

    def declare(gateway: Gateway) -> None:
        @gateway.agent("writer", timeout=100.0)
        async def write(task: Task) -> str:
            made.append(task.attempt)
            return "by the first"

    node = cluster.node(declare)
    first = [True]

    async def taken(drafts: Sequence[Draft]) -> None:
        if drafts[-1].type == "task_started" and first:
            first.clear()
            task_id = orjson.loads(drafts[-1].body)["task_id"]
            lost = agent_lost("heartbeat_lost")
            lifecycle = node.engine.parts.lifecycle
            await lifecycle.fail(task_id, 1, lost, cause="agent_lost")
            await lifecycle.start(
                task_id,
                holder="another",
                limit_s=100.0,
                way=Admission("writer", 0),
                lease_ttl_s=1000.0,
            )

    node.log.after = taken
    async with until_killed(node.engine):
        task_id = (await node.gateway.submit("writer")).task_id
        await cluster.passing(5)
        assert made == []
        assert node.state.tasks[task_id].holder == "another"


async def test_a_node_that_was_removed_comes_back() -> None:
    """It lives, and goes on to do tasks."""
    cluster = Cluster()
    node = cluster.node(slow(cluster, seconds=1))
    async with until_killed(node.engine):
        await cluster.passing(1)
        holder = node.engine.parts.runner.holder
        await node.engine.call("agent.remove", {"agent_id": holder}, LOCAL_OPERATOR)
        await cluster.passing(10)
        assert not node.state.workers[holder].removed


async def test_a_gateway_that_runs_once_more_knows_what_the_log_says() -> None:
    """In one process, as in tests of an application that it is mounted in."""
    cluster = Cluster()
    node = cluster.node(slow(cluster, seconds=1))
    for run in range(3):
        async with until_killed(node.engine):
            await cluster.passing(1)
            task_id = (await node.gateway.submit("slow")).task_id
            await cluster.passing(5)
            assert node.state.tasks[task_id].status == "succeeded"
            assert len(node.state.tasks) == run + 1


# --- another node's ------------------------------------------------------------------------------


async def test_a_block_of_a_node_that_was_killed_ends() -> None:
    """Also where the node had no agents of its own to be known by."""
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):

        async def block() -> None:
            async with node.gateway.attempt("search", user_id="ann"):
                await cluster.passing(10_000)

        running = asyncio.ensure_future(block())
        await cluster.passing(5)
        node.log.away = True
    # Nothing of a process that was killed goes on: not its block, nor the telling of its end.
    for _ in range(2):
        running.cancel()
        await cluster.passing(0.1)
    other = cluster.node()
    async with until_killed(other.engine):
        await cluster.passing(SOON_S)
        ((outcome, _),) = ends(cluster)
        assert outcome in ("failed", "dead_lettered")


async def test_what_could_not_be_taken_from_a_dead_node_is_taken_later() -> None:
    """The store was away whenever its silence was looked at."""
    cluster = Cluster()
    dead = cluster.node(slow(cluster, seconds=900))
    async with until_killed(dead.engine):
        await cluster.passing(1)
        await dead.gateway.submit("slow", timeout=2000.0)
        await cluster.passing(1)
    node = cluster.node(slow(cluster, seconds=1))

    async def refuse(drafts: Sequence[Draft]) -> None:
        if any(draft.type == "agent_error" for draft in drafts):
            raise StoreUnavailable("it did not answer in time", in_doubt=True)

    async with until_killed(node.engine):
        await cluster.passing(3)
        node.log.before = refuse
        await cluster.passing(20)
        node.log.before = None
        await cluster.passing(SOON_S)
        assert ends(cluster) == [("succeeded", None)]


# --- workers -------------------------------------------------------------------------------------


async def test_a_claim_over_http_is_lost_when_its_lease_ends_and_not_before() -> None:
    """Though its worker has been offline for long: it may be busy, and has promised nothing."""
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        caller, proof = await registered(node)
        await node.gateway.submit("writer", timeout=3000.0)
        await node.engine.call("task.claim", {**proof, "lease_ttl": 120}, caller)
        await cluster.passing(119)
        assert node.state.workers[proof["agent_id"]].status == "offline"
        assert cluster.said("agent_error") == []
        await cluster.passing(2)
        (lost,) = cluster.said("agent_error")
        assert lost["error_code"] == "lease_expired"


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_taken_from_who_has_taken_over(seed: int) -> None:
    """Two nodes take the tasks of one that is lost, while another worker takes them on."""
    cluster = Cluster()
    first, second = cluster.node(), cluster.node()
    chance = random.Random(seed)

    async def far_away(drafts: Sequence[Draft]) -> None:
        await cluster.passing(chance.choice((0.002, 0.004, 0.02)))

    first.log.before = second.log.before = far_away
    async with until_killed(first.engine), until_killed(second.engine):
        lost, lost_proof = await registered(first, "lost")
        for _ in range(30):
            await first.gateway.submit("writer", timeout=3000.0)
            assert await first.engine.call("task.claim", lost_proof, lost)
        for node in (first, second):
            node.engine.parts.presence.heard_elsewhere(lost_proof["agent_id"])
        heir, heir_proof = await registered(first, "heir")

        async def beats() -> None:
            while True:
                await cluster.passing(1)
                await first.engine.call("agent.heartbeat", heir_proof, heir)
                second.engine.parts.presence.heard_elsewhere(heir_proof["agent_id"])

        async def claims() -> None:
            while True:
                await first.engine.call("task.claim", {**heir_proof, "wait": 20}, heir)

        jobs = [asyncio.ensure_future(job) for job in (beats(), claims(), claims(), claims())]
        await cluster.passing(12)
        for job in jobs:
            job.cancel()
        blamed = {event["agent_id"] for event in cluster.said("agent_error")}
        assert blamed == {lost_proof["agent_id"]}


async def test_a_goodbye_releases_nothing_that_another_holds_by_now() -> None:
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        (one, one_proof), (two, two_proof) = (
            await registered(node, "one"),
            await registered(node, "two"),
        )
        tasks = [(await node.gateway.submit("writer")).task_id for _ in range(2)]
        for _ in tasks:
            await node.engine.call("task.claim", one_proof, one)

        async def far_away(drafts: Sequence[Draft]) -> None:
            await cluster.passing(0.01)

        node.log.before = far_away
        removing = asyncio.ensure_future(node.engine.call("agent.remove", one_proof, one))
        await cluster.passing(0.001)
        node.log.before = None
        about = {**one_proof, "task_id": tasks[1], "term": 1}
        await node.engine.call("task.release", about, one)
        await node.engine.call("task.claim", {**two_proof, "task_id": tasks[1]}, two)
        await removing
        assert node.state.tasks[tasks[1]].holder == two_proof["agent_id"]


async def test_a_goodbye_is_said_though_its_connection_is_lost_at_the_same_time() -> None:
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        _, proof = await registered(node, "s")

        async def far_away(drafts: Sequence[Draft]) -> None:
            await cluster.passing(0.005)

        node.log.before = far_away
        closing = asyncio.ensure_future(node.engine.session_closed("s"))
        await cluster.passing(0.001)
        about = {"agent_id": proof["agent_id"]}
        await node.engine.call("agent.remove", about, LOCAL_OPERATOR)
        await closing
        assert node.state.workers[proof["agent_id"]].removed


async def test_who_was_asked_to_leave_is_asked_when_it_has_come_back() -> None:
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        _, proof = await registered(node, "s1")
        asked = {"agent_id": proof["agent_id"], "grace": 5.0}
        await node.engine.call("agent.shutdown", asked, LOCAL_OPERATOR)
        again = Caller("w", SCOPES, session_id="s2")
        await node.engine.call("agent.register", {"handle": "writer", **proof}, again)
        beat = await node.engine.call("agent.heartbeat", proof, again)
        assert beat["shutdown"] == {"grace": 5.0}


async def test_a_node_that_knows_less_than_a_worker_refuses_nothing_of_its() -> None:
    """It was given its task by another node; this one catches up, or says that it cannot know."""
    cluster = Cluster()
    ahead, behind = cluster.node(), cluster.node()
    async with until_killed(ahead.engine), until_killed(behind.engine):
        caller, proof = await registered(ahead)
        task_id = (await ahead.gateway.submit("writer")).task_id
        behind.log.behind = True
        claim = await ahead.engine.call("task.claim", proof, caller)
        about = {**proof, "task_id": task_id, "term": claim["term"]}
        beating = asyncio.ensure_future(behind.engine.call("task.heartbeat", about, caller))
        await cluster.passing(0.5)
        behind.log.behind = False
        assert (await beating)["term"] == claim["term"]

        behind.log.behind = behind.log.away = True
        await ahead.engine.call("task.release", about, caller)
        claim = await ahead.engine.call("task.claim", proof, caller)
        about["term"] = claim["term"]
        with pytest.raises(Unavailable):
            await behind.engine.call("task.complete", {**about, "result": 1}, caller)
        behind.log.behind = behind.log.away = False
        await behind.engine.call("task.complete", {**about, "result": 1}, caller)
        assert ends(cluster) == [("succeeded", None)]
