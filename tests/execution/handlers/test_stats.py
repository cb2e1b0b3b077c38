"""Counts are true: equal to those of a simple model after any operations, on every node."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from event_schemas import Validator
from gateway import Gateway, Task
from gateway.domain.access import LOCAL_OPERATOR, Caller
from gateway.domain.errors import NotPermitted, RequestError
from gateway.errors import NotRetryable, RateLimited, ServiceUnavailable
from gateway.protocol.operations import OPERATIONS
from tests.execution.conftest import OpenWorld
from tests.execution.hands import Hand, hand, registered
from tests.execution.kept import Cluster, until_killed
from tests.execution.world import VirtualLoop, World, world

ANN = Caller("ann", frozenset({"events:read"}))
READER = Caller("monitoring", frozenset({"events:read:all"}))
USERS, AGENTS, DOMAINS = ("ann", "bob", "cy"), ("writer", "painter"), ("zone-a", "zone-b", None)
FAILED = ("failed", "dead_lettered")
HOW = ("complete", "fail", "no", "release")
ENDED = ("succeeded", "cancelled", *FAILED)


async def stats(here: World, caller: Caller = READER) -> Any:
    """The statistics, which comply with what is published of them."""
    found = await here.call("stats.get", caller)
    assert not Validator(dict(OPERATIONS["stats.get"].result)).violations(found, limit=3)
    return found


async def impact(here: World, user_id: str = "ann") -> tuple[Any, ...]:
    found = await here.call("impact", READER, user_id=user_id)
    assert not Validator(dict(OPERATIONS["impact"].result)).violations(found, limit=3)
    return tuple(found[name] for name in list(found)[1:])


class Machine(RuleBasedStateMachine):
    """
    Workers of two agents in two domains, asked at random by three users.

    The model knows of each task only what the operations have answered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.stack = contextlib.AsyncExitStack()
        self.here: World = self.do(
            self.stack.enter_async_context(
                world(complete=False, breaker_threshold=1000, breaker_rate=1.0, domain_rate=1.0)
            )
        )
        self.workers: list[Hand] = []
        self.domains: dict[str, str | None] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.held: dict[str, tuple[Hand, int]] = {}

    def do(self, work: Any) -> Any:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.do(self.stack.aclose())
        self.runner.close()

    @rule(agent=strategies.sampled_from(AGENTS), domain=strategies.sampled_from(DOMAINS))
    def register(self, agent: str, domain: str | None) -> None:
        if len(self.workers) < 6:
            worker = self.do(hand(self.here, agent, domain=domain))
            self.workers.append(worker)
            self.domains[worker.agent_id] = domain

    @rule(
        user=strategies.sampled_from(USERS),
        agent=strategies.sampled_from(AGENTS),
        tries=strategies.integers(1, 3),
    )
    def ask(self, user: str, agent: str, tries: int) -> None:
        options = {"agent": agent, "user_id": user, "max_attempts": tries}
        with contextlib.suppress(RequestError):
            made = self.do(self.here.call("task.create", **options))
            self.tasks[made["task_id"]] = {
                "user": user,
                "agent": agent,
                "status": "pending",
                "domain": None,
                "tries": tries,
            }

    @precondition(lambda self: self.workers)
    @rule(data=strategies.data())
    def claim(self, data: Any) -> None:
        worker = data.draw(strategies.sampled_from(self.workers))
        claim = None
        with contextlib.suppress(RequestError):
            claim = self.do(worker.claim())
        if claim is not None:
            task = self.tasks[claim["task_id"]]
            assert task["status"] in ("pending", "waiting")
            task["status"], task["domain"] = "running", self.domains[worker.agent_id]
            self.held[claim["task_id"]] = worker, claim["term"]

    @precondition(lambda self: self.held)
    @rule(data=strategies.data(), how=strategies.sampled_from(HOW))
    def end(self, data: Any, how: str) -> None:
        task_id = data.draw(strategies.sampled_from(sorted(self.held)))
        worker, term = self.held.pop(task_id)
        task = self.tasks[task_id]
        about = {"task_id": task_id, "term": term, **worker.proof}
        if how == "complete":
            self.do(self.here.call("task.complete", worker.caller, **about, result=1))
            task["status"] = "succeeded"
        elif how == "release":
            self.do(self.here.call("task.release", worker.caller, **about))
            task["status"] = "pending"
        else:
            kind = "timeout" if how == "fail" else "invalid_input"
            about |= {"message": "no", "error_type": kind}
            self.do(self.here.call("task.fail", worker.caller, **about))
            task["tries"] -= 1
            if how == "no":
                task["status"] = "failed"
            else:
                task["status"] = "waiting" if task["tries"] else "dead_lettered"

    @precondition(lambda self: self.tasks)
    @rule(data=strategies.data())
    def cancel(self, data: Any) -> None:
        task_id = data.draw(strategies.sampled_from(sorted(self.tasks)))
        if self.tasks[task_id]["status"] in ENDED:
            with contextlib.suppress(RequestError):
                self.do(self.here.call("task.cancel", task_id=task_id))
        else:
            self.do(self.here.call("task.cancel", task_id=task_id))
            self.tasks[task_id]["status"] = "cancelled"
            self.held.pop(task_id, None)

    @rule()
    def second(self) -> None:
        self.do(self.here.passing(1.0))
        for worker in self.workers:
            self.do(worker.beat())

    @precondition(lambda self: self.workers)
    @rule()
    def leave(self) -> None:
        """The newest worker says goodbye, if it holds nothing."""
        worker = self.workers[-1]
        if all(worker is not holder for holder, _ in self.held.values()):
            self.do(self.here.call("agent.remove", worker.caller, **worker.proof))
            del self.workers[-1]

    @invariant()
    def counts_are_true(self) -> None:
        found, tasks = self.do(stats(self.here)), list(self.tasks.values())
        by_status = Counter(task["status"] for task in tasks)
        assert found["tasks"]["by_status"] == {
            status: by_status[status] for status in found["tasks"]["by_status"]
        }
        assert found["tasks"]["by_agent"] == Counter(task["agent"] for task in tasks)
        assert found["by_user"] == grouped(tasks, "user")
        assert found["users"] == len(found["by_user"])
        of_domains = found["by_domain"]
        there = Counter(self.domains[worker.agent_id] for worker in self.workers)
        assert {name: c.pop("agents") for name, c in of_domains.items()} == {
            name: there[name] for name in of_domains
        }
        assert {c.pop("state") for c in of_domains.values()} <= {"closed"}
        for counts in of_domains.values():
            # What fails here is a failure of the worker's, and no task has a second attempt.
            rate = counts.pop("failure_rate")
            assert 0 <= rate <= 1
            assert counts.pop("outcomes") >= (counts["finished"] and rate)
        ran = {name: c for name, c in of_domains.items() if c["open"] or c["finished"]}
        assert ran == grouped([task for task in tasks if task["domain"]], "domain")
        assert found["queue"]["depth"] == by_status["pending"] + by_status["waiting"]
        listed = self.do(self.here.call("agent.list", limit=500))["items"]
        assert found["agents"]["total"] == len(listed)
        kinds = Counter(worker["status"] for worker in listed)
        assert found["agents"]["by_status"] == {
            status: kinds[status] for status in found["agents"]["by_status"]
        }
        assert found["position"]["offset"] == found["log"]["events"]


