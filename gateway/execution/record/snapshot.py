"""
A snapshot of the folds: tasks, workers and breakers outlive the entries that told of them.

A log keeps only its newest entries. A gateway that starts restores the newest snapshot and folds
the entries that came after it (decision 11). So a field of a record that is added needs a default,
and a field that changes its meaning needs a new ``VERSION``.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from gateway.domain.breaker import Breaker
from gateway.domain.lock import Lock
from gateway.domain.recovery import RetryBudget
from gateway.domain.task import Task
from gateway.domain.worker import Worker
from gateway.execution.record.state import RECOVERIES_KEPT, State

__all__ = ["VERSION", "encode", "restore", "written"]

# A snapshot of another version is not read; the log is, from its beginning.
VERSION = 1
# One slice of a document that is written while others have their turns: about a millisecond. One
# record is never cut: the largest task, with a result, makes a slice of two more.
SLICE_BYTES = 256 * 1024
SLICE_ITEMS = 256

_ENCODER = msgspec.json.Encoder()


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
    budgets: list[RetryBudget] = dataclasses.field(default_factory=list)


def encode(state: State) -> bytes:
    """Write down everything that the folds know, as one JSON document, at once."""
    writing = _Writing(state)
    while writing.write_slice():
        pass
    return bytes(writing.body)


async def written(state: State, pause: Callable[[], Awaitable[None]]) -> bytearray:
    """
    Write down everything that the folds know at the call, in slices, and as ``encode`` does.

    The folds go on meanwhile: a record that changes before its turn is written just before.

    Args:
        state: The folds; only one may be written at a time.
        pause: Lets others have their turn; awaited after each slice.
    """
    writing = _Writing(state)
    state.before_change = writing.keep
    try:
        while writing.write_slice():
            await pause()
    finally:
        state.before_change = None
    return writing.body


class _Writing:
    """
    The folds of one moment on their way into a document.

    Records (of tasks, breakers, workers, locks and budgets) change in place: each is written when
    it is its turn, or by ``keep`` just before it changes. Of everything else there are copies from
    the beginning.

    Attributes:
        body: The document, as far as it is written.
    """

    def __init__(self, state: State) -> None:
        # Copies of references, in one turn: a few milliseconds at the bounds of the folds.
        records: dict[str, list[Any]] = {
            "tasks": list(state.tasks.values()),
            "breakers": list(state.breakers.values()),
            "workers": list(state.workers.values()),
            "locks": list(state.locks.by_key.values()),
            "budgets": list(state.budgets),
        }
        others: dict[str, Iterable[Any]] = {
            "finished": (task.task_id for task in list(state.finished)),
            "preserving": list(state.preserving),
            "failures": (
                (id, event, sorted(of)) for id, (event, of) in list(state.failures.items())
            ),
            "degradations": list(state.degradations.values()),
            "keys": ((*key, *known) for key, known in list(state.keys.items())),
            "recoveries": [(*key, list(times)) for key, times in state.recoveries.items()],
            "turns": state.queue.turns(),
        }
        self._waiting = {id(record) for part in records.values() for record in part}
        self._early: dict[int, bytes] = {}
        self._parts = deque(
            [(name, map(self._turn_of, part)) for name, part in records.items()]
            + [(name, map(_ENCODER.encode, part)) for name, part in others.items()]
        )
        # The members that are not lists, without the end of the object.
        plain = {"mode": state.mode, "lock_term_floor": state.locks.term_floor}
        self.body = bytearray(_ENCODER.encode(plain)[:-1])
        self._before_next = self._opening()

    def keep(self, record: object) -> None:
        """Write down a record that is about to change, if it still waits for its turn."""
        if id(record) in self._waiting:
            self._waiting.discard(id(record))
            self._early[id(record)] = _ENCODER.encode(record)

    def write_slice(self) -> bool:
        """Write one slice; tells whether there is more."""
        body, bytes_max, left = self.body, len(self.body) + SLICE_BYTES, SLICE_ITEMS
        while self._parts:
            for encoded in self._parts[0][1]:
                body += self._before_next
                body += encoded
                self._before_next = b","
                left -= 1
                if left == 0 or len(body) >= bytes_max:
                    return True
            if self._before_next != b",":
                body += self._before_next  # it is empty
            body += b"]"
            self._parts.popleft()
            self._before_next = self._opening()
        body += b"}"
        return False

    def _opening(self) -> bytes:
        return b',"%b":[' % self._parts[0][0].encode() if self._parts else b""

    def _turn_of(self, record: object) -> bytes:
        self._waiting.discard(id(record))
        return self._early.pop(id(record), None) or _ENCODER.encode(record)


def restore(state: State, body: bytes | bytearray) -> None:
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
    for budget in saved.budgets:
        state.budgets.adopt(budget)
    state.recoveries |= {
        (agent, kind): deque(times, maxlen=RECOVERIES_KEPT)
        for agent, kind, times in saved.recoveries
    }
