"""
Reactions: what follows from an entry of the log. Timers are set, waits end, code is stopped.

The rule: only an entry that is new has consequences. Entries that are read again when a gateway
starts have none; when all of them are folded, ``begin`` looks after everything that is still open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.attempts.attempt import Attempts
from gateway.domain.breaker import Breaker, Outcome
from gateway.domain.task import Task
from gateway.execution.guards.breakers import Breakers
from gateway.execution.guards.domains import Domains
from gateway.execution.guards.volume import Volume
from gateway.execution.holders.bell import Bell
from gateway.execution.holders.ends import Ends
from gateway.execution.holders.limits import Limits
from gateway.execution.holders.locks import Locks
from gateway.execution.holders.orphans import Orphans
from gateway.execution.holders.presence import Presence
from gateway.execution.holders.quarantine import Quarantine
from gateway.execution.holders.waits import Waits
from gateway.execution.monitor import Monitor
from gateway.execution.record.state import State
from gateway.execution.tasks.dead_letters import DeadLetters
from gateway.ports import Entry

__all__ = ["Part", "Reactions"]

# Seconds between two looks for what is too old to keep, and for orphans.
EXPIRE_EVERY_S = 30.0


class Part(Protocol):
    """A part that knows something from the log, or works on it."""

    def clear(self) -> None:
        """Drop what is known: the log is another one, or is read anew."""


class Reactions:
    """
    The consequences of entries.

    More than eight arguments: each part that lives in time is told here what the log says, and
    nowhere else.

    Args:
        parts: Every part that has to drop what it knows of a lost log, in that order.
    """

    def __init__(
        self,
        *,
        state: State,
        breakers: Breakers,
        domains: Domains,
        limits: Limits,
        presence: Presence,
        quarantine: Quarantine,
        locks: Locks,
        dead_letters: DeadLetters,
        volume: Volume,
        attempts: Attempts,
        orphans: Orphans,
        ends: Ends,
        waits: Waits,
        monitor: Monitor,
        bell: Bell,
        parts: Sequence[Part],
    ) -> None:
        self._state = state
        self._breakers = breakers
        self._domains = domains
        self._limits = limits
        self._presence = presence
        self._quarantine = quarantine
        self._locks = locks
        self._dead_letters = dead_letters
        self._volume = volume
        self._attempts = attempts
        self._orphans = orphans
        self._ends = ends
        self._waits = waits
        self._monitor = monitor
        self._bell = bell
        self._parts = parts

    def to(self, entry: Entry, outcome: Outcome | None, *, undo: bool) -> None:
        """
        Do what follows from an entry that is new at this moment.

        Args:
            entry: The entry; it is folded already.
            outcome: Of the attempt that it ends, for its breaker; None: it ends none that counts.
            undo: Whether it is a beginning whose writer was told that it failed (decision 13).
        """
        if outcome is not None:
            self._breakers.report(outcome, at=entry.at)
        kind, _, name = entry.subject.partition("/")
        if kind == "task":
            self._task_moved(name, entry, undo=undo)
        elif kind == "breaker":
            self._watch_breaker(self._state.breakers[name])
            self._waits.look_at_all()
            self._bell.ring()
        elif kind == "domain":
            self._watch_domain(name)
            self._bell.ring()
        elif kind == "agent":
            if entry.type == "agent_registered":
                self._presence.registered(name)
            self._quarantine.changed(name)
            self._waits.worker_changed(name)
            # A worker that is back may have a claim that waits.
            self._bell.ring()
        elif kind == "upstream":
            self._waits.holds_changed()
        elif kind == "lock" and (lock := self._state.locks.by_key.get(name)) is not None:
            self._locks.watch(lock)
            if lock.state != "held":
                # A claim may wait for it.
                self._bell.ring()

    def begin(self) -> None:
        """Look after all that is open, now that the folds know what the log says."""
        self._monitor.at(self._monitor.now + EXPIRE_EVERY_S, self._expire)
        self._limits.refresh()
        for task in self._state.live.values():
            self._limits.submitted(task)
            if task.status == "running":
                self._limits.attempt(task)
            elif task.next_attempt_at is not None:
                self._monitor.at(task.next_attempt_at, self._bell.ring_later)
        for breaker in self._state.breakers.values():
            self._watch_breaker(breaker)
        for name in self._state.domains:
            self._watch_domain(name)
        for lock in self._state.locks.by_key.values():
            self._locks.watch(lock)
        self._breakers.begin()
        self._domains.begin()
        self._monitor.soon(self._breakers.act)
        self._presence.resume()
        self._quarantine.begin()
        self._waits.begin()
        self._monitor.soon(self._orphans.free)
        self._bell.ring()

    def clear(self) -> None:
        """Drop all that is known, and stop what is done for tasks that are lost with their log."""
        for part in self._parts:
            part.clear()

    def made_up(self) -> None:
        """Make up for an absence of the store, in which nothing could be renewed or told."""
        self._presence.forgive()
        self._limits.refresh()
        self._waits.look_at_all()
        self._monitor.soon(self._breakers.act)
        self._bell.ring()

    def _task_moved(self, task_id: str, entry: Entry, *, undo: bool) -> None:
        task = self._state.tasks.get(task_id)
        if task is None:
            return
        self._volume.wrote(task.user_id, entry)
        if undo:
            self._monitor.soon(lambda: self._orphans.undo(task_id, task.term))
        match entry.type:
            case "task_submitted":
                self._limits.submitted(task)
                self._waits.look_at(task)
                self._bell.ring()
            case "task_started":
                self._limits.attempt(task)
                self._quarantine.began(task)
                self._watch_domain(task.domain)
            case "agent_error" | "lease_changed":
                if entry.type == "agent_error" and task.status != "running":
                    self._quarantine.attempted(task)
                    self._domains.attempted(task)
                    self._waits.failed(task)
                self._waits.look_at(task)
                self._limits.lease(task)
                # It may have given back a permit of a breaker that other tasks wait for.
                self._bell.ring()
            case "recovery_attempt" | "task_progress":
                if task.next_attempt_at is not None:
                    self._monitor.at(task.next_attempt_at, self._bell.ring_later)
                    self._waits.look_at(task)
            case "task_finished":
                self._ended(task)

    def _ended(self, task: Task) -> None:
        self._attempts.ended(task.task_id)
        self._limits.ended(task.task_id)
        self._bell.ring()
        self._ends.ended(task)
        self._quarantine.attempted(task)
        self._domains.attempted(task)
        if task.status == "dead_lettered":
            self._monitor.soon(self._trim)

    def _watch_breaker(self, breaker: Breaker) -> None:
        if breaker.state == "open" and breaker.probe_at is not None:
            self._monitor.at(breaker.probe_at, self._bell.ring_later)

    def _watch_domain(self, name: str | None) -> None:
        """Let claims look again when the next task may begin in a domain that is slowed down."""
        domain = self._state.domains.get(name or "")
        if domain is not None and domain.state != "closed":
            self._monitor.at(domain.next_at, self._bell.ring_later)

    async def _trim(self) -> None:
        if await self._dead_letters.trim():
            self._monitor.soon(self._trim)

    async def _expire(self) -> None:
        now = self._monitor.now
        self._state.expire(now)
        self._presence.expire(now)
        self._monitor.at(now + EXPIRE_EVERY_S, self._expire)
        self._monitor.soon(self._orphans.free)
        self._monitor.soon(self._locks.free_left)
        self._monitor.soon(self._trim)
        await self._breakers.act()
