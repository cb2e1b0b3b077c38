"""The folds written down and read again: nothing is lost, and nothing else is read."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import zlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest

import event_schemas
from gateway.domain.recovery_times import KEPT
from gateway.domain.settings import Settings
from gateway.execution.record import snapshot
from gateway.execution.record.open_ends import Failure
from gateway.execution.record.snapshot import document, encode, restore, written
from gateway.execution.record.state import State
from gateway.ports import Entry
from tests.written_before import SETTINGS, entries


def folded() -> State:
    """Folds in which every collection holds something."""
    state = State(SETTINGS)
    for entry in entries():
        state.apply(entry, orjson.loads(entry.public))
    state.holds.asked("model", 7.0, 1_800_000_000.0)
    state.degradations["d1"] = {"degradation_id": "d1", "mode": "reduced"}
    event = {"type": "agent_error", "error_id": "f1", "user_id": "ann"}
    state.open_ends.keep(Failure("f1", event, frozenset({"user:ann"})))
    return state


def known(state: State) -> Any:
    """What a state would be written down as; an integer may be read as the same float."""
    return json.loads(document(encode(state)))


def named(state: State) -> dict[str, str]:
    """By which events the tasks are known."""
    return {event_id: task.task_id for event_id, task in state.causes._task_of.items()}


def restored(body: bytes, settings: Settings = SETTINGS) -> State:
    state = State(settings)
    restore(state, body)
    return state


def test_nothing_that_the_folds_know_is_lost() -> None:
    before = folded()
    after = restored(encode(before))
    assert known(after) == known(before)
    for name in ("tasks", "live", "breakers", "workers", "failures", "degradations"):
        assert list(getattr(after, name)) == list(getattr(before, name)), name
    for name in ("keys", "recoveries", "preserving"):
        assert list(getattr(after, name)) == list(getattr(before, name)), name
    assert after.failures == before.failures
    assert named(after) == named(before) != {}
    assert list(after.holds) == list(before.holds) != []
    assert (after.running, after.queue_depth) == (before.running, before.queue_depth)
    assert (after._bytes_all, after._bytes_by_user) == (before._bytes_all, before._bytes_by_user)
    assert before.tasks
    assert before.workers
    assert before.breakers


def test_a_task_that_has_ended_is_one_task_in_every_collection() -> None:
    after = restored(encode(folded()))
    assert after.finished
    assert all(after.tasks[task.task_id] is task for task in after.finished)
    assert all(after.tasks[id] is task for id, task in after.preserving.items())


def test_empty_folds_are_a_snapshot_too() -> None:
    assert encode(restored(encode(State(SETTINGS)))) == encode(State(SETTINGS))


def test_breakers_go_by_the_settings_of_now() -> None:
    after = restored(encode(folded()), Settings(breaker_threshold=77))
    assert {breaker.rules.threshold for breaker in after.breakers.values()} == {77}


def test_a_failure_domain_goes_on_as_it_was_by_the_settings_of_now() -> None:
    before = folded()
    domain = before.domains.of("eu-1")
    assert domain is not None
    domain.ended("t1:1", "failure", began_at=1.0, at=1.0)
    domain.told(event_schemas.example("circuit_breaker_triggered"), at=2.0, offset=7)
    domain.began(3.0)
    after = restored(encode(before), Settings(domain_rate=0.7)).domains["eu-1"]
    assert dataclasses.replace(after, rules=domain.rules).__repr__() == repr(domain)
    assert (after.state, after.next_at, after.window.counts(1.0)) == ("open", 4.0, (1, 1))
    assert after.rules.rate == 0.7


async def test_a_failure_domain_that_changes_meanwhile_is_written_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot, "SLICE_ITEMS", 1)
    before = folded()
    domain = before.domains.of("eu-1")
    assert domain is not None

    async def changes() -> None:
        event = event_schemas.example("circuit_breaker_triggered")
        before.domains.told("eu-1", event, at=2.0, offset=7)

    after = restored(bytes(await written(before, changes)))
    assert (before.domains["eu-1"].state, after.domains["eu-1"].state) == ("open", "closed")


def test_recovery_times_keep_their_bound() -> None:
    before = State(SETTINGS)
    saved = known(before)
    saved["recoveries"] = [["search", "timeout", [1.0] * (KEPT + 5)]]
    after = restored(json.dumps(saved).encode())
    ((_, _, times),) = after.recoveries
    assert len(times) == KEPT


def test_a_field_that_an_earlier_version_did_not_have_gets_its_default() -> None:
    saved = known(folded())
    for task in saved["tasks"]:
        del task["reserved_for"], task["recoveries"]
    after = restored(json.dumps(saved).encode())
    assert {(task.reserved_for, task.recoveries) for task in after.tasks.values()} == {(None, 0)}


def test_a_field_that_a_later_version_has_added_is_passed_over() -> None:
    saved = known(folded())
    saved["colour"] = "red"
    saved["tasks"][0]["colour"] = "red"
    assert known(restored(json.dumps(saved).encode())) == known(folded())


def without_breakers(saved: dict[str, Any]) -> None:
    del saved["breakers"]


def with_a_broken_task(saved: dict[str, Any]) -> None:
    saved["tasks"][-1]["term"] = "first"


@pytest.mark.parametrize("damage", [without_breakers, with_a_broken_task])
def test_a_damaged_snapshot_is_refused_and_the_folds_stay_empty(damage: Any) -> None:
    saved = known(folded())
    damage(saved)
    state = State(SETTINGS)
    with pytest.raises(ValueError, match=r"."):
        restore(state, json.dumps(saved).encode())
    assert encode(state) == encode(State(SETTINGS))


# --- in slices -----------------------------------------------------------------------------------


@pytest.mark.parametrize("items", [1, 2, 3, 1000])
async def test_what_is_written_in_slices_is_of_the_moment_at_which_it_begins(
    monkeypatch: pytest.MonkeyPatch, items: int
) -> None:
    """The folds go on between the slices, with everything that the log tells them meanwhile."""
    monkeypatch.setattr(snapshot, "SLICE_ITEMS", items)
    told = [(entry, orjson.loads(entry.public)) for entry in entries()]
    for begun_after in range(0, len(told), 3):
        state = State(SETTINGS)
        for entry, event in told[:begun_after]:
            state.apply(entry, event)
        then = known(state)
        later = iter(told[begun_after:])

        async def go_on(later: Any = later, state: State = state) -> None:
            for _, (entry, event) in zip(range(4), later, strict=False):
                state.apply(entry, event)

        body = await written(state, go_on)
        assert json.loads(document(body)) == then, begun_after
        for entry, event in later:
            state.apply(entry, event)
        assert known(state) == known(all_of(told)), "writing changes nothing"


def all_of(told: list[tuple[Any, dict[str, Any]]]) -> State:
    state = State(SETTINGS)
    for entry, event in told:
        state.apply(entry, event)
    return state


async def test_what_time_lets_go_of_meanwhile_is_written_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot, "SLICE_ITEMS", 1)
    state = folded()
    then = known(state)

    async def pause() -> None:
        state.expire(1e12)

    assert json.loads(document(await written(state, pause))) == then
    assert state.finished == state.finished.__class__()


async def test_a_dead_letter_that_changes_meanwhile_is_written_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot, "SLICE_ITEMS", 1)
    state = folded()
    then = known(state)
    kept, gone = state.dead_letters.by_task

    async def pause() -> None:
        for task_id, action in ((kept, "retried"), (gone, "discarded")):
            event = {"type": "dead_letter_changed", "action": action, "retried_as": "again"}
            body = orjson.dumps(event)
            entry = Entry(
                10_000, 1.0, f"task/{task_id}", event["type"], (), False, body, body, None
            )
            state.apply(entry, event)

    assert json.loads(document(await written(state, pause))) == then
    assert [letter.retried_as for letter in state.dead_letters.by_task.values()] == ["again"]


@pytest.mark.parametrize("bytes_max", [1, 2000, 10_000])
async def test_a_slice_has_a_bound(monkeypatch: pytest.MonkeyPatch, bytes_max: int) -> None:
    """No connection waits for more than one slice, and a slice is at most a record too long."""
    monkeypatch.setattr(snapshot, "SLICE_BYTES", bytes_max)
    state = folded()
    slices = 0

    async def pause() -> None:
        nonlocal slices
        slices += 1

    body = await written(state, pause)
    lines = document(body).splitlines()
    records = [line for line in lines if len(line) > 2]
    longest = max(map(len, records))
    assert len(document(body)) / (bytes_max + longest) - 1 <= slices <= len(records)
    if bytes_max == 1:
        assert slices == sum(len(known(state)[name]) for name in snapshot._DECODERS)


@pytest.mark.parametrize("read_bytes", [1, 7, 1000, 10**6])
def test_it_is_read_a_piece_at_a_time(monkeypatch: pytest.MonkeyPatch, read_bytes: int) -> None:
    monkeypatch.setattr(snapshot, "_READ_BYTES", read_bytes)
    assert known(restored(encode(folded()))) == known(folded())


def test_the_document_that_an_earlier_version_wrote_is_read() -> None:
    assert known(restored(document(encode(folded())))) == known(folded())


def compressed(document: bytes) -> bytes:
    return zlib.compress(document)


def test_a_part_that_a_later_version_has_added_is_passed_over() -> None:
    whole = document(encode(folded()))
    more = whole.replace(b'\n,"workers":[', b'\n,"colours":[\n"red"\n,{"a":[]}\n]\n,"workers":[')
    assert more != whole
    assert known(restored(compressed(more))) == known(folded())


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body[:-100],
        lambda body: body[:100] + b"x" * 100 + body[200:],
        lambda body: compressed(document(body)[:-1]),
        lambda body: compressed(document(body).replace(b'"term":1', b'"term":"first"')),
        lambda body: compressed(document(body).replace(b'"workers":[', b'"vorkers":[')),
        lambda body: compressed(b"[1]"),
        lambda body: b"",
        lambda body: b"x",
    ],
)
def test_a_compressed_snapshot_that_is_damaged_is_refused_and_the_folds_stay_empty(
    damage: Callable[[bytes], bytes],
) -> None:
    state = State(SETTINGS)
    with pytest.raises(ValueError, match=r"."):
        restore(state, damage(encode(folded())))
    assert known(state) == known(State(SETTINGS))
    assert gc.isenabled()


async def test_a_snapshot_that_is_not_finished_leaves_the_folds_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot, "SLICE_ITEMS", 1)
    state = folded()

    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await written(state, cancelled)
    assert state.before_change is None


@pytest.mark.parametrize(
    "part", ["notes", "impacts", "budgets", "dead_letters", "locks", "domains", "holds"]
)
def test_a_part_that_an_earlier_version_did_not_have_is_empty(part: str) -> None:
    """Whoever updates a gateway goes on from what it knew."""
    before = folded()
    lines = document(encode(before)).split(b"\n")
    at = next(n for n, line in enumerate(lines) if line.startswith(b',"%b":[' % part.encode()))
    end = next(n for n in range(at, len(lines)) if lines[n] == b"]")
    after = restored(zlib.compress(b"\n".join(lines[:at] + lines[end + 1 :])))
    assert list(after.tasks) == list(before.tasks)


def test_without_a_part_that_each_version_has_written_it_is_refused() -> None:
    lines = document(encode(folded())).split(b"\n")
    at = next(n for n, line in enumerate(lines) if line.startswith(b',"keys":['))
    end = next(n for n in range(at, len(lines)) if lines[n] == b"]")
    with pytest.raises(ValueError, match="keys"):
        restored(zlib.compress(b"\n".join(lines[:at] + lines[end + 1 :])))
