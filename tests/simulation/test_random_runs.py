"""
Whole lives at random: agents that fail in every way, users that cancel and retry, time that passes.

Each run has a seed, which stands in its name; the same seed is the same run. What has to hold
always is checked at the end, by the rules over time and against the folds.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import pytest

from gateway import Task
from gateway.domain import task as tasks
from gateway.domain.access import LOCAL_OPERATOR
from gateway.domain.agent_failures import AgentFailure
from gateway.domain.errors import AttemptOver, RequestError
from gateway.domain.waiting import waiting_after
from gateway.errors import (
    ContentRefused,
    InvalidResponse,
    NotRetryable,
    RateLimited,
    ServiceUnavailable,
)
from gateway.ports import EventLog
from tests.execution.world import SlowLog, VirtualLoop, World, consistent, world
from tests.soak import SOAK

RUNS = 300 if SOAK else 4
TASKS = 120 if SOAK else 40

FAILURES: Sequence[Any] = (
    RateLimited,
    lambda: RateLimited(retry_after=20.0),
    ServiceUnavailable,
    InvalidResponse,
    ContentRefused,
    NotRetryable,
    ValueError,
    MemoryError,
    SystemExit,
    asyncio.CancelledError,
)


async def misbehave(
    task: Task, here: World, chance: random.Random, *, reliability: float, exits: bool = True
) -> Any:
    """Do what an agent may do, at random."""
    if chance.random() < 0.3:
        task.plan("a", "b", "c")
    for _ in range(chance.randrange(5)):
        match chance.randrange(6):
            case 0:
                task.append("text " * chance.randrange(200))
            case 1:
                task.preserve(chance.choice("abc"), "x" * chance.randrange(2000))
            case 2:
                task.progress(chance.random(), step="step")
            case 3:
                task.temp_dir()
            case _:
                try:
                    await here.passing(chance.expovariate(0.5))
                except asyncio.CancelledError:
                    if chance.random() < 0.8:
                        raise
    if chance.random() > reliability:
        raise chance.choice(FAILURES if exits else FAILURES[:-2])()
    return "x" * (300_000 if chance.random() < 0.02 else chance.randrange(100))


def declare(here: World, chance: random.Random) -> list[str]:
    """Agents of every kind."""
    names = []

    async def stand_in(task: Task) -> str:
        if chance.random() < 0.2:
            raise ServiceUnavailable
        await here.passing(chance.random())
        return "stand-in"

    async def close(task: Task) -> None:
        await here.passing(chance.random())
        if chance.random() < 0.1:
            raise OSError

    for number, reliability in enumerate((0.95, 0.7, 0.5, 0.2, 0.0)):
        for fallback in (None, stand_in):
            name = f"agent-{number}{'-safe' if fallback else ''}"
            names.append(name)

            @here.gateway.agent(
                name,
                timeout=chance.choice((1.0, 5.0, 20.0)),
                max_attempts=chance.randrange(1, 4),
                fallback=fallback,
                cleanup=[close] if chance.random() < 0.5 else [],
                breaker=chance.choice((None, "shared")),
                upstream="model",
            )
            async def agent(task: Task, reliability: float = reliability) -> Any:
                return await misbehave(task, here, chance, reliability=reliability)

    return names


async def live(here: World, chance: random.Random) -> None:
    """One run: people ask, cancel, retry and supervise code of their own."""
    names = [*declare(here, chance), "nobody"]
    watching: list[Any] = []

    async def ask(number: int) -> None:
        await here.passing(chance.random() * 100)
        with contextlib.suppress(RequestError):
            await here.submit(
                chance.choice(names),
                user_id=chance.choice(("ann", "bob", "cy")),
                priority=chance.randrange(11),
                timeout=chance.choice((None, None, 3.0, 30.0)),
                idempotency_key=chance.choice((None, None, str(number % 20))),
            )

    async def supervise() -> None:
        await here.passing(chance.random() * 100)
        with contextlib.suppress(
            AgentFailure, AttemptOver, RequestError, ValueError, MemoryError, TimeoutError
        ):
            block = here.gateway.attempt(
                chance.choice(names), user_id="ann", timeout=chance.choice((None, 2.0))
            )
            async with block as task:
                await misbehave(task, here, chance, reliability=0.6, exits=False)

    async def meddle() -> None:
        await here.passing(chance.random() * 120)
        if not here.state.tasks:
            return
        task_id = chance.choice(list(here.state.tasks))
        with contextlib.suppress(RequestError):
            await here.call(chance.choice(("task.cancel", "task.retry")), task_id=task_id)

    async def look() -> None:
        await here.passing(chance.random() * 100)
        consistent(here)
        watching.append((here.engine.log.head, here.engine.snapshot(["*"], LOCAL_OPERATOR)))

    jobs = [asyncio.ensure_future(ask(number)) for number in range(TASKS)]
    jobs += [asyncio.ensure_future(supervise()) for _ in range(TASKS // 4)]
    jobs += [asyncio.ensure_future(meddle()) for _ in range(TASKS // 2)]
    jobs += [asyncio.ensure_future(look()) for _ in range(3)]
    for job in jobs[TASKS : TASKS + TASKS // 4 : 3]:
        asyncio.get_running_loop().call_later(chance.random() * 100, job.cancel)
    answers = await asyncio.gather(*jobs, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, asyncio.CancelledError):
            raise answer
    if chance.random() < 0.5:
        await here.passing(chance.choice((1.0, 50.0, 400.0)))
    for head, snapshot in watching:
        reduced = reduce(snapshot, (e for e in here.events if e["offset"] > head))
        now = orjson.loads(orjson.dumps(here.engine.snapshot(["*"], LOCAL_OPERATOR)))
        assert reduced["failures"] == by(now["failures"], "error_id")
        told = by(now["tasks"], "task_id")
        for task_id, task in told.items():
            if task["progress"] is None:
                # Nothing was reported; the events may know the share of the plan.
                task["progress"] = reduced["tasks"][task_id]["progress"]
        assert reduced["tasks"] == told
        assert reduced["breakers"] == by(now["breakers"], "name")


@pytest.mark.parametrize("seed", range(RUNS))
@pytest.mark.parametrize("store", ["memory", "slow"])
def test_whatever_happens_every_task_has_one_end(seed: int, store: str) -> None:
    """And nothing is left open: no failure, no attempt, no permit, no byte."""
    chance = random.Random(f"{store} {seed}")

    def wrap(log: EventLog) -> EventLog:
        return SlowLog(log, chance) if store == "slow" else log

    async def run() -> None:
        async with world(
            seed=seed,
            wrap=wrap,
            workers=chance.choice((1, 3, 16)),
            queue_limit=chance.choice((5, 1000)),
            queue_timeout=chance.choice((10.0, 300.0)),
            drain_grace=chance.choice((0.1, 10.0)),
            retry_max=10.0,
        ) as here:
            await live(here, chance)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())


# --- a client's view -------------------------------------------------------------------------


def by(items: Iterable[Mapping[str, Any]], key: str) -> dict[str, dict[str, Any]]:
    """Only what a client can learn from events, by its key."""
    shown = {}
    for item in items:
        kept = dict(item)
        if key == "error_id":
            kept = {"error_id": item["error_id"], "event_id": item["event_id"]}
        if key == "task_id":
            kept = {
                name: item[name]
                for name in ("status", "attempt", "agent_name", "progress", "step", "user_id")
            }
            kept["waiting_for"] = item["waiting_for"]
            preserved = item["preserved"] or {}
            kept["text"] = (preserved.get("text_preview") or "")[-100:]
            kept["steps"] = sorted(preserved.get("steps", ()))
        shown[item[key]] = kept
    return shown


def reduce(snapshot: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Fold events into a snapshot, as a browser does."""
    snapshot = orjson.loads(orjson.dumps(snapshot))
    failures = by(snapshot["failures"], "error_id")
    live = by(snapshot["tasks"], "task_id")
    breakers = by(snapshot["breakers"], "name")
    # A recovery names its breaker by the failure that the opening began.
    opened = {event["error_id"]: event.get("breaker") for event in snapshot["failures"]}
    for event in events:
        kind, task = event["type"], live.get(event["task_id"])
        if kind in ("agent_error", "circuit_breaker_triggered"):
            failures[event["error_id"]] = {
                "error_id": event["error_id"],
                "event_id": event["event_id"],
            }
        if kind in ("system_recovered", "task_finished"):
            failures.pop(event["error_id"], None)
        if kind == "task_submitted":
            live[event["task_id"]] = {
                "status": "pending",
                "attempt": 0,
                "agent_name": event["agent_name"],
                "user_id": event["user_id"],
                "progress": None,
                "step": None,
                "waiting_for": None,
                "text": "",
                "steps": [],
            }
        elif task is not None:
            _of_task(task, event)
            if kind == "task_finished":
                del live[event["task_id"]]
        if kind.startswith("circuit_breaker") or event.get("scope") == "breaker":
            _of_breaker(breakers, opened, event)
    return {"failures": failures, "tasks": live, "breakers": breakers}


