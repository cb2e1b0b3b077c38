"""
A snapshot of the folds: tasks, dead letters, workers, breakers outlive the entries that told them.

A log keeps only its newest entries. A gateway that starts restores the newest snapshot and folds
the entries that came after it (decision 11). So a field of a record that is added needs a default,
and a field that changes its meaning needs a new ``VERSION``.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import Any

import msgspec

from gateway.domain.breaker import Breaker
from gateway.domain.dead_letter import DeadLetter
from gateway.domain.impact import Impact
from gateway.domain.lock import Lock
from gateway.domain.task import Task
from gateway.domain.thread import Note
from gateway.domain.worker import Worker
from gateway.execution.record.state import RECOVERIES_KEPT, State

__all__ = ["VERSION", "encode", "restore"]

# A snapshot of another version is not read; the log is, from its beginning.
VERSION = 1


@dataclasses.dataclass(slots=True, kw_only=True)
class _Saved:
    """The folds as they are written down; each collection in its order, which mostly matters."""

    mode: str
    tasks: list[Task]
    finished: list[str]
    preserving: list[str]
    breakers: list[Breaker]
    workers: list[Worker]
    failures: list[tuple[str, dict[str, Any], list[str]]]
    degradations: list[dict[str, Any]]
    keys: list[tuple[str, str, str, str, float]]
    recoveries: list[tuple[str, str, list[float]]]
    locks: list[Lock] = dataclasses.field(default_factory=list)
    lock_term_floor: int = 0
    turns: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    dead_letters: list[DeadLetter] = dataclasses.field(default_factory=list)
    notes: list[Note] = dataclasses.field(default_factory=list)
    impacts: list[Impact] = dataclasses.field(default_factory=list)


def encode(state: State) -> bytes:
    """Write down everything that the folds know, as one JSON document."""
    return msgspec.json.encode(
        _Saved(
            mode=state.mode,
            tasks=list(state.tasks.values()),
            finished=[task.task_id for task in state.finished],
            preserving=list(state.preserving),
            breakers=list(state.breakers.values()),
            workers=list(state.workers.values()),
            failures=[(id, event, sorted(of)) for id, (event, of) in state.failures.items()],
            degradations=list(state.degradations.values()),
            keys=[(*key, *known) for key, known in state.keys.items()],
            recoveries=[(*key, list(times)) for key, times in state.recoveries.items()],
            locks=list(state.locks.by_key.values()),
            lock_term_floor=state.locks.term_floor,
            turns=state.queue.turns(),
            dead_letters=list(state.dead_letters.by_task.values()),
            notes=list(state.threads),
            impacts=list(state.impacts),
        )
    )


def restore(state: State, body: bytes) -> None:
    """
    Fill the folds, which must be empty, with what ``encode`` wrote.

    Raises:
        ValueError: If ``body`` is not what ``encode`` writes; the folds are still empty then.
    """
    saved = msgspec.json.decode(body, type=_Saved)
    state.mode = saved.mode
    for user_id, turn in saved.turns:
        state.queue.served(user_id, turn)
    for task in saved.tasks:
        state.adopt(task)
    state.finished.extend(state.tasks[task_id] for task_id in saved.finished)
    for task_id in saved.preserving:
        state.account(state.tasks[task_id], state.tasks[task_id].preserved.size)
    for breaker in saved.breakers:
        # The settings may have changed since.
        breaker.rules = state.rules
        state.breakers[breaker.name] = breaker
    state.workers |= {worker.agent_id: worker for worker in saved.workers}
    state.failures |= {id: (event, frozenset(of)) for id, event, of in saved.failures}
    state.degradations |= {event["degradation_id"]: event for event in saved.degradations}
    state.keys |= {(user, key): (task, print, at) for user, key, task, print, at in saved.keys}
    state.locks.term_floor = saved.lock_term_floor
    for lock in saved.locks:
        state.locks.adopt(lock)
    for letter in saved.dead_letters:
        state.dead_letters.add(letter)
    for note in saved.notes:
        state.threads.adopt(note)
    for impact in saved.impacts:
        state.impacts.adopt(impact)
    state.recoveries |= {
        (agent, kind): deque(times, maxlen=RECOVERIES_KEPT)
        for agent, kind, times in saved.recoveries
    }
