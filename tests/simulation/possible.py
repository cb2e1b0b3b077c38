"""
Which answers are possible: each operation as the contract has it, entered into the book.

A call that has to be refused may be refused for any reason that holds. Of calls at the same moment
each is entered as if it were the only one; whoever enters them looks for an order that explains
all answers. What an answer tells beside what it gives (a lease's end, whether somebody serves a
task) may then be of a moment before or after its own, and is not judged.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from gateway.domain.timestamps import seconds_of
from tests.simulation.book import ENDED, Book, Impossible, Job, Lock, Worker, require

__all__ = ["CREW", "OPERATOR", "Answer", "Call", "enter"]

# Who operates the gateway, and whose workers they are; all others are users.
OPERATOR, CREW = "ops", "crew"
# Failures that a gateway tries again by itself.
RETRIED = ("timeout", "rate_limit", "network_error", "database_error", "service_unavailable")

Params = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of an operation."""

    operation: str
    by: str
    params: Params

    def __str__(self) -> str:
        told = {name: value for name, value in self.params.items() if name != "agent_secret"}
        return f"{self.operation} by {self.by} {told}"


@dataclasses.dataclass(frozen=True)
class Answer:
    """
    What came of a call.

    Attributes:
        code: ``ok``, or the code of the refusal.
        at, until: When it was asked and answered.
        alone: Whether no other call was under way.
        began: The task of an attempt that a claim began and did not give, since another call at the
            same moment had ended it by then; None: there was none.
    """

    code: str
    result: Any
    at: float
    until: float
    alone: bool
    began: str | None = None

    def __str__(self) -> str:
        return f"{self.code} {self.result} ({self.at:.3f} to {self.until:.3f})"

    def taken(self, *refusals: str | None) -> bool:
        """Tell whether the call was taken; of several refusals any is possible."""
        possible = {refusal for refusal in refusals if refusal is not None} or {"ok"}
        require(self.code in possible, " or ".join(sorted(possible)))
        return self.code == "ok"


def enter(book: Book, call: Call, answer: Answer) -> None:
    """
    Take in one call with its answer.

    Raises:
        Impossible: If the answer cannot be.
    """
    try:
        ENTRIES[call.operation](book, call, answer)
    except Impossible as error:
        raise Impossible(f"{error}\n    {call}\n    was answered {answer}") from None


# --- tasks --------------------------------------------------------------------------------------


def _create(book: Book, call: Call, answer: Answer) -> None:
    asked = {k: v for k, v in call.params.items() if k not in ("user_id", "idempotency_key")}
    user, key = call.params.get("user_id", call.by), call.params.get("idempotency_key", "")
    before = book.orders.get((user, key))
    if before is not None:
        if answer.taken(None if before[0] == asked else "idempotency_key_reused"):
            require(answer.result["task_id"] == before[1], f"the key stands for {before[1]}")
        return
    if not answer.taken():
        return
    job = _new(
        book,
        answer,
        user=user,
        agent=asked.get("agent"),
        capability=asked.get("capability"),
        priority=asked["priority"],
        tries=asked["max_attempts"],
        timeout_s=asked["timeout"],
        input=asked["input"],
    )
    if key:
        book.orders[user, key] = asked, job.task_id


def _new(book: Book, answer: Answer, **order: Any) -> Job:
    task_id, at = answer.result["task_id"], answer.at
    require(task_id not in book.jobs, f"{task_id} is a new task")
    order |= {"number": len(book.jobs), "made_at": at, "since": at, "pending_from": at}
    job = book.jobs[task_id] = Job(task_id, **order)
    served = any(
        worker.can_do(job) and book.status_of(worker, at) in ("healthy", "suspect")
        for worker in book.workers.values()
    )
    if answer.alone:
        require((answer.result.get("warning") == "no_worker") != served, f"served: {served}")
    return job


def _seen(book: Book, call: Call, answer: Answer, *wrong: str) -> Job | None:
    """Give the task that a user asks about; in a status that is wrong it is refused."""
    job = book.jobs.get(call.params["task_id"])
    if job is None or call.by not in (OPERATOR, job.user):
        answer.taken("not_found")
        return None
    return job if answer.taken("conflict" if job.status in wrong else None) else None


def _cancel(book: Book, call: Call, answer: Answer) -> None:
    job = _seen(book, call, answer, *ENDED)
    if job is not None:
        book.end(job, "cancelled")


def _retry(book: Book, call: Call, answer: Answer) -> None:
    job = _seen(book, call, answer, "pending", "running", "succeeded")
    if job is None:
        return
    if job.live:
        job.due_at, job.since, job.undecided = answer.at, answer.at, None
    else:
        _again(book, job, answer)