def _of_task(task: dict[str, Any], event: Mapping[str, Any]) -> None:
    task["waiting_for"] = waiting_after(task["waiting_for"], event)
    match event["type"]:
        case "task_started":
            task |= {"status": "running", "attempt": event["attempt"]}
            task["agent_name"] = event["agent_name"]
        case "agent_error":
            task["status"] = "waiting"
        case "task_progress":
            for name in ("progress", "step"):
                if event[name] is not None:
                    task[name] = event[name]
        case "partial_result":
            before = "" if event.get("replaces") else task["text"]
            task["text"] = (before + event.get("text", ""))[-100:]
            if "step" in event:
                task["steps"] = sorted({*task["steps"], event["step"]})
        case "partial_result_preserved":
            task["text"] = event["preserved_text"][-100:]
            task["steps"] = sorted(event["preserved_data"])
            task["progress"] = event["progress"] or task["progress"]


def _of_breaker(
    breakers: dict[str, dict[str, Any]], opened: dict[str, Any], event: Mapping[str, Any]
) -> None:
    match event["type"]:
        case "circuit_breaker_triggered":
            breakers[event["breaker"]] = {
                "name": event["breaker"],
                "scope": event["scope"],
                "state": "open",
                "opened_at": event["timestamp"],
                "probe_at": event["probe_at"],
                "version": event["breaker_version"],
            }
            opened[event["error_id"]] = event["breaker"]
        case "circuit_breaker_test_request":
            breakers[event["breaker"]]["state"] = "half_open"
        case "system_recovered":
            breakers[opened[event["error_id"]]] |= {
                "state": "closed",
                "opened_at": None,
                "probe_at": None,
            }


def test_the_folds_used_here_are_those_of_the_gateway() -> None:
    """A new type of event about tasks has to be thought of in the client's view, too."""
    assert set(tasks._FOLDS) == {
        # About leases, for operators; a client of the task has nothing to fold of it.
        "lease_changed",
        "task_started",
        "task_progress",
        "partial_result",
        "partial_result_preserved",
        "agent_error",
        "recovery_attempt",
        "system_recovered",
        "task_finished",
    }
