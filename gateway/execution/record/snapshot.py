"""
A snapshot of the folds: tasks, dead letters, workers, breakers outlive the entries that told them.

A log keeps only its newest entries. A gateway that starts restores the newest snapshot and folds
the entries that came after it (decision 11). So a field of a record that is added needs a default,
and a field that changes its meaning needs a new ``VERSION``.

It is one JSON document, a record to a line, compressed: it is written and read a piece at a time,
and never stands in memory as a whole beside the folds. Version 1 was the document alone.
"""

from __future__ import annotations

import dataclasses
import gc
import sys
import typing
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import msgspec

from gateway.domain import task as tasks
from gateway.domain.breaker import Breaker
from gateway.domain.concurrency import Concurrency
from gateway.domain.dead_letter import DeadLetter
from gateway.domain.failure_domain import FailureDomain
from gateway.domain.holds import Hold
from gateway.domain.impact import Impact
from gateway.domain.lock import Lock
from gateway.domain.mode import Mode
from gateway.domain.packed import Packed, packed
from gateway.domain.recovery import RetryBudget
from gateway.domain.task import Task
from gateway.domain.thread import Note
from gateway.domain.worker import Worker
from gateway.execution.record.open_ends import Failure
from gateway.execution.record.state import State

__all__ = ["READ", "VERSION", "document", "encode", "restore", "written"]

# A snapshot of another version is not read; the log is, from its beginning.
VERSION = 2
READ = frozenset({1, 2})
# One slice of a document that is written while others have their turns: about a millisecond. One
# record is never cut: the largest task, with a result, makes a slice of two more.
SLICE_BYTES = 256 * 1024
SLICE_ITEMS = 256
# Fast: a slice has to be short, and ids and texts shrink to a tenth all the same.
_LEVEL = 1
# So much of the compressed document is read at once.
_READ_BYTES = 64 * 1024


def _packed(value: Any) -> msgspec.Raw:
    """Write a packed value as the JSON that it is."""
    if not isinstance(value, Packed):
        raise TypeError(f"{type(value).__name__} is no part of a snapshot")
    return msgspec.Raw(value.json)


_ENCODER = msgspec.json.Encoder(enc_hook=_packed)


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
    budgets: list[RetryBudget] = dataclasses.field(default_factory=list)
    notes: list[Note] = dataclasses.field(default_factory=list)
    impacts: list[Impact] = dataclasses.field(default_factory=list)
    domains: list[FailureDomain] = dataclasses.field(default_factory=list)
    holds: list[Hold] = dataclasses.field(default_factory=list)
    concurrencies: list[Concurrency] = dataclasses.field(default_factory=list)