def grouped(tasks: list[dict[str, Any]], by: str) -> dict[str, dict[str, int]]:
    """What the statistics have to say of tasks, counted in the plainest way."""
    counts: dict[str, dict[str, int]] = {}
    for task in tasks:
        mine = counts.setdefault(task[by], {"open": 0, "finished": 0, "failed": 0})
        mine["finished" if task["status"] in ENDED else "open"] += 1
        mine["failed"] += task["status"] in FAILED
    return counts


@pytest.mark.requirement("WEFT-06", "WEFT-W18")
def test_after_any_operations_the_counts_are_those_of_a_simple_model() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(max_examples=settings().max_examples // 3, stateful_step_count=40),
    )


async def test_an_empty_gateway_counts_nothing(here: World) -> None:
    found = await stats(here)
    assert found["tasks"]["by_agent"] == found["by_user"] == found["by_domain"] == {}
    assert set(found["tasks"]["by_status"].values()) == {0}
    assert found["agents"]["total"] == found["users"] == found["connections"] == 0
    assert found["queue"] == {"depth": 0, "oldest_age": None, "limit": 1000}
    assert found["log"] == {"events": 0, "bytes": 0}
    assert found["mode"] == "normal"


async def test_the_queue_tells_how_long_its_oldest_task_waits(here: World) -> None:
    await here.submit("nobody")
    await here.passing(7.5)
    await here.submit("nobody")
    assert (await stats(here))["queue"] == {"depth": 2, "oldest_age": 7.5, "limit": 1000}


async def test_tasks_that_are_let_go_of_count_no_more(here: World) -> None:
    task_id = await here.submit("nobody", user_id="ann")
    await here.call("task.cancel", task_id=task_id)
    assert (await stats(here))["by_user"] == {"ann": {"open": 0, "finished": 1, "failed": 0}}
    here.state.expire(here.engine.clock.wall() + 86_401)
    assert ((await stats(here))["by_user"], (await stats(here))["users"]) == ({}, 0)


async def test_the_statistics_are_for_those_that_read_all(here: World) -> None:
    await stats(here, Caller("ops", frozenset({"admin"})))
    with pytest.raises(NotPermitted):
        await stats(here, ANN)


# --- impact -------------------------------------------------------------------------------------


async def test_a_user_asks_for_its_own_impact_only(here: World) -> None:
    assert (await here.call("impact", ANN, user_id="ann"))["user_id"] == "ann"
    with pytest.raises(NotPermitted) as refused:
        await here.call("impact", ANN, user_id="bob")
    assert refused.value.field == "user_id"