def _again(book: Book, job: Job, answer: Answer) -> None:
    """A task that has ended makes a new one, and a dead letter the same one each time."""
    if job.letter and job.retried_as is not None:
        require(answer.result["task_id"] == job.retried_as, f"it is {job.retried_as}")
        return
    require(answer.result["retry_of"] == job.task_id, f"{job.task_id} is tried again")
    same = ("user", "agent", "capability", "priority", "tries", "timeout_s", "input")
    new = _new(book, answer, **{name: getattr(job, name) for name in same})
    if job.letter:
        job.retried_as = new.task_id


def _letter(book: Book, call: Call, answer: Answer) -> Job | None:
    job = book.jobs.get(call.params["task_id"])
    there = job is not None and job.letter
    return job if answer.taken(None if there else "not_found") else None


def _retry_letter(book: Book, call: Call, answer: Answer) -> None:
    if (job := _letter(book, call, answer)) is not None:
        _again(book, job, answer)


def _discard(book: Book, call: Call, answer: Answer) -> None:
    if (job := _letter(book, call, answer)) is not None:
        require(answer.result["input"] == job.input, f"its payload is {job.input}")
        job.letter = False


# --- claims, and reports under them -------------------------------------------------------------


def _proved(book: Book, call: Call, answer: Answer) -> Worker | None:
    """Give the worker that calls; None: it was refused, as it has to be."""
    worker = book.workers[call.params["agent_id"]]
    wrong = call.params["agent_secret"] != worker.secret
    if wrong or worker.gone:
        answer.taken("not_permitted" if wrong else None, "not_found" if worker.gone else None)
        return None
    worker.heard_at = answer.at
    return worker


def _claim(book: Book, call: Call, answer: Answer) -> None:
    if (worker := _proved(book, call, answer)) is None:
        return
    if answer.began is not None:
        require(answer.began in book.jobs, f"there is a task {answer.began}")
        _begun(book, book.jobs[answer.began], worker, call.params, answer)
        if answer.code != "ok" or answer.result is None:
            return
    if "task_id" in call.params:
        _claim_one(book, worker, call.params, answer)
    else:
        _claim_next(book, worker, call.params, answer)


def _claim_one(book: Book, worker: Worker, params: Params, answer: Answer) -> None:
    job = book.jobs[params["task_id"]]
    refusals = [_blocked(book, params, worker, job)]
    if job.holder != worker.agent_id:
        refusals += [
            None if worker.can_do(job) else "conflict",
            None if job.live else "conflict",
            None if job.holder is None else "task_claimed",
            None if job.due_at <= answer.until else "conflict",
        ]
    if answer.taken(*refusals):
        _claimed(book, job, worker, params, answer)


def _claim_next(book: Book, worker: Worker, params: Params, answer: Answer) -> None:
    # A step of aging or a backoff may be over just now, or not yet.
    moments = answer.at - book.bounds.slack_s, answer.until + book.bounds.slack_s
    first = [book.first_for(worker, moment) for moment in moments]
    given = None
    if answer.code == "ok" and answer.result is not None:
        given = book.jobs.get(answer.result["task_id"])
        require(given is not None, f"there is a task {answer.result['task_id']}")
    if answer.taken(_blocked(book, params, worker, given)):
        require(given in first, f"it is the turn of {first[0]}")
        if given is not None:
            _claimed(book, given, worker, params, answer)


def _blocked(book: Book, params: Params, worker: Worker, job: Job | None) -> str | None:
    """Tell whether others hold the lock that a claim asks for, or the worker for another task."""
    lock = book.lock_on(params.get("resource_key", ""))
    if lock is None:
        return None
    mine = (None,) if job is None else (None, job.task_id)
    return None if lock.holder == worker.agent_id and lock.task_id in mine else "lock_held"


def _claimed(book: Book, job: Job, worker: Worker, params: Params, answer: Answer) -> None:
    claim = answer.result
    if job.holder is None:
        require(claim["term"] > job.term, f"term {claim['term']} comes after term {job.term}")
        _begun(book, job, worker, params, answer, term=claim["term"])
        _leased(book, job, answer, params["lease_ttl"])
    elif (key := params.get("resource_key")) is not None and (
        (lock := book.lock_on(key)) is None or lock.task_id is None
    ):
        _leased(book, job, answer, params["lease_ttl"])  # in one entry with its new lock
    else:
        _renewed(book, job, answer, params["lease_ttl"])
    told = [claim[name] for name in ("agent_id", "term", "attempt", "user_id", "input")]
    require(told == [job.holder, job.term, job.attempts, job.user, job.input], f"it is {job}")
    if (key := params.get("resource_key")) is not None:
        shown = claim["lock"]
        lock = book.lock_on(key) or _new_lock(book, key, worker.agent_id, CREW, shown)
        lock.task_id, lock.ends_at = job.task_id, math.inf
        told = [shown[name] for name in ("lock_id", "resource_key", "term")]
        require(told == [lock.lock_id, lock.key, lock.term], f"it is {lock}")


