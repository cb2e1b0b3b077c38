"""
The words of the table: steps that many scenarios have, and ways to speak of earlier answers.

What a step is and how ``{name.field}`` is filled in stands in ``tests/scenarios/steps.py``.
"""

from __future__ import annotations

from typing import Any

from tests.scenarios.steps import Step, do

__all__ = [
    "LEASE_MOVES",
    "claimed",
    "ended",
    "failed",
    "held",
    "lease",
    "listed",
    "nested",
    "note",
    "proof",
    "shown",
    "task",
    "the",
    "worker",
]

# What a worker may do with a task that it holds.
LEASE_MOVES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("task.heartbeat", {}),
    ("task.update", {"progress": 0.5}),
    ("task.complete", {"result": 1}),
    ("task.fail", {"message": "late", "error_type": "timeout"}),
    ("task.release", {}),
)


def nested(levels: int) -> Any:
    value: Any = {"inmost": True}
    for _ in range(levels - 1):
        value = [value]
    return value


def the(name: str, field: str = "task_id") -> dict[str, Any]:
    """A thing that an earlier answer told of: a task, unless ``field`` is another id."""
    return {field: f"{{{name}.{field}}}"}


def held(name: str, holder: str, term: int) -> dict[str, Any]:
    """A lock as its holder speaks of it."""
    return the(name, "lock_id") | {"holder": holder, "term": term}


def proof(worker: str) -> dict[str, Any]:
    """What a worker proves itself with."""
    return {name: f"{{{worker}.{name}}}" for name in ("agent_id", "agent_secret")}


def lease(worker: str, claim: str = "claim") -> dict[str, Any]:
    """What a worker reports with on what it has claimed."""
    return proof(worker) | {name: f"{{{claim}.{name}}}" for name in ("task_id", "term")}


def worker(name: str, agent: str, *, by: str = "ann", **more: Any) -> Step:
    return do("agent.register", by=by, keep=name, handle=agent, **more)


def task(name: str, agent: str, *, by: str = "ann", **more: Any) -> Step:
    return do("task.create", by=by, keep=name, agent=agent, **{"input": {"q": name}, **more})


def claimed(worker: str, task: str | None = None, *, keep: str = "claim", **more: Any) -> Step:
    """A claim of the next task, which has to be ``task``."""
    gives = {} if task is None else the(task)
    return do("task.claim", keep=keep, gives=gives, **proof(worker), **more)


def failed(worker: str, claim: str = "claim", *, status: str, **more: Any) -> Step:
    about = {"message": "it broke", "error_type": "service_unavailable", **more}
    return do("task.fail", gives={"status": status}, **lease(worker, claim), **about)


def ended(worker: str, claim: str = "claim", *, result: Any = None) -> Step:
    return do("task.complete", gives={"status": "succeeded"}, **lease(worker, claim), result=result)


def shown(name: str, **gives: Any) -> Step:
    return do("task.get", **the(name), gives=gives)


def listed(operation: str, *names: str, by: str = "ann", keep: str = "", **params: Any) -> Step:
    """A whole list with exactly these things, by the names of the answers that made them."""
    ids = {"task.list": "task_id", "agent.list": "agent_id", "dead_letter.list": "task_id"}
    field = ids.get(operation, "event_id")
    items = [the(name, field) for name in names]
    return do(operation, by=by, keep=keep, gives={"items": items, "next": None}, **params)


def note(keep: str = "", *, by: str = "ann", **fields: Any) -> Step:
    whole = {"type": "notification", "subject": "s", "payload": keep, **fields}
    return do("event.publish", by=by, keep=keep, gives={"error_id": None}, **whole)
