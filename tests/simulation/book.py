"""
The book: what somebody with paper and pencil knows of a gateway, and counts of it.

It is written from the contract and knows nothing of the gateway's code: a few records in dicts,
changed by what the gateway has answered (``possible``), and by time, which ends what was to end.
All times are seconds since the Unix epoch.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gateway.domain.timestamps import seconds_of

__all__ = ["ENDED", "Book", "Bounds", "Impossible", "Job", "Lock", "Worker", "require"]

ENDED = ("succeeded", "failed", "cancelled", "dead_lettered")
FAILED = ("failed", "dead_lettered")
# One priority step for each of these, in seconds, and never past this priority.
AGING_S, LIFTED_TO = 10.0, 1
# One agent's retries within this time, in seconds; more may be refused.
BUDGET, BUDGET_S = 10, 30.0
# When a call begins that is answered at once is known to this, in seconds.
CALL_S = 0.1


class Impossible(AssertionError):
    """No gateway that keeps the contract does so."""


def require(holds: bool, what: str) -> None:
    """Raise ``Impossible``, unless it holds that ``what``."""
    if not holds:
        raise Impossible(f"not so: {what}")


@dataclasses.dataclass(frozen=True)
class Bounds:
    """
    What the gateway was told when it was started. Times are seconds.

    Attributes:
        limits_s: How long an attempt of each agent may take until its worker loses the task.
        slack_s: How exactly the gateway's times can be known from here.
    """

    limits_s: Mapping[str, float]
    queue_s: float
    missed_s: float
    unhealthy_s: float
    offline_s: float
    retry_base_s: float
    retry_max_s: float
    slack_s: float


@dataclasses.dataclass
class Job:
    """
    One task.

    Attributes:
        number: The place in the order in which they were made.
        spent: Attempts that count, of the ``tries`` that it may have.
        due_at: From when on it may be tried.
        since: From when on it ages.
        pending_from: From when on it waits for any holder at all.
        domain: Of the worker that had it last.
        letter: Whether it is a dead letter that is still listed.
        undecided: When it failed, if the gateway has not said yet what comes next.
    """

    task_id: str
    number: int
    user: str
    agent: str | None
    capability: str | None
    priority: int
    tries: int
    timeout_s: float
    input: Any
    made_at: float
    since: float
    pending_from: float
    status: str = "pending"
    spent: int = 0
    attempts: int = 0
    term: int = 0
    holder: str | None = None
    lease_s: float = 0.0
    lease_ends: float = math.inf
    limit_ends: float = math.inf
    due_at: float = -math.inf
    recoveries: int = 0
    domain: str | None = None
    letter: bool = False
    retried_as: str | None = None
    undecided: float | None = None

    @property
    def live(self) -> bool:
        return self.status not in ENDED


@dataclasses.dataclass
class Worker:
    """One worker; without a session it calls over HTTP, and has no connection to lose."""

    agent_id: str
    secret: str
    agents: tuple[str, ...]
    capabilities: tuple[str, ...]
    domain: str | None
    session: str | None
    heard_at: float
    connected: bool = True
    gone: bool = False

    def can_do(self, job: Job) -> bool:
        """Whether a task is its work."""
        if job.agent is not None:
            return job.agent in self.agents
        return job.capability in self.capabilities


@dataclasses.dataclass
class Lock:
    """One holder's time with a lock; with a task it has no end of its own."""

    lock_id: str
    key: str
    holder: str
    owner: str
    term: int
    task_id: str | None = None
    ends_at: float = math.inf
    state: str = "held"