def _begun(
    book: Book, job: Job, worker: Worker, params: Params, answer: Answer, *, term: int = 1
) -> None:
    """A worker has taken a task; under which term is not known if the worker was not told."""
    require(job.status in ("pending", "waiting"), f"it waits for a holder: {job}")
    job.status, job.holder, job.term = "running", worker.agent_id, max(job.term, term)
    book.claims.append((worker.agent_id, job.task_id, job.term))
    book.turns[job.user] = len(book.claims)
    job.spent, job.attempts = job.spent + 1, job.attempts + 1
    job.agent, job.domain = job.agent or worker.agents[0], worker.domain
    job.due_at, job.since = -math.inf, job.made_at
    job.lease_s = params["lease_ttl"]
    job.limit_ends = answer.at + book.bounds.limits_s[job.agent]
    if (lock := book.lock_on(params.get("resource_key", ""))) is not None:
        lock.task_id, lock.ends_at = job.task_id, math.inf


def _leased(book: Book, job: Job, answer: Answer, lease_s: float) -> None:
    job.lease_ends = _end_of(book, answer, lease_s, answer.result["lease_expires_at"])


def _end_of(book: Book, answer: Answer, length_s: float, told: str | None) -> float:
    """Tell when it ends what lasts for so long from now on."""
    expected = answer.at + length_s
    if not answer.alone:
        return expected
    require(told is not None, "it has an end of its own")
    late_s, slack_s = seconds_of(told or "") - expected, book.bounds.slack_s
    require(-slack_s <= late_s <= answer.until - answer.at + slack_s, f"{late_s:.3f} s late")
    return expected + late_s


def _held(book: Book, call: Call, answer: Answer) -> Job | None:
    """Give the task that a worker reports on; None: it was refused, as it has to be."""
    if (worker := _proved(book, call, answer)) is None:
        return None
    job = book.jobs[call.params["task_id"]]
    holds = (job.holder, job.term) == (worker.agent_id, call.params["term"])
    return job if answer.taken(None if holds else "stale_term") else None


def _renew(book: Book, call: Call, answer: Answer) -> None:
    """A heartbeat and an update renew a lease, where that moves its end by a third."""
    if (job := _held(book, call, answer)) is not None:
        _renewed(book, job, answer, call.params.get("lease_ttl"))


def _renewed(book: Book, job: Job, answer: Answer, asked_s: float | None) -> None:
    """A holder asks for a fresh lease; without a length it is never shortened."""
    lease_s, slack_s = asked_s or job.lease_s, book.bounds.slack_s
    gained_s = [at + lease_s - job.lease_ends for at in (answer.at, answer.until)]
    moved_s = gained_s if asked_s is None else [abs(one) for one in gained_s]
    if min(moved_s) - slack_s <= lease_s / 3 <= max(moved_s) + slack_s:
        # It was decided some time between them.
        told = answer.result["lease_expires_at"]
        renews = told is not None and abs(seconds_of(told) - job.lease_ends) > slack_s
    else:
        renews = min(moved_s) > lease_s / 3
    if renews:
        _leased(book, job, answer, lease_s)


def _complete(book: Book, call: Call, answer: Answer) -> None:
    if (job := _held(book, call, answer)) is not None:
        book.end(job, "succeeded")


def _fail(book: Book, call: Call, answer: Answer) -> None:
    if (job := _held(book, call, answer)) is None:
        return
    if call.params["error_type"] not in RETRIED:
        book.end(job, "failed")
        return
    book.fail(job, answer.at)
    if answer.alone or answer.result["status"] in ENDED:
        book.decided(job, answer.result)


def _release(book: Book, call: Call, answer: Answer) -> None:
    if (job := _held(book, call, answer)) is not None:
        book.give_back(job, answer.at)


# --- workers ------------------------------------------------------------------------------------


