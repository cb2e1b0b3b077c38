"""What a gateway and its log say of themselves, and whether a book of it says the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.domain.compliance import StreamChecker
from gateway.domain.timestamps import seconds_of
from gateway.ports import Entry
from tests.execution.world import World
from tests.simulation.book import Book, require
from tests.simulation.rules import Life, broken_locks

__all__ = ["LogReader", "compare", "look"]

# Everything is listed on one page.
LIMIT = 500
# What a task's lease and the oldest task's age may be told late, in seconds.
LATE_S = 0.5

Event = dict[str, Any]


class LogReader:
    """
    Reads a log as it grows.

    Attributes:
        events: What it has said so far.
        lives: Of each task, as its events tell it.
        claims: Worker and task of each attempt, in their order.
        locks: By resource, what was last said of a lock that is held.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.lives: dict[str, Life] = {}
        self.claims: list[tuple[str, str]] = []
        self.locks: dict[str, Event] = {}
        self._checker = StreamChecker()
        self._broken: list[Any] = []

    def read(self, entries: Sequence[Entry]) -> None:
        """Read what is new."""
        for entry in entries[len(self.events) :]:
            event = orjson.loads(entry.operator)
            self.events.append(event)
            self._broken += self._checker.feed(event)
            if (task_id := event["task_id"]) is not None:
                life = self.lives.setdefault(task_id, Life(task_id))
                life.hear(event)
                self._broken += life.broken
            if event["type"] == "task_started":
                self.claims.append((event["agent_id"], event["task_id"]))
            elif event["type"] in ("lock_changed", "lock_expired"):
                self.locks.pop(event["resource_key"], None)
                if event.get("state") == "held":
                    self.locks[event["resource_key"]] = event

    def broken(self) -> list[Any]:
        """Say where a rule over time is broken; nothing has to have come to its end."""
        held_in_the_end = "in the end"
        locks = [what for what in broken_locks(self.events) if held_in_the_end not in what]
        return self._broken + locks


async def look(here: World, log: LogReader) -> dict[str, Any]:
    """Ask for everything that can be asked."""
    tasks = await here.call("task.list", limit=LIMIT)
    letters = await here.call("dead_letter.list", limit=LIMIT)
    log.read(here.entries)
    return {
        "stats": await here.call("stats.get"),
        "tasks": {task["task_id"]: task for task in tasks["items"]},
        "letters": {letter["task_id"] for letter in letters["items"]},
        "claims": log.claims,
        "locks": log.locks,
        "head": here.engine.log.head,
    }


def compare(book: Book, found: Mapping[str, Any], now: float) -> None:
    """
    Let the time pass in a book, and see whether it says what was found.

    Raises:
        Impossible: If it does not.
    """
    book.pass_until(now)
    _compare_tasks(book, found)
    _compare_locks(book, found["locks"])
    _compare_counts(book.stats(now), found)


def _compare_tasks(book: Book, found: Mapping[str, Any]) -> None:
    tasks = found["tasks"]
    # Of what was made or taken at the same moment the gateway knows the order.
    require([*tasks] == [*reversed(book.jobs)], f"these are the tasks: {[*book.jobs]}")
    claims = [claim[:2] for claim in book.claims]
    require(found["claims"] == claims, f"these are the attempts: {claims}")
    for job in book.jobs.values():
        task = tasks[job.task_id]
        book.decided(job, task)
        lease = task["lease"] or {"agent_id": None, "term": job.term}
        told = task["status"], task["agent_name"], lease["agent_id"], lease["term"]
        expected = job.status, job.agent, job.holder, job.term
        require(told == expected, f"{expected} is what is told of {task}")
        if job.holder is not None:
            late_s = seconds_of(lease["expires_at"]) - job.lease_ends
            require(abs(late_s) < book.bounds.slack_s + LATE_S, f"{late_s:.3f} s late: {job}")


def _compare_locks(book: Book, locks: Mapping[str, Event]) -> None:
    held = {lock.key: lock for lock in book.locks.values() if lock.state == "held"}
    require(locks.keys() == held.keys(), f"these are held: {held}")
    for key, event in locks.items():
        lock = held[key]
        told = [event[name] for name in ("lock_id", "holder", "term", "task_id")]
        require(told == [lock.lock_id, lock.holder, lock.term, lock.task_id], f"it is {lock}")
        if event["expires_at"] is not None:
            late_s = seconds_of(event["expires_at"]) - lock.ends_at
            require(abs(late_s) < book.bounds.slack_s + LATE_S, f"{late_s:.3f} s late: {lock}")


def _compare_counts(expected: dict[str, Any], found: Mapping[str, Any]) -> None:
    stats = found["stats"]
    told = {
        "by_status": +Counter(stats["tasks"]["by_status"]),
        "by_agent": stats["tasks"]["by_agent"],
        "by_user": stats["by_user"],
        "by_domain": {
            name: {what: counts[what] for what in ("agents", "open", "finished", "failed")}
            for name, counts in stats["by_domain"].items()
        },
        "users": stats["users"],
        "agents": +Counter(stats["agents"]["by_status"]),
        "total": stats["agents"]["total"],
        "depth": stats["queue"]["depth"],
        "letters": found["letters"],
    }
    for name, value in told.items():
        require(value == expected[name], f"{name} is {expected[name]}, it is {value}")
    age_s, expected_s = stats["queue"]["oldest_age"], expected["oldest_age"]
    require((age_s is None) is (expected_s is None), f"the oldest waits for {expected_s} s")
    late_s = (age_s or 0.0) - (expected_s or 0.0)
    require(abs(late_s) < LATE_S, f"the oldest waits for {expected_s} s, not {age_s}")
    require(stats["position"]["offset"] == found["head"], "the position is that of the log")