class Book:
    """
    Everything that is known.

    Attributes:
        jobs: Tasks by id, in the order in which they were made.
        workers: By agent_id.
        locks: All that ever were, by lock_id.
        newest: The id of the newest lock of each resource.
        orders: What was asked under an idempotency key of a user, and the task that it made.
        claims: All that were given: worker, task and term.
        turns: By user the number of the claim that was its last turn.
        retries: When which agent was to try again.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.jobs: dict[str, Job] = {}
        self.workers: dict[str, Worker] = {}
        self.locks: dict[str, Lock] = {}
        self.newest: dict[str, str] = {}
        self.orders: dict[tuple[str, str], tuple[Any, str]] = {}
        self.claims: list[tuple[str, str, int]] = []
        self.turns: dict[str, int] = {}
        self.retries: list[tuple[str | None, float]] = []

    def copy(self) -> Book:
        """Make a second one, to try something in it."""
        other = Book(self.bounds)
        for name, known in vars(self).items():
            if name in ("jobs", "workers", "locks"):
                known = {key: copy.copy(record) for key, record in known.items()}
            setattr(other, name, copy.copy(known))
        return other

    # --- what is so -------------------------------------------------------------------------

    def status_of(self, worker: Worker, now: float) -> str:
        """Tell how a worker is."""
        silent_s = now - worker.heard_at
        if worker.gone or silent_s >= self.bounds.offline_s:
            return "offline"
        if silent_s >= self.bounds.unhealthy_s:
            return "unhealthy"
        return "healthy" if worker.connected and silent_s < self.bounds.missed_s else "suspect"

    def lock_on(self, key: str) -> Lock | None:
        """Give the lock that is held on a resource."""
        lock = self.locks.get(self.newest.get(key, ""))
        return lock if lock is not None and lock.state == "held" else None

    def first_for(self, worker: Worker, now: float) -> Job | None:
        """Give the task that is a worker's next: by step, then by turn, then first come."""
        waits = [
            job
            for job in self.jobs.values()
            if job.status in ("pending", "waiting") and job.due_at <= now and worker.can_do(job)
        ]
        oldest: dict[int, float] = {}
        for job in waits:
            oldest[job.priority] = min(job.since, oldest.get(job.priority, math.inf))

        def place(job: Job) -> tuple[int, int, int]:
            # A priority is lifted as a whole, or those that come later would have no turn.
            lifted = job.priority - int((now - oldest[job.priority]) // AGING_S)
            step = min(job.priority, max(LIFTED_TO, lifted))
            return step, self.turns.get(job.user, 0), job.number

        return min(waits, key=place, default=None)

    def stats(self, now: float) -> dict[str, Any]:
        """Count everything, in the plainest way."""
        jobs = list(self.jobs.values())
        waits = [job for job in jobs if job.status in ("pending", "waiting")]
        statuses = [self.status_of(worker, now) for worker in self.workers.values()]
        there = Counter(
            worker.domain
            for worker, status in zip(self.workers.values(), statuses, strict=True)
            if status != "offline" and worker.domain is not None
        )
        domains = {name: {"agents": 0, **_counts()} for name in there}
        domains |= {name: {"agents": 0, **c} for name, c in _grouped(jobs, "domain").items()}
        for name, counts in domains.items():
            counts["agents"] = there[name]
        users = _grouped(jobs, "user")
        return {
            "by_status": +Counter(job.status for job in jobs),
            "by_agent": Counter(job.agent for job in jobs if job.agent is not None),
            "by_user": users,
            "by_domain": domains,
            "users": len(users),
            "agents": Counter(statuses),
            "total": len(self.workers),
            "depth": len(waits),
            "oldest_age": now - waits[0].made_at if waits else None,
            "letters": {job.task_id for job in jobs if job.letter},
        }

    # --- what changes -----------------------------------------------------------------------

    def leave(self, job: Job) -> None:
        """A task leaves its holder, and with it the locks that are held for it."""
        job.holder = None
        job.lease_ends = job.limit_ends = math.inf
        for lock in self.locks.values():
            if lock.state == "held" and lock.task_id == job.task_id:
                self.free(lock, "released")

    def free(self, lock: Lock, state: str) -> None:
        """A lock has ended."""
        lock.state, lock.ends_at = state, math.inf

    def end(self, job: Job, status: str) -> None:
        """A task has come to its one end."""
        self.leave(job)
        job.status, job.letter, job.undecided = status, status == "dead_lettered", None

    def give_back(self, job: Job, at: float) -> None:
        """A task is as it was before it was taken."""
        self.leave(job)
        job.spent -= 1
        job.status, job.due_at, job.since, job.pending_from = "pending", -math.inf, job.made_at, at

    def lose(self, job: Job, at: float) -> None:
        """A task's worker is lost; another one may go on at once."""
        self.leave(job)
        job.recoveries += 1
        job.status, job.due_at, job.since = "waiting", at, at
        if job.spent >= job.tries:
            self.end(job, "dead_lettered")

    def fail(self, job: Job, at: float) -> None:
        """An attempt has failed as attempts may that are tried again."""
        self.leave(job)
        job.recoveries += 1
        job.status, job.undecided, job.due_at = "waiting", at, math.inf
        if job.spent >= job.tries:
            self.end(job, "dead_lettered")

    def decided(self, job: Job, told: Mapping[str, Any]) -> None:
        """Take in what comes after a failure: the time until then is drawn by lot."""
        at, bounds = job.undecided, self.bounds
        if at is None:
            return
        whole_s = min(bounds.retry_max_s, bounds.retry_base_s * 2.0 ** (job.recoveries - 1))
        left_s = job.made_at + job.timeout_s - at
        lately = sum(a == job.agent and when > at - BUDGET_S - 1 for a, when in self.retries)
        possible = {
            "waiting": whole_s / 2 < left_s,
            "failed": whole_s > left_s - CALL_S,
            "dead_lettered": lately >= BUDGET,
        }
        require(possible.get(told["status"], False), f"{job} becomes {told['status']}")
        if told["status"] != "waiting":
            self.end(job, told["status"])
            return
        job.undecided = None
        job.due_at = job.since = seconds_of(told["next_attempt_at"])
        waits_s = job.due_at - at
        slack_s = bounds.slack_s + CALL_S
        require(whole_s / 2 - slack_s <= waits_s <= whole_s + slack_s, f"{job} waits {waits_s} s")
        self.retries.append((job.agent, at))

    # --- what ends by time ------------------------------------------------------------------

    def pass_until(self, now: float) -> None:
        """Let everything end that has ended by now, in its order."""
        while True:
            end = min(self.ends(), key=lambda end: end[0], default=None)
            if end is None or end[0] > now:
                return
            at, then = end
            then(at)

    def ends(self) -> Iterator[tuple[float, Callable[[float], None]]]:
        """Give all that will end by time: when, and what then."""
        for job in self.jobs.values():
            if job.live:
                yield from self._ends_of(job)
        for lock in self.locks.values():
            if lock.state == "held":
                yield lock.ends_at, lambda _, lock=lock: self.free(lock, "expired")  # type: ignore[misc]

    def _ends_of(self, job: Job) -> Iterator[tuple[float, Callable[[float], None]]]:
        yield job.made_at + job.timeout_s, lambda _: self.end(job, "failed")
        if job.status == "pending":
            yield job.pending_from + self.bounds.queue_s, lambda _: self.end(job, "dead_lettered")
        if job.status == "running":
            worker = self.workers[job.holder or ""]
            yield job.lease_ends, lambda at: self.lose(job, at)
            yield job.limit_ends, lambda at: self._limit_over(job, worker, at)
            if worker.session is not None:
                yield worker.heard_at + self.bounds.unhealthy_s, lambda at: self.lose(job, at)

    def _limit_over(self, job: Job, worker: Worker, at: float) -> None:
        """Of a worker that is well the task is taken away; with any other it has timed out."""
        if self.status_of(worker, at) == "healthy":
            self.lose(job, at)
        else:
            self.fail(job, at)


def _counts() -> dict[str, int]:
    return {"open": 0, "finished": 0, "failed": 0}


def _grouped(jobs: list[Job], by: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for job in jobs:
        if (name := getattr(job, by)) is None:
            continue
        counts = found.setdefault(name, _counts())
        counts["open" if job.live else "finished"] += 1
        counts["failed"] += job.status in FAILED
    return found