def _register(book: Book, call: Call, answer: Answer) -> None:
    params, told = call.params, answer.result
    known = book.workers.get(params.get("agent_id", ""))
    wrong = known is not None and known.secret != params["agent_secret"]
    if not answer.taken("not_permitted" if wrong else None):
        return
    agent_id = told["agent_id"]
    require((agent_id in book.workers) is (known is not None), "only a new worker has a new id")
    book.workers[agent_id] = Worker(
        agent_id=agent_id,
        secret=told["agent_secret"],
        agents=tuple(agent["name"] for agent in params["agents"]),
        capabilities=tuple(params["capabilities"]),
        domain=params["domain"],
        session=params["session"],
        heard_at=answer.at,
    )
    holds = {(job.task_id, job.term) for job in book.jobs.values() if job.holder == agent_id}
    found = {(task["task_id"], task["term"]) for task in told["tasks"]}
    require(found == holds, f"it holds {holds}")


def _beat(book: Book, call: Call, answer: Answer) -> None:
    if _proved(book, call, answer) is not None and answer.taken():
        require(answer.result["status"] == "healthy", "a worker that is heard is healthy")


def _remove(book: Book, call: Call, answer: Answer) -> None:
    worker = _proved(book, call, answer)
    if worker is not None and answer.taken():
        worker.gone = True
        for job in book.jobs.values():
            if job.holder == worker.agent_id:
                book.give_back(job, answer.at)


# --- locks --------------------------------------------------------------------------------------


def _acquire(book: Book, call: Call, answer: Answer) -> None:
    key, holder = call.params["resource_key"], call.params["holder"]
    lock = book.lock_on(key)
    if answer.code == "lock_expired" and not answer.alone:
        return  # it was given back at the same moment, before its holder was told of it
    taken = lock is not None and lock.holder != holder
    held = [lock for lock in book.locks.values() if lock.state == "held"]
    others = any(lock.holder == holder and lock.owner != call.by for lock in held)
    if answer.taken("lock_held" if taken else None, "not_permitted" if others else None):
        require(answer.result["renewed"] is (lock is not None), f"held before: {lock}")
        lock = lock or _new_lock(book, key, holder, call.by, answer.result)
        _lasts(book, lock, call, answer)


def _new_lock(book: Book, key: str, holder: str, owner: str, told: Params) -> Lock:
    before = book.locks.get(book.newest.get(key, ""))
    require(told["lock_id"] not in book.locks, "a new holder has a new lock")
    require(before is None or told["term"] > before.term, f"its term comes after {before}")
    lock = Lock(told["lock_id"], key, holder, owner, told["term"])
    book.locks[lock.lock_id] = lock
    book.newest[key] = lock.lock_id
    return lock


def _lasts(book: Book, lock: Lock, call: Call, answer: Answer) -> None:
    """Take in that a lock is held from now on; one that is held for a task ends with that."""
    told = [answer.result[name] for name in ("lock_id", "resource_key", "holder", "term")]
    require(told == [lock.lock_id, lock.key, lock.holder, lock.term], f"it is {lock}")
    ends_at = answer.result["expires_at"]
    if lock.task_id is None:
        lock.ends_at = _end_of(book, answer, call.params["ttl"], ends_at)
    elif answer.alone:
        require(ends_at is None, "it ends with its task")


def _mine(book: Book, call: Call, answer: Answer, *unless: str) -> Lock | None:
    """Give the lock that its holder speaks of; it has to be held, or in a state of ``unless``."""
    lock = book.locks[call.params["lock_id"]]
    named = call.params["holder"], call.params["term"]
    refusals = [
        None if call.by in (lock.owner, OPERATOR) else "not_permitted",
        None if named == (lock.holder, lock.term) else "lock_held",
    ]
    if book.newest[lock.key] != lock.lock_id:
        refusals.append("not_found")
    elif lock.state not in ("held", *unless):
        refusals.append("lock_expired")
    return lock if answer.taken(*refusals) else None


def _renew_lock(book: Book, call: Call, answer: Answer) -> None:
    if (lock := _mine(book, call, answer)) is not None:
        _lasts(book, lock, call, answer)


def _release_lock(book: Book, call: Call, answer: Answer) -> None:
    if (lock := _mine(book, call, answer, "released")) is not None:
        require(answer.result["state"] == "released", "it is given back")
        book.free(lock, "released")


ENTRIES: Mapping[str, Callable[[Book, Call, Answer], None]] = {
    "task.create": _create,
    "task.cancel": _cancel,
    "task.retry": _retry,
    "dead_letter.retry": _retry_letter,
    "dead_letter.discard": _discard,
    "task.claim": _claim,
    "task.heartbeat": _renew,
    "task.update": _renew,
    "task.complete": _complete,
    "task.fail": _fail,
    "task.release": _release,
    "agent.register": _register,
    "agent.heartbeat": _beat,
    "agent.remove": _remove,
    "lock.acquire": _acquire,
    "lock.renew": _renew_lock,
    "lock.release": _release_lock,
}