def encode(state: State) -> bytes:
    """Write down everything that the folds know, at once."""
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

    Records (of tasks, breakers, domains, workers, locks, budgets and dead letters) change in place:
    each is written when it is its turn, or by ``keep`` just before it changes. Of everything else
    there are copies from the beginning.

    Attributes:
        body: The document, as far as it is written.
    """

    def __init__(self, state: State) -> None:
        # Copies of references, in one turn: a few milliseconds at the bounds of the folds.
        records: dict[str, list[Any]] = {
            "tasks": list(state.tasks.values()),
            "breakers": list(state.breakers.values()),
            "domains": list(state.domains.values()),
            "workers": list(state.workers.values()),
            "locks": list(state.locks.by_key.values()),
            "budgets": list(state.budgets),
            "dead_letters": list(state.dead_letters.by_task.values()),
        }
        others: dict[str, Iterable[Any]] = {
            "finished": (task.task_id for task in list(state.finished)),
            "preserving": list(state.preserving),
            "failures": (
                (one.error_id, one.event, sorted(one.topics)) for one in list(state.failures)
            ),
            "degradations": list(state.degradations.values()),
            "keys": list(state.keys),
            "recoveries": list(state.recoveries),
            "turns": state.queue.turns(),
            "notes": list(state.threads),
            "impacts": list(state.impacts),
            "holds": list(state.holds),
            "concurrencies": list(state.concurrencies),
        }
        self._waiting = {id(record) for part in records.values() for record in part}
        self._early: dict[int, bytes] = {}
        parts = {name: map(self._turn_of, part) for name, part in records.items()}
        parts |= {name: map(_ENCODER.encode, part) for name, part in others.items()}
        # In the order in which they are read.
        self._parts = deque((name, parts[name]) for name in _takers(state))
        # The members that are not lists, without the end of the object.
        plain = {
            "mode": state.mode.name,
            "mode_now": state.mode,
            "lock_term_floor": state.locks.term_floor,
        }
        self._deflate = zlib.compressobj(_LEVEL)
        self.body = bytearray(self._deflate.compress(_ENCODER.encode(plain)[:-1]))
        self._before_next = self._opening()

    def keep(self, record: object) -> None:
        """Write down a record that is about to change, if it still waits for its turn."""
        if id(record) in self._waiting:
            self._waiting.discard(id(record))
            self._early[id(record)] = _ENCODER.encode(record)

    def write_slice(self) -> bool:
        """Write one slice; tells whether there is more."""
        slice, left = bytearray(), SLICE_ITEMS
        while self._parts:
            for encoded in self._parts[0][1]:
                slice += self._before_next
                slice += encoded
                self._before_next = b"\n,"
                left -= 1
                if left == 0 or len(slice) >= SLICE_BYTES:
                    self.body += self._deflate.compress(slice)
                    return True
            if self._before_next != b"\n,":
                slice += self._before_next  # it is empty
            slice += b"\n]"
            self._parts.popleft()
            self._before_next = self._opening()
        self.body += self._deflate.compress(slice + b"\n}")
        self.body += self._deflate.flush()
        return False

    def _opening(self) -> bytes:
        return b'\n,"%b":[\n' % self._parts[0][0].encode() if self._parts else b""

    def _turn_of(self, record: object) -> bytes:
        self._waiting.discard(id(record))
        return self._early.pop(id(record), None) or _ENCODER.encode(record)


def document(body: bytes | bytearray) -> bytes:
    """Give the JSON document in a snapshot, for tests and people."""
    return bytes(body) if _is_plain(body) else zlib.decompress(body)


def restore(state: State, body: bytes | bytearray) -> None:
    """
    Fill the folds, which must be empty, with what ``encode`` wrote, in this version or an earlier.

    Raises:
        ValueError: If ``body`` is not what ``encode`` writes; the folds are still empty then.
    """
    collecting = gc.isenabled()
    # Much is made, and none of it is garbage: to look for garbage again and again takes longer.
    gc.disable()
    try:
        if _is_plain(body):
            _restore_whole(state, body)
        else:
            _restore_by_lines(state, body)
    except BaseException:
        state.clear()
        raise
    finally:
        if collecting:
            gc.enable()


def _is_plain(body: bytes | bytearray) -> bool:
    return body[:1] == b"{"


def _restore_whole(state: State, body: bytes | bytearray) -> None:
    saved = msgspec.json.decode(body, type=_Saved)
    state.mode.name, state.locks.term_floor = saved.mode, saved.lock_term_floor
    for name, take in _takers(state).items():
        for record in getattr(saved, name):
            take(record)


def _restore_by_lines(state: State, body: bytes | bytearray) -> None:
    lines = _lines_of(body)
    plain = msgspec.json.decode(next(lines) + b"}", type=_Plain)
    state.mode = plain.mode_now or Mode(plain.mode)
    state.locks.term_floor = plain.lock_term_floor
    takers = _takers(state)
    take: Callable[[Any], object] | None = None
    decode: Callable[[bytes], Any] | None = None
    line = b""
    for line in lines:
        if line.endswith(b":["):
            name = line[2:-3].decode()
            # A part that a later version has added is passed over.
            take, decode = takers.pop(name, None), _DECODERS.get(name)
        elif line not in (b"", b"]", b"}") and take is not None and decode is not None:
            take(decode(line.removeprefix(b",")))
    # A part that an earlier version did not have is empty, as a field has its default.
    lacking = sorted(takers.keys() & _FIRST_PARTS)
    if line != b"}" or lacking:
        raise ValueError(f"the snapshot is not whole, it lacks {lacking or 'its end'}")


def _lines_of(body: bytes | bytearray) -> Iterator[bytes]:
    inflate, rest = zlib.decompressobj(), b""
    try:
        for start in range(0, len(body), _READ_BYTES):
            *lines, rest = (rest + inflate.decompress(body[start : start + _READ_BYTES])).split(
                b"\n"
            )
            yield from lines
        yield rest + inflate.flush()
    except zlib.error as error:
        raise ValueError(f"the snapshot is damaged: {error}") from error


def _takers(state: State) -> dict[str, Callable[[Any], object]]:
    """Give, by its name, what takes a record of each part; a later part may need an earlier one."""

    def breaker(breaker: Breaker) -> None:
        # The settings may have changed since.
        breaker.rules = state.rules
        state.breakers[breaker.name] = breaker

    def letter(letter: DeadLetter) -> None:
        letter.input = packed(letter.input)
        state.dead_letters.add(letter)

    def preserving(task_id: str) -> None:
        task = state.tasks[task_id]
        state.account(task, task.preserved.size)

    return {
        "turns": lambda turn: state.queue.served(*turn),
        "tasks": lambda task: state.adopt(_lean(task)),
        "finished": lambda task_id: state.keep(state.tasks[task_id]),
        "preserving": preserving,
        "breakers": breaker,
        "domains": state.domains.adopt,
        "workers": state.workers.add,
        "failures": lambda saved: state.open_ends.keep(
            Failure(saved[0], saved[1], frozenset(saved[2]))
        ),
        "degradations": lambda event: state.degradations.update({event["degradation_id"]: event}),
        "keys": lambda saved: state.keys.add(*saved),
        "recoveries": lambda saved: state.recoveries.add(*saved),
        "locks": state.locks.adopt,
        "budgets": state.budgets.adopt,
        "dead_letters": letter,
        "notes": state.threads.adopt,
        "impacts": state.impacts.adopt,
        "holds": state.holds.adopt,
        "concurrencies": state.concurrencies.adopt,
    }


def _lean(task: Task) -> Task:
    """Let tasks share the names that many of them have; a hundred thousand of them are kept."""
    for name in ("user_id", "agent_name", "domain", "served_by", "status", "mode", "next_mode"):
        if (value := getattr(task, name)) is not None:
            setattr(task, name, sys.intern(value))
    for attempt in task.attempts:
        attempt.agent_id, attempt.mode = sys.intern(attempt.agent_id), sys.intern(attempt.mode)
    if not task.live:
        tasks.pack(task)
    return task


@dataclasses.dataclass(slots=True, kw_only=True)
class _Plain:
    """What is no list."""

    mode: str
    mode_now: Mode | None = None
    lock_term_floor: int = 0


# The lists that every version has written.
_FIRST_PARTS = frozenset(
    field.name
    for field in dataclasses.fields(_Saved)
    if field.default_factory is dataclasses.MISSING
)
# By the name of a list: decodes one record of it.
_DECODERS: dict[str, Callable[[bytes], Any]] = {
    name: msgspec.json.Decoder(typing.get_args(kind)[0]).decode
    for name, kind in typing.get_type_hints(_Saved).items()
    if typing.get_origin(kind) is list
}