async def test_what_needs_an_operator_is_counted(open_world: OpenWorld) -> None:
    """``gateway status`` shows it; the classes of exceptions are for operators alone."""
    here = await open_world()

    @here.gateway.agent("held", max_attempts=2, upstream="model")
    async def held(task: Task) -> str:
        raise RateLimited("later", retry_after=120)

    @here.gateway.agent("odd", max_attempts=1)
    async def odd(task: Task) -> str:
        raise LookupError("nobody foresaw it")

    @here.gateway.agent("gone", max_attempts=1)
    async def gone(task: Task) -> str:
        raise ServiceUnavailable

    for name in ("held", "odd", "gone", "ghost", "ghost"):
        await here.call("task.create", agent=name, user_id="ann")
    await here.call("mode.set", mode="read_only")
    await here.passing(5)
    found = await stats(here, LOCAL_OPERATOR)
    assert found["unknown_exceptions"] == {"total": 1, "most": {"builtins.LookupError": 1}}
    assert found["tasks"]["without_worker"] == {"ghost": 2}
    assert list(found["held_upstreams"]) == ["model"]
    assert [each["mode"] for each in found["degradations"]] == ["read_only"]
    assert found["dead_letters"] == {"total": 1, "last_hour": 1}
    assert (await stats(here))["unknown_exceptions"] is None
    await here.passing(3600)
    assert (await stats(here))["held_upstreams"] == {}


@pytest.mark.requirement("WS-W13")
async def test_each_failure_counts_once_and_what_became_of_the_work(open_world: OpenWorld) -> None:
    here = await open_world(retry_base=30.0, retry_max=30.0)
    fails: list[Exception] = []
    keeps: list[bool] = []

    @here.gateway.agent("writer", max_attempts=3)
    async def write(task: Task) -> str:
        if keeps:
            task.preserve("outline", "what is kept")
        if fails:
            raise fails.pop()
        return "done"

    await here.run("writer", user_id="ann")
    assert await impact(here) == (0, 0, 0, 0, 0)
    fails[:] = [ServiceUnavailable(), ServiceUnavailable()]
    began = here.engine.clock.monotonic()
    await here.run("writer", user_id="ann")  # two attempts fail under one error_id
    degraded = (here.engine.clock.monotonic() - began) / 60
    failures, recovered, minutes, *results = await impact(here)
    assert (failures, recovered, results) == (1, 1, [1, 0])
    assert 0.5 < minutes <= degraded + 0.001
    fails[:] = [NotRetryable()]
    await here.run("writer", user_id="ann")  # it ends as failed, and nothing is kept
    assert await impact(here) == (2, 1, minutes, 1, 1)
    fails[:], keeps[:] = [NotRetryable()], [True]
    await here.run("writer", user_id="ann")
    assert await impact(here) == (3, 1, minutes, 2, 1)
    assert await impact(here, "bob") == (0, 0, 0, 0, 0)


async def test_a_backend_that_only_reports_has_its_impact(here: World) -> None:
    about = {"user_id": "ann", "agent_name": "writer"}
    about["error_id"] = here.engine.ids.uuid7()
    kept = {"preserved_data": {"outline": 1}, **about}
    await here.call("event.publish", type="partial_result_preserved", **kept)
    await here.call("event.publish", type="agent_error", error_type="timeout", **about)
    await here.passing(60)
    assert await impact(here) == (1, 0, 1.0, 1, 0)
    await here.call("event.publish", type="system_recovered", **about)
    await here.passing(60)
    assert await impact(here) == (1, 1, 1.0, 1, 0)


@pytest.mark.requirement("WEFT-W18")
async def test_counts_and_impacts_outlive_the_process() -> None:
    cluster = Cluster()

    def declare(gateway: Gateway) -> None:
        @gateway.agent("writer", max_attempts=1)
        async def write(task: Task) -> str:
            raise ServiceUnavailable

    async def counted(engine: Any) -> Any:
        found = await engine.call("stats.get", {}, READER)
        told = await engine.call("impact", {"user_id": "ann"}, READER)
        names = ("tasks", "by_user", "users", "queue", "agents")
        return [found[name] for name in names], told

    first = cluster.node(declare)
    async with until_killed(first.engine):
        await first.gateway.submit("writer", user_id="ann")
        await first.gateway.submit("writer", user_id="bob")
        await cluster.passing(30)
        _, proof = await registered(first, "a connection that lasts")
        before = await counted(first.engine)
        assert before[1]["failures"] == before[1]["results_lost"] == 1
        assert await first.engine.parts.watch.save()
    second = cluster.node()
    async with until_killed(second.engine):
        await cluster.passing(1)
        assert second.engine.parts.watch.ready
        about = {"agent_id": proof["agent_id"]}
        assert (await second.engine.call("agent.get", about, READER))["handle"] == "writer"
        assert await counted(second.engine) == before
