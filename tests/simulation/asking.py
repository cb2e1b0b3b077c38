"""
Calls at random, about what is in the book: mostly such as can be taken, some that cannot.

``Choose`` draws one of several; the first ones are the simplest.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from tests.simulation.book import Book, Job, Worker
from tests.simulation.possible import CREW, OPERATOR, Call

__all__ = ["AGENTS", "CAPABILITY", "OFTEN", "Asking", "Lengths"]

Choose = Callable[[Sequence[Any]], Any]

USERS = ("ann", "bob", "cy")
AGENTS = ("writer", "painter")
CAPABILITY = "draw"
KEYS = ("a", "b")
HOLDERS = ("desk", "lamp")
WORKERS_MAX = 5
FAILURES = ("timeout", "rate_limit", "database_error", "invalid_input", "processing_error")
SAID = ({"text": "more"}, {"progress": 0.5}, {"step": "outline", "data": 1})
# Of how many calls that name a lease or a lock one is wrong in some way.
WRONG_ONE_IN = 8

# How often each operation comes beside the others.
_TIMES = {
    "task.claim": 6,
    "task.create": 4,
    "task.fail": 4,
    "lock.acquire": 3,
    "agent.register": 3,
    "task.complete": 2,
    "task.heartbeat": 2,
    "task.release": 2,
    "task.retry": 2,
    "agent.heartbeat": 2,
    "lock.renew": 2,
    "lock.release": 2,
    "dead_letter.retry": 2,
    "dead_letter.discard": 1,
    "task.cancel": 1,
    "task.update": 1,
    "agent.remove": 1,
}
OFTEN = [name for name, times in _TIMES.items() for _ in range(times)]


@dataclasses.dataclass(frozen=True)
class Lengths:
    """How long leases, locks and callers' deadlines are, in seconds; and agents' own limits."""

    leases_s: Sequence[float]
    locks_s: Sequence[float]
    deadlines_s: Sequence[float]
    timeouts_s: dict[str, float]


class Asking:
    """Makes calls."""

    def __init__(self, lengths: Lengths) -> None:
        self._lengths = lengths
        self._sessions = itertools.count(1)

    def call(self, book: Book, operation: str, choose: Choose) -> Call:
        """Make a call of that operation; of another one if there is nothing that it is about."""
        waits = any(job.status in ("pending", "waiting") for job in book.jobs.values())
        if operation == "task.claim" and not waits and choose((True, True, False)):
            operation = "task.create"
        call = MAKERS[operation](self, book, operation, choose)
        if call is None and waits:
            call = self._claim(book, "task.claim", choose)
        return call or self._create(book, "task.create", choose)

    def session(self) -> str:
        """Name a connection that nobody had."""
        return f"session {next(self._sessions)}"

    def registration(self, agents: Sequence[str], session: str | None = None, **about: Any) -> Call:
        """A worker comes, or comes back."""
        told = [{"name": name, "timeout": self._lengths.timeouts_s[name]} for name in agents]
        params = {"handle": "hand", "capabilities": [], "domain": None, **about}
        return Call("agent.register", CREW, {**params, "agents": told, "session": session})

    # --- for users --------------------------------------------------------------------------

    def _create(self, book: Book, operation: str, choose: Choose) -> Call:
        priority, user = choose((5, 6, 10, 1, 0)), choose(USERS)
        params = {
            **choose(({"agent": "writer"}, {"agent": "painter"}, {"capability": CAPABILITY})),
            "input": choose((1, 2)),
            "priority": priority,
            "max_attempts": choose((1, 2, 3)),
            "timeout": choose(self._lengths.deadlines_s),
            **choose(({}, {}, {"idempotency_key": "x"}, {"idempotency_key": "y"})),
        }
        if priority == 0:  # only operators may ask for what is critical
            return Call(operation, OPERATOR, {**params, "user_id": user})
        return Call(operation, user, params)

    def _of_task(self, book: Book, operation: str, choose: Choose) -> Call | None:
        """By its owner mostly, of a task that is open mostly."""
        jobs = list(book.jobs.values())
        if not jobs:
            return None
        live = [job for job in jobs if job.live]
        job: Job = choose(live if live and choose((True, True, False)) else jobs)
        by = choose((job.user, job.user, job.user, OPERATOR, *USERS))
        return Call(operation, by, {"task_id": job.task_id})

    def _of_letter(self, book: Book, operation: str, choose: Choose) -> Call | None:
        letters = [job for job in book.jobs.values() if job.letter]
        jobs = letters or [job for job in book.jobs.values() if not job.live]
        return Call(operation, OPERATOR, {"task_id": choose(jobs).task_id}) if jobs else None

    # --- for workers ------------------------------------------------------------------------

    def _register(self, book: Book, operation: str, choose: Choose) -> Call:
        """A new worker, or one that comes back, mostly one that was lost."""
        workers = list(book.workers.values())
        session = choose((None, self.session()))
        if len(workers) < WORKERS_MAX and choose((True, False)):
            agents = choose((AGENTS, AGENTS[:1], AGENTS[1:]))
            capabilities, domain = choose(([], [CAPABILITY])), choose((None, "zone"))
            return self.registration(agents, session, capabilities=capabilities, domain=domain)
        lost = [worker for worker in workers if worker.gone or not worker.connected]
        worker: Worker = choose(lost or workers)
        secret = choose((worker.secret,) * (WRONG_ONE_IN - 1) + ("a secret that was guessed",))
        return self.registration(
            worker.agents,
            session,
            capabilities=list(worker.capabilities),
            domain=worker.domain,
            agent_id=worker.agent_id,
            agent_secret=secret,
        )

    def _of_worker(self, book: Book, operation: str, choose: Choose) -> Call | None:
        workers = [worker for worker in book.workers.values() if worker.connected]
        there = [worker for worker in workers if not worker.gone]
        if there and choose((True,) * WRONG_ONE_IN + (False,)):
            workers = there
        return Call(operation, CREW, _proof(choose(workers))) if workers else None

    def _claim(self, book: Book, operation: str, choose: Choose) -> Call | None:
        """The next task, or any that there ever was."""
        asks = self._of_worker(book, operation, choose)
        if asks is None:
            return None
        params = {**asks.params, "lease_ttl": choose(self._lengths.leases_s)}
        if book.jobs and choose((False, False, True)):
            params["task_id"] = choose(list(book.jobs))
        if (key := choose((None, *KEYS))) is not None:
            params["resource_key"] = key
        return dataclasses.replace(asks, params=params)

    def _of_claim(self, book: Book, operation: str, choose: Choose) -> Call | None:
        """A report on a claim, in force mostly."""
        held = [claim for claim in book.claims if _in_force(book, claim)]
        if not held and not (book.claims and choose((False, False, True))):
            return None
        agent_id, task_id, term = choose(
            held if held and choose((True, True, False)) else book.claims
        )
        worker = book.workers[agent_id]
        wrong = choose((None,) * (WRONG_ONE_IN - 1) + ("worker", "term", "secret"))
        if wrong == "worker":
            worker = choose(list(book.workers.values()))
        if not worker.connected:
            return None
        params = {**_proof(worker), "task_id": task_id, "term": term + (wrong == "term")}
        if wrong == "secret":
            params["agent_secret"] = "a secret that was guessed"
        if operation == "task.heartbeat" and choose((True, False)):
            params["lease_ttl"] = choose(self._lengths.leases_s)
        elif operation == "task.update":
            params |= choose(SAID)
        elif operation == "task.complete":
            params["result"] = 1
        elif operation == "task.fail":
            params |= {"message": "no", "error_type": choose(FAILURES)}
        return Call(operation, CREW, params)

    # --- for holders of locks ---------------------------------------------------------------

    def _acquire(self, book: Book, operation: str, choose: Choose) -> Call:
        """By one of two users under any name, or by a worker under its own."""
        holder = choose((*HOLDERS, *book.workers))
        by = choose(USERS[:2]) if holder in HOLDERS else CREW
        params = {"resource_key": choose(KEYS), "holder": holder}
        return Call(operation, by, {**params, "ttl": choose(self._lengths.locks_s)})

    def _of_lock(self, book: Book, operation: str, choose: Choose) -> Call | None:
        """By its holder mostly, of a lock that is held mostly."""
        locks = list(book.locks.values())
        if not locks:
            return None
        held = [lock for lock in locks if lock.state == "held"]
        lock = choose(held if held and choose((True, True, False)) else locks[-4:])
        wrong = choose((None,) * (WRONG_ONE_IN - 1) + ("holder", "term", "owner"))
        params = {
            "lock_id": lock.lock_id,
            "holder": choose(HOLDERS) if wrong == "holder" else lock.holder,
            "term": lock.term + (wrong == "term"),
        }
        if operation == "lock.renew":
            params["ttl"] = choose(self._lengths.locks_s)
        return Call(operation, choose(USERS) if wrong == "owner" else lock.owner, params)


MAKERS: dict[str, Callable[[Asking, Book, str, Choose], Call | None]] = {
    "task.create": Asking._create,
    "task.cancel": Asking._of_task,
    "task.retry": Asking._of_task,
    "dead_letter.retry": Asking._of_letter,
    "dead_letter.discard": Asking._of_letter,
    "agent.register": Asking._register,
    "agent.heartbeat": Asking._of_worker,
    "agent.remove": Asking._of_worker,
    "task.claim": Asking._claim,
    "task.heartbeat": Asking._of_claim,
    "task.update": Asking._of_claim,
    "task.complete": Asking._of_claim,
    "task.fail": Asking._of_claim,
    "task.release": Asking._of_claim,
    "lock.acquire": Asking._acquire,
    "lock.renew": Asking._of_lock,
    "lock.release": Asking._of_lock,
}


def _proof(worker: Worker) -> dict[str, Any]:
    return {"agent_id": worker.agent_id, "agent_secret": worker.secret}


def _in_force(book: Book, claim: tuple[str, str, int]) -> bool:
    agent_id, task_id, term = claim
    job = book.jobs[task_id]
    return (job.holder, job.term) == (agent_id, term)
