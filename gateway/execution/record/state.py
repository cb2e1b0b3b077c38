"""
The folds, live: everything the gateway knows, computed from the log's entries in order.

The log is the one writer: ``apply`` is called with each entry, once. What is too old or too large
is let go of at bounds, and nothing else changes what is here. A decision reads the folds and is
appended with the last offset that it has read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from gateway.domain import dead_letter
from gateway.domain import task as tasks
from gateway.domain import worker as workers
from gateway.domain.breaker import Breaker, BreakerRules, Outcome, least_missed
from gateway.domain.causes import Causes
from gateway.domain.concurrency import Concurrencies, upstream_of
from gateway.domain.dead_letter import DeadLetters
from gateway.domain.diagnostics import logger_of
from gateway.domain.facts import (
    Fact,
    Failed,
    Finished,
    Leased,
    Locked,
    Registered,
    StatusChanged,
    Submitted,
    Unread,
    from_json,
)
from gateway.domain.failure_domain import FailureDomains
from gateway.domain.holds import Holds
from gateway.domain.lock import Locks
from gateway.domain.mode import Mode
from gateway.domain.queue import Queue
from gateway.domain.recovery import STRATEGIES, RetryBudget, RetryBudgets
from gateway.domain.recovery_times import RecoveryTimes
from gateway.domain.settings import Settings
from gateway.domain.shares import Shares
from gateway.domain.tally import Tally, place_of
from gateway.domain.task import Task
from gateway.domain.thread import Threads
from gateway.domain.workforce import Workforce
from gateway.execution.record.open_ends import OpenEnds
from gateway.execution.record.order_keys import OrderKeys
from gateway.ports import Entry

__all__ = ["State"]

logger = logger_of(__name__)

# Ended tasks stay known for a day, at the most this many.
FINISHED_MAX = 100_000
# Breakers that are known; at the bound the oldest goes. One that is not closed stays.
BREAKERS_MAX = 10_000
FINISHED_AGE_S = 86_400.0
# Facts that may hold the outcome of an attempt.
JUDGED = (Failed, Leased, Finished)


class State:
    """
    What the log says is so.

    Args:
        settings: Bounds and breaker rules.

    Attributes:
        rules: The rules of every breaker.
        mode: What is taken on now.
        tasks: Tasks by id, in the order of their submission. ``live`` are those that have not
            ended, ``finished`` the others, in the order in which they ended.
        breakers: Breakers by name.
        domains: Failure domains by name.
        workers: Workers by agent_id; one that has said goodbye stays known for a while.
        failures: Open failures by error_id: the event, and the topics that it is of.
        degradations: Open degradations by degradation_id.
        locks: Locks that are held, and the terms of those that were.
        dead_letters: Tasks that were given up, kept for operators.
        queue: Tasks that wait for a holder, in their order.
        threads: Notifications, and which of them answer each other.
        tally: How many tasks there are, by status, agent, domain and user.
        impacts: What failures have done to each user.
        causes: Which task an event is of, that another one may name as its cause.
        keys: Which task an order with an idempotency key has become.
        budgets: How many calls and retries each upstream had lately.
        holds: Upstreams that have asked not to be called.
        concurrencies: How many calls of each upstream run, and may.
        recoveries: How long recoveries took in seconds, by agent and error type.
        preserving: Tasks that preserve something, the longest untouched first.
        unread: Counts what this version cannot read of the hidden halves of entries.
        before_change: Called with a task, breaker, domain, worker, lock or budget just before it
            changes, while the folds are being written down; None: they are not.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.rules = BreakerRules(
            threshold=settings.breaker_threshold,
            rate=settings.breaker_rate,
            cooldown_s=settings.breaker_cooldown,
            permits=settings.breaker_permits,
        )
        self.unread = Unread()
        self.before_change: Callable[[object], None] | None = None
        self.clear()

    def clear(self) -> None:
        """Be empty again, as before the first entry."""
        self.mode = Mode()
        self.tasks: dict[str, Task] = {}
        self._of_user: dict[str, dict[str, Task]] = {}
        self.live: dict[str, Task] = {}
        self.breakers: dict[str, Breaker] = {}
        self.domains = FailureDomains(self.rules, self._settings.domain_rate, self._changes)
        self.workers = Workforce()
        self.open_ends = OpenEnds()
        self.failures = self.open_ends.failures
        self.degradations = self.open_ends.degradations
        self.impacts = self.open_ends.impacts
        self.locks = Locks()
        self.dead_letters = DeadLetters()
        self.queue = Queue()
        self.threads = Threads()
        self.tally = Tally()
        self.causes = Causes()
        self.budgets = RetryBudgets()
        self.holds = Holds()
        self.concurrencies = Concurrencies(self._settings.adaptive_concurrency)
        self.finished: Shares[Task] = Shares()
        self.finished_bytes = 0
        self.keys = OrderKeys()
        self.recoveries = RecoveryTimes()
        self.preserving: OrderedDict[str, Task] = OrderedDict()
        self._bytes_by_user: dict[str, int] = {}
        self._bytes_all = 0
        self._running = 0

    # --- the fold ---------------------------------------------------------------------------

    def apply(self, entry: Entry, event: dict[str, Any]) -> Outcome | None:
        """
        Fold one entry.

        Args:
            entry: The next one of the log.
            event: Its public half, decoded.

        Returns:
            The outcome of an attempt that the entry tells and that its breaker has counted;
            None: it tells none that counts.
        """
        encoded = None if entry.state is None else orjson.loads(entry.state)
        fact = from_json(entry.type, encoded, self._unread)
        kind, _, name = entry.subject.partition("/")
        if kind == "task":
            self._task(name, event, fact, entry)
        elif kind == "breaker":
            self._breaker(name, event, entry)
        elif kind == "domain":
            self.domains.told(name, event, at=entry.at, offset=entry.offset)
        elif kind == "agent":
            self._worker(name, event, fact, entry)
        elif kind == "mode":
            self.mode.apply(event, fact, at=entry.at, offset=entry.offset)
        elif kind == "lock":
            self._lock(name, event, fact, entry)
        elif kind == "notifications":
            self.threads.told(event, entry.topics, offset=entry.offset)
        self.open_ends.apply(event, entry)
        if kind == "upstream":
            self.holds.lifted(name, entry.at)
        else:
            self.holds.apply(fact, entry.at)
        if not isinstance(fact, JUDGED) or (outcome := fact.outcome) is None:
            return None
        # A breaker begins with its first outcome in the log, so every node counts the same.
        scope = "agent" if outcome.breaker == event.get("agent_name") else "upstream"
        breaker = self.breaker(outcome.breaker, scope)
        self._changes(breaker)
        counts = breaker.record(outcome, at=entry.at, error_type=event.get("error_type"))
        return outcome if counts else None

    def _changes(self, record: object) -> None:
        if self.before_change is not None:
            self.before_change(record)

    def _task(self, task_id: str, event: dict[str, Any], fact: Fact | None, entry: Entry) -> None:
        if isinstance(fact, Submitted):
            task = tasks.submitted(
                event,
                fact,
                at=entry.at,
                offset=entry.offset,
                bytes_max=self._settings.partial_bytes_task,
            )
            self.adopt(task)
            if task.idempotency_key is not None:
                key = task.idempotency_key
                self.keys.add(task.user_id, key, task_id, fact.fingerprint, entry.at)
            return
        known = self.tasks.get(task_id)
        if known is None or not known.live:
            if known is not None:  # an end is final
                self._changes(known)
                tasks.apply(known, event, fact, at=entry.at, offset=entry.offset)
            self._dead_letter(task_id, event, entry)
            return
        self._changes(known)
        place = place_of(known)
        size, was_running, held_by = known.preserved.size, known.status == "running", known.holder
        waited_for = known.status, known.next_attempt_at
        if entry.type == "system_recovered" and known.mode == "primary":
            self.recoveries.observe(known, entry.at)
        tasks.apply(known, event, fact, at=entry.at, offset=entry.offset)
        self.causes.told(known, event)
        begun = (known.status == "running") - was_running
        self._running += begun
        self.concurrencies.apply(known, event, begun, at=entry.at)
        if held_by is not None and known.holder is None:
            self.domains.ended(known, event, at=entry.at)
            if by := self.workers.get(held_by):
                self._changes(by)
                workers.attempted(by, known, event, at=entry.at)
        if (known.status, known.next_attempt_at) != waited_for:
            self._line_up(known)
        if entry.type == "task_started":
            self.queue.served(known.user_id, entry.offset, entry.at)
            holder = self.workers.get(known.holder or "")
            known.domain = None if holder is None else holder.domain
            self.domains.began(known, at=entry.at)
            if known.mode == "primary":
                self._budget(known, RetryBudget.called, entry.at)
        elif entry.type == "recovery_attempt" and event["strategy"] == STRATEGIES["retry"]:
            self._budget(known, RetryBudget.retrying, entry.at)
        self.tally.changed(known, place)
        if known.preserved.size != size:
            self.account(known, known.preserved.size - size)
        if known.finished_at is not None:
            del self.live[task_id]
            tasks.pack(known)
            self.keep(known)
            self.open_ends.ended(known)
            if known.status == "dead_lettered":
                self._give_up(known, event["reason"])
            self._expire_finished(entry.at)

    def _give_up(self, task: Task, reason: str) -> None:
        letter = dead_letter.of_task(task, reason)
        letter.size = len(orjson.dumps(dead_letter.view(letter)))
        self.dead_letters.add(letter)

    def _dead_letter(self, task_id: str, event: dict[str, Any], entry: Entry) -> None:
        if (letter := self.dead_letters.by_task.get(task_id)) is not None:
            self._changes(letter)
            self.dead_letters.moved(task_id, event, offset=entry.offset)

    def _budget(self, task: Task, count: Callable[[RetryBudget, float], None], at: float) -> None:
        if (name := upstream_of(task)) is not None:
            budget = self.budgets.of(name, at)
            self._changes(budget)
            count(budget, at)

    def _line_up(self, task: Task) -> None:
        """Put a task into the queue, or take it out, as its status says."""
        if task.status in ("pending", "waiting") and task.reserved_for is None:
            self.queue.put(task)
        else:
            self.queue.remove(task.task_id)

    def _worker(
        self, agent_id: str, event: dict[str, Any], fact: Fact | None, entry: Entry
    ) -> None:
        if isinstance(fact, Registered):
            worker = workers.registered(event, fact, at=entry.at, offset=entry.offset)
            workers.came_back(worker, self.workers.get(agent_id))
            self.workers.add(worker)
            return
        known = self.workers.get(agent_id)
        if known is not None:
            self._changes(known)
            known.last_offset = entry.offset
            if isinstance(fact, StatusChanged):
                workers.changed(known, event, fact, at=entry.at)
                self.workers.changed(known)

    def _breaker(self, name: str, event: dict[str, Any], entry: Entry) -> None:
        known = self.breaker(name, event.get("scope", "agent"))
        self._changes(known)
        known.last_offset = entry.offset
        if entry.type == "circuit_breaker_triggered":
            known.opened(event, at=entry.at)
        elif entry.type == "circuit_breaker_test_request":
            known.probing(event)
        elif entry.type == "system_recovered":
            known.closed()

    def _lock(self, key: str, event: dict[str, Any], fact: Fact | None, entry: Entry) -> None:
        if (known := self.locks.by_key.get(key)) is not None:
            self._changes(known)
        if isinstance(fact, Locked):
            self.locks.changed(event, fact, at=entry.at, offset=entry.offset)
        elif entry.type == "lock_expired":
            self.locks.expired(event, offset=entry.offset)

    def _unread(self, name: str) -> None:
        if self.unread.note(name):
            logger.warning("%s was written by a later version, or is damaged: passed over", name)

    def _know(self, task: Task) -> None:
        self.tasks[task.task_id] = task
        self._of_user.setdefault(task.user_id, {})[task.task_id] = task
        self.tally.came(task)
        self.causes.came(task)

    def keep(self, task: Task) -> None:
        """Keep a task that has ended, for a while; it weighs what it takes of both bounds."""
        weight = task.weight + self._settings.finished_bytes // FINISHED_MAX
        self.finished.add(task.task_id, task, owner=task.user_id, weight=weight)
        self.finished_bytes += task.weight

    def adopt(self, task: Task) -> None:
        """Add a task, as it was submitted or as a snapshot has it."""
        self._know(task)
        if task.live:
            self.live[task.task_id] = task
            self._running += task.status == "running"
            self.concurrencies.moved(task, task.status == "running")
            self._line_up(task)

    # --- bounds -----------------------------------------------------------------------------

    def account(self, task: Task, grown: int) -> None:
        """
        Count preserved bytes of ``task``, and evict at a bound.

        What ended tasks preserve goes first, then what live ones do; of each the longest
        untouched first. What ``task`` itself preserves stays.

        Args:
            grown: By how many bytes it has grown; negative: it has shrunk.
        """
        self.preserving[task.task_id] = task
        self.preserving.move_to_end(task.task_id)
        user = task.user_id
        self._bytes_by_user[user] = self._bytes_by_user.get(user, 0) + grown
        self._bytes_all += grown
        if self._bytes_by_user[user] > self._settings.partial_bytes_user:
            mine = [t for t in self.preserving.values() if t.user_id == user]
            self._evict(mine, keep=task)
        if self._bytes_all > self._settings.partial_bytes_all:
            self._evict(list(self.preserving.values()), keep=task)

    def _evict(self, candidates: list[Task], *, keep: Task) -> None:
        for task in sorted(candidates, key=lambda task: task.live):
            over_user = self._bytes_by_user.get(task.user_id, 0) > self._settings.partial_bytes_user
            if not over_user and self._bytes_all <= self._settings.partial_bytes_all:
                return
            if task is not keep:
                self._release(task)

    def _release(self, task: Task) -> None:
        self._changes(task)
        freed = task.preserved.evict()
        self.preserving.pop(task.task_id, None)
        self._bytes_all -= freed
        left = self._bytes_by_user[task.user_id] = self._bytes_by_user.get(task.user_id, 0) - freed
        if left <= 0:
            del self._bytes_by_user[task.user_id]

    def _expire_finished(self, now: float) -> None:
        while self.finished:
            old = (self.finished.oldest.finished_at or now) < now - FINISHED_AGE_S
            fits = self.finished_bytes <= self._settings.finished_bytes
            if not old and fits and len(self.finished) <= FINISHED_MAX:
                return
            task = self.finished.pop_oldest() if old else self.finished.pop()
            self.finished_bytes -= task.weight
            self._release(task)
            if self.tasks.pop(task.task_id, None) is not None:
                self.tally.went(task)
                self.causes.went(task)
                mine = self._of_user[task.user_id]
                del mine[task.task_id]
                if not mine:
                    del self._of_user[task.user_id]

    def expire(self, now: float) -> None:
        """Let go of what is too old at ``now``: preserved parts, ended tasks, idempotency keys."""
        self._expire_finished(now)
        too_old = now - self._settings.partial_ttl
        for task in list(self.preserving.values()):
            if task.finished_at is not None and task.finished_at < too_old:
                self._release(task)
        self.keys.expire(now)

    # --- questions --------------------------------------------------------------------------

    def newest_of(self, user_id: str | None) -> Iterator[Task]:
        """Give the tasks of a user, the newest first; None: of all users."""
        of = self.tasks if user_id is None else self._of_user.get(user_id, {})
        return iter(reversed(of.values()))

    @property
    def running(self) -> int:
        """Number of tasks that run now."""
        return self._running

    @property
    def queue_depth(self) -> int:
        """Number of tasks that wait: for a holder, or between attempts."""
        return len(self.live) - self._running

    def breaker(self, name: str, scope: str) -> Breaker:
        """Give the breaker of that name; a new one, closed, when there is none yet."""
        known = self.breakers.get(name)
        if known is None:
            if len(self.breakers) >= BREAKERS_MAX and (least := least_missed(self.breakers)):
                del self.breakers[least.name]
            known = self.breakers[name] = Breaker(name, scope, self.rules)
        return known

    def owner_of(self, topic: str) -> str | None:
        """
        Give the user that a task's topic, or the topic of a worker as recipient, belongs to.

        None: it belongs to no user but by its name, or no such task or worker is known.
        """
        kind, _, name = topic.partition(":")
        if kind == "task" and (task := self.tasks.get(name)) is not None:
            return task.user_id
        if kind == "recipient" and (worker := self.workers.get(name)) is not None:
            return worker.owner
        return None

    def expires_at(self, task: Task, now: float) -> float:
        """Tell until when what ``task`` preserves is kept at least; a live task may end now."""
        return (task.finished_at or now) + self._settings.partial_ttl

    def held_by(self, agent_id: str) -> list[Task]:
        """Give the tasks of which ``agent_id`` holds the lease."""
        return [task for task in self.live.values() if task.holder == agent_id]
