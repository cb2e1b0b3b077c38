"""The registry: workers are known by their secret, asked to leave, and say goodbye."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from gateway import Task
from gateway.domain import workforce
from gateway.domain.access import LOCAL_OPERATOR, Caller
from gateway.domain.errors import (
    InvalidParams,
    NameTaken,
    NotFound,
    NotPermitted,
    RequestError,
    TooLarge,
    TooManyWorkers,
)
from gateway.domain.timestamps import seconds_of
from gateway.ports import Draft
from tests.execution.conftest import OpenWorld
from tests.execution.hands import OFFLINE_S, SCOPES, changes, hand, registered
from tests.execution.kept import Cluster, until_killed
from tests.execution.world import World, away_world


async def test_an_agent_id_belongs_to_the_worker_with_its_secret(here: World) -> None:
    worker = await hand(here)
    for proof in ({}, {"agent_secret": "of another worker"}):
        with pytest.raises(NotPermitted):
            await here.call(
                "agent.register", worker.caller, handle="writer", agent_id=worker.agent_id, **proof
            )
        with pytest.raises(NotPermitted):
            await here.call("agent.heartbeat", worker.caller, agent_id=worker.agent_id, **proof)
    with pytest.raises(NotPermitted):
        # An operator may do without the secret, and not with another one.
        await here.call(
            "agent.register",
            handle="writer",
            agent_id=worker.agent_id,
            agent_secret="of another worker",
        )
    await here.call("agent.heartbeat", agent_id=worker.agent_id)
    assert here.types() == ["agent_registered"]


async def test_an_id_that_no_worker_has_is_not_taken_on(here: World) -> None:
    """The gateway makes ids: its own, which a task names while it runs, could be asked for, too."""
    running = asyncio.Event()

    @here.gateway.agent("slow")
    async def slow(task: Task) -> str:
        running.set()
        await here.passing(1)
        return "mine"

    task_id = await here.submit("slow", user_id="bob")
    await here.until(running.is_set, within=5)
    task = here.state.tasks[task_id]
    eve = Caller("eve", SCOPES, session_id="s9")
    answer = await here.call("agent.register", eve, handle="slow", agent_id=task.holder)
    assert answer["agent_id"] != task.holder
    assert answer["tasks"] == []
    forged = {"task_id": task_id, "term": task.term, "result": "forged"}
    for secret in ({}, {"agent_secret": answer["agent_secret"]}):
        with pytest.raises(NotFound):
            await here.call("task.complete", eve, agent_id=task.holder, **secret, **forged)
    await here.engine.session_closed("s9")
    assert (await here.done(task_id)).result == "mine"


async def test_a_token_that_names_its_agents_registers_for_no_other(here: World) -> None:
    """Nothing of a refused registration is in the log, of one that is known neither."""
    narrow = Caller("worker", SCOPES, agents=frozenset({"writer", "critic"}))
    worker = await hand(here)
    known: dict[str, Any] = {"handle": "writer", **worker.proof}
    wrong: list[dict[str, Any]] = [
        {"handle": "reader"},
        {"handle": "writer", "agents": [{"name": "reader"}]},
        {"handle": "writer", "agents": [{"name": "writer"}, {"name": "reader"}]},
        {**known, "agents": [{"name": "reader"}]},
    ]
    for asked in wrong:
        with pytest.raises(NotPermitted) as refused:
            await here.call("agent.register", narrow, **asked)
        assert refused.value.field == "agents"
    assert here.types() == ["agent_registered"]
    critic: dict[str, Any] = {"handle": "x", "agents": [{"name": "critic"}]}
    for good in ({"handle": "writer"}, critic, known):
        await here.call("agent.register", narrow, **good)
    nothing = dataclasses.replace(narrow, agents=frozenset())
    with pytest.raises(NotPermitted):
        await here.call("agent.register", nothing, handle="writer")
    operator = dataclasses.replace(narrow, scopes=frozenset({"admin"}))
    await here.call("agent.register", operator, handle="reader")


async def test_a_registration_that_the_store_did_not_take_leaves_the_watch(
    open_world: OpenWorld,
) -> None:
    here, log = await away_world(open_world)
    worker = await hand(here)
    log.away = True
    with pytest.raises(RequestError):
        await here.call("agent.register", worker.caller, handle="writer", **worker.proof)
    log.away = False
    await here.passing(OFFLINE_S + 0.1)
    assert worker.status == "offline"


async def test_a_goodbye_is_no_failure_and_gives_back_what_is_held(here: World) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer", max_attempts=1)
    await worker.claim()
    await here.call("agent.remove", worker.caller, **worker.proof)
    assert changes(here, worker) == [("offline", "goodbye")]
    assert here.said("agent_error") == []
    with pytest.raises(NotFound, match="said goodbye"):
        await worker.beat()
    await here.passing(100)
    assert len(changes(here, worker)) == 1
    other = await hand(here)
    assert (await other.claim())["task_id"] == task_id
    await other.tell("task.complete", result=1)


async def test_a_goodbye_releases_nothing_that_another_worker_holds_by_now() -> None:
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


async def test_a_worker_is_asked_to_leave_with_its_next_beat(here: World) -> None:
    worker = await hand(here)
    assert (await worker.beat())["shutdown"] is None
    await here.call("agent.shutdown", agent_id=worker.agent_id, grace=7)
    assert (await worker.beat())["shutdown"] == {"grace": 7}


async def test_a_worker_that_was_asked_to_leave_is_asked_again_when_it_has_come_back() -> None:
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


# --- what a worker is told -----------------------------------------------------------------------


async def test_a_worker_is_told_its_id_its_secret_and_what_it_is_asked_for(
    open_world: OpenWorld,
) -> None:
    here = await open_world(heartbeat_timeout=6.0, lease_ttl=40.0)
    answer = await here.call("agent.register", handle="writer")
    assert {name: answer[name] for name in ("handle", "heartbeat_interval", "lease_ttl")} == {
        "handle": "writer",
        "heartbeat_interval": 2.0,  # so that one beat may be lost
        "lease_ttl": 40.0,
    }
    assert answer["tasks"] == []
    other = await here.call("agent.register", handle="writer")
    assert other["agent_id"] != answer["agent_id"]
    assert other["agent_secret"] != answer["agent_secret"]


async def test_the_log_keeps_no_secret(here: World) -> None:
    worker = await hand(here)
    written = b"".join(
        entry.public + entry.operator + (entry.state or b"") for entry in here.entries
    )
    assert worker.secret.encode() not in written


async def test_a_worker_may_choose_its_secret_and_comes_back_by_it(here: World) -> None:
    caller, secret = Caller("worker", SCOPES), "s" * 16
    first = await here.call("agent.register", caller, handle="writer", agent_secret=secret)
    proof = {"agent_id": first["agent_id"], "agent_secret": secret}
    again = await here.call("agent.register", caller, handle="writer", **proof)
    assert again["agent_id"] == first["agent_id"]
    await here.call("agent.heartbeat", caller, **proof)
    assert len(here.state.workers) == 1
    with pytest.raises(InvalidParams, match="16") as refused:
        await here.call("agent.register", caller, handle="writer", agent_secret="s" * 15)
    assert refused.value.field == "agent_secret"


async def test_an_agents_name_and_its_breaker_are_the_first_users(here: World) -> None:
    @here.gateway.agent("inproc", breaker="ours")
    async def inproc(task: Task) -> None: ...

    ann, eve, anyone = (Caller(user, SCOPES) for user in ("ann", "eve", "anyone"))
    await here.call("agent.register", ann, handle="researcher", agents=[{"name": "researcher"}])
    for agent, field in (
        ({"name": "researcher", "timeout": 0.001}, "agents.0.name"),
        ({"name": "evil", "breaker": "researcher"}, "agents.0.breaker"),
        ({"name": "evil", "breaker": "ours"}, "agents.0.breaker"),
    ):
        with pytest.raises(NameTaken) as refused:
            await here.call("agent.register", eve, handle="evil", agents=[agent])
        assert (refused.value.code, refused.value.field) == ("name_taken", field)
    with pytest.raises(NameTaken) as refused:
        await here.call("agent.register", eve, handle="researcher")
    assert refused.value.field == "handle"
    # What the gateway declares itself may be served by others, who change nothing about it.
    agent = {"name": "inproc", "timeout": 0.001, "breaker": "trap"}
    await here.call("agent.register", anyone, handle="inproc", agents=[agent])
    policy = here.engine.parts.policies.of("inproc")
    assert (policy.timeout_s, policy.breaker) == (30.0, "ours")
    # An operator may serve any name; it stays its first user's.
    await here.call("agent.register", handle="researcher", agents=[{"name": "researcher"}])
    assert here.engine.parts.policies.owner("researcher") == "ann"


async def test_of_two_users_that_register_one_name_at_once_the_first_has_it() -> None:
    """Their workers have ids of their own, so that neither append is in the way of the other."""
    ann, bob = (Caller(user, SCOPES) for user in ("ann", "bob"))
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):

        async def first(drafts: Sequence[Draft]) -> None:
            node.log.before = None
            await node.engine.call("agent.register", {"handle": "wanted"}, ann)

        node.log.before = first
        with pytest.raises(NameTaken) as refused:
            await node.engine.call("agent.register", {"handle": "wanted"}, bob)
        assert refused.value.field == "handle"
        found = {worker.owner: worker.removed for worker in node.state.workers.values()}
        assert found == {"ann": False, "bob": True}
        assert node.engine.parts.policies.owner("wanted") == "ann"
        # The first may register more of them.
        await node.engine.call("agent.register", {"handle": "wanted"}, ann)


async def test_a_user_has_a_bounded_number_of_workers(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workforce, "WORKERS_PER_USER_MAX", 2)
    eve = Caller("eve", SCOPES)
    workers = [await here.call("agent.register", eve, handle="h") for _ in range(2)]
    with pytest.raises(TooManyWorkers) as refused:
        await here.call("agent.register", eve, handle="h")
    assert (refused.value.code, refused.value.retry_after) == ("too_many_workers", OFFLINE_S)
    assert here.engine.meters.refused == {"too_many_workers": 1}
    await here.call("agent.register", Caller("bob", SCOPES), handle="other")
    proof = {name: workers[0][name] for name in ("agent_id", "agent_secret")}
    await here.call("agent.remove", eve, **proof)
    await here.call("agent.register", eve, handle="h")
    assert proof["agent_id"] not in here.state.workers


async def test_what_a_worker_says_of_its_agents_is_bounded(here: World) -> None:
    """All of it is in one entry, and any store has to take that."""
    agents = [{"name": f"a{number}", "features": ["é" * 120] * 40} for number in range(53)]
    await hand(here, agents=agents)
    with pytest.raises(TooLarge, match=r"agents has \d+ bytes, it may have 524288") as refused:
        await hand(here, agents=[*agents, {**agents[0], "name": "one-more"}])
    assert refused.value.field == "agents"
    (registered,) = [entry for entry in here.entries if entry.type == "agent_registered"]
    assert len(registered.state or b"") < 600_000


async def test_a_worker_that_is_unknown_is_told_to_register(here: World) -> None:
    for name in ("agent.heartbeat", "agent.get", "agent.shutdown"):
        with pytest.raises(NotFound, match="register it") as refused:
            await here.call(name, agent_id="unknown")
        assert refused.value.field == "agent_id"


async def test_a_goodbye_said_twice_is_said_once(here: World) -> None:
    worker = await hand(here)
    registry = here.engine.parts.registry
    for _ in range(2):
        assert (await registry.remove(worker.agent_id)).removed
    assert changes(here, worker) == [("offline", "goodbye")]


async def test_a_caller_sees_of_a_workers_tasks_those_that_it_may_see(here: World) -> None:
    worker = await hand(here)
    tasks = {}
    for user in ("ann", "bob"):
        tasks[user] = await here.submit("writer", user_id=user)
        await worker.claim()
    registry = here.engine.parts.registry
    record = here.state.workers[worker.agent_id]
    for user in ("ann", "bob"):
        shown = registry.view(record, Caller(user, frozenset({"events:read"})))
        assert shown["tasks"] == [tasks[user]]
    shown = registry.view(record, LOCAL_OPERATOR)
    assert sorted(shown["tasks"]) == sorted(tasks.values())
    assert seconds_of(shown["last_heartbeat"]) == here.engine.clock.wall()
    for task_id in tasks.values():
        await here.call("task.cancel", task_id=task_id)
