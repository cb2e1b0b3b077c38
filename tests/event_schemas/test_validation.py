"""Validators: both libraries agree on every event, and refusals say what is wrong."""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Iterator
from typing import Any

import jsonschema
import jsonschema_rs
import pytest
import referencing

from event_schemas import TYPES, bundle, document, example, validator
from tests.soak import SOAK

SEED = 20261122
ROUNDS = 60
# How much of what is tried jsonschema judges, which takes milliseconds for each event: of
# neighbours this part, about fifty of a type, and of fields one in so many.
SAMPLE = 1.0 if SOAK else 0.04
FIELDS_STEP = 1 if SOAK else 5
Event = dict[str, Any]

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.0, 1.5, -0.5, 1e18, 2**53 - 1, 2**53, 2**63, 2**64, 10**30),
    *(-(2**63), -(10**30), "", "*", "x", "x\n", "\n", "a b", "ä", "\u2028", "x" * 128, "x" * 129),
    *("019ABB2F-6C8E-7D41-9A07-3F5F0C1E2B7A", "019abb2f-6c8e-4d41-9a07-3f5f0c1e2b7a"),
    *("019abb2f-6c8e-7d41-9a07-3f5f0c1e2b7a\n", "2026-11-22T05:04:54.123Z\n"),
    *("2026-11-22T05:04:54Z", "2026-11-22T05:04:54.123456Z", "2026-11-22T05:04:54.123+00:00"),
    *("2026-13-22T05:04:54.123Z", "2026-11-22T24:04:54.123Z", "２026-11-22T05:04:54.123Z"),
    *("breaker", "task", "timeout", "succeeded", "info", "no such word"),
    *([], ["a"], [1], [None], {}, {"a": 1}, [[]], [{}], [{"attempt": 0}]),
    *([{"attempt": 1, "error_type": "timeout", "error_code": None, "message": "m"}],),
    *([{"attempt": 1, "error_type": "timeout", "error_code": None, "message": "m", "x": 1}],),
)


def mutants(name: str) -> Iterator[Event]:
    """Make neighbours of the example: most of them wrong in one place, some in several."""
    event = example(name)
    for field in event:
        yield {key: value for key, value in event.items() if key != field}
        value = event[field]
        if isinstance(value, str):
            yield {**event, field: value + "\n"}
        if isinstance(value, bool):
            yield {**event, field: int(value)}
        elif isinstance(value, int):
            yield from ({**event, field: odd} for odd in (float(value), bool(value), str(value)))
    for odd in ODD_VALUES:
        yield from ({**event, field: odd} for field in event)
    for field in ("unknown", "Type", "type ", "", "__proto__", "examples"):
        yield {**event, field: 1}
    every_field = sorted({field for other in TYPES for field in example(other)})
    chance = random.Random(f"{SEED} {name}")
    for _ in range(ROUNDS):
        mutant = copy.deepcopy(event)
        for field in chance.sample(every_field, chance.randint(1, 4)):
            if field in mutant and chance.random() < 0.3:
                del mutant[field]
            else:
                mutant[field] = chance.choice(ODD_VALUES)
        yield mutant


@functools.cache
def opinions(name: str) -> tuple[Any, ...]:
    """Give four validators that owe nothing to ours: two libraries, bundle and composed files."""
    files = [document(file) for file in (name, "envelope", "failure")]
    python: referencing.Registry[Any] = referencing.Registry().with_contents(
        (file["$id"], file) for file in files
    )
    rust = jsonschema_rs.Registry([(f"json-schema://{file['$id']}", file) for file in files])
    return (
        jsonschema_rs.Draft202012Validator(bundle(name)),
        jsonschema_rs.Draft202012Validator(
            files[0], registry=rust, base_uri=f"json-schema:///schemas/{name}.json"
        ),
        jsonschema.Draft202012Validator(bundle(name)),
        jsonschema.Draft202012Validator(files[0], registry=python),
    )


@pytest.mark.parametrize("name", TYPES)
def test_all_validators_agree_on_every_neighbour_of_the_example(name: str) -> None:
    """Our own compiled form is one of six opinions, and refusals always have words."""
    bundled_rust, composed_rust, bundled_python, composed_python = opinions(name)
    ours = validator(name)
    refused = 0
    chance = random.Random(SEED)
    for mutant in mutants(name):
        verdict = ours.is_valid(mutant)
        refused += not verdict
        assert bundled_rust.is_valid(mutant) == verdict, mutant
        assert composed_rust.is_valid(mutant) == verdict, mutant
        if chance.random() < SAMPLE:
            assert bundled_python.is_valid(mutant) == verdict, mutant
            assert composed_python.is_valid(mutant) == verdict, mutant
            found = ours.violations(mutant)
            assert bool(found) != verdict, (mutant, found)
            assert all(len(violation.message) < 600 for violation in found)
    assert refused > 200


@pytest.mark.parametrize("name", TYPES)
def test_an_example_has_no_violations(name: str) -> None:
    assert validator(name).is_valid(example(name))
    assert validator(name).violations(example(name)) == []


@pytest.mark.parametrize("name", TYPES)
def test_an_event_that_the_log_has_not_accepted_has_no_position(name: str) -> None:
    """The gateway validates what it is about to append; the log stamps it afterwards."""
    unstamped = {
        key: value
        for key, value in example(name).items()
        if key not in ("epoch", "offset", "timestamp")
    }
    early = validator(name, stamped=False)
    assert early.is_valid(unstamped)
    assert early.violations(unstamped) == []
    assert early.is_valid(example(name))
    assert not early.is_valid({**unstamped, "offset": 0})
    assert not validator(name).is_valid(unstamped)
    assert {v.field for v in validator(name).violations(unstamped)} == {
        "epoch",
        "offset",
        "timestamp",
    }


def test_a_validator_is_compiled_once() -> None:
    assert validator("agent_error") is validator("agent_error")
    with pytest.raises(KeyError):
        validator("nothing")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\u2028"])
def test_nothing_may_follow_an_id(newline: str) -> None:
    """Python's "$" matches before a trailing newline, other languages' does not."""
    for field in ("event_id", "timestamp", "user_id", "task_id", "agent_name"):
        event = example("task_progress")
        event[field] += newline
        assert not validator("task_progress").is_valid(event)
        assert [v.field for v in validator("task_progress").violations(event)] == [field]


@pytest.mark.parametrize("name", ["agent_error", "task_finished", "agent_status_changed"])
def test_what_is_no_json_or_has_no_end_is_refused_without_a_crash(name: str) -> None:
    deep: Event = {}
    for _ in range(100_000):
        deep = {"a": deep}
    circular: Event = {}
    circular["a"] = circular
    endless: list[Any] = []
    endless.append(endless)
    odd = (deep, circular, endless, float("nan"), float("inf"), -float("inf"), "\ud800")
    odder = (10**5000, -(10**5000), b"x", {1}, {1: 2}, {"\ud800": 1}, object(), (1, 2), 1j)
    ours = validator(name)
    good = example(name)
    for number, value in enumerate((*odd, *odder)):
        assert not ours.is_valid(value)
        assert ours.violations(value)
        for field in [*good, "unknown"][number % FIELDS_STEP :: FIELDS_STEP]:
            event = {**good, field: value}
            assert ours.is_valid(event) == (not ours.violations(event)), field
        for violation in ours.violations({**good, "\ud800": 1, "cause": value}):
            (violation.field + violation.message).encode()


def test_free_json_is_not_looked_into() -> None:
    """A result may be as deep as it likes; bounds and encoding are the intake's."""
    deep: Event = {}
    for _ in range(100_000):
        deep = {"a": deep}
    event = {**example("task_finished"), "result": deep}
    assert validator("task_finished").is_valid(event)
    assert validator("task_finished").violations(event) == []


def test_the_scope_of_a_recovery_decides_whether_it_goes_to_everyone() -> None:
    ours = validator("system_recovered")
    everyone = example("system_recovered")
    owner = {"user_id": "42", "task_id": "t", "attempt": 2}
    for scope in ("breaker", "domain", "mode", "store"):
        assert ours.is_valid({**everyone, "scope": scope})
        assert not ours.is_valid({**everyone, **owner, "scope": scope})
    for scope in ("task", "agent"):
        assert ours.is_valid({**everyone, **owner, "scope": scope})


def test_a_changed_status_has_all_failure_fields_or_none() -> None:
    ours = validator("agent_status_changed")
    failure = document("failure")["required"]
    event = example("agent_status_changed")
    better = {key: value for key, value in event.items() if key not in failure}
    assert ours.is_valid(event)
    assert ours.is_valid(better)
    assert ours.is_valid({**better, "error_id": None})  # The envelope has it as well.
    for field in failure:
        without = {key: value for key, value in event.items() if key != field}
        assert [v.field for v in ours.violations(without)] == [field]


def test_a_piece_is_text_or_a_whole_step() -> None:
    ours = validator("partial_result")
    step = example("partial_result")
    bare = {key: value for key, value in step.items() if key not in ("step", "data")}
    assert ours.is_valid(step)
    assert ours.is_valid({**bare, "text": ""})
    assert not ours.is_valid(bare)
    assert not ours.is_valid({**bare, "step": "outline"})
    assert not ours.is_valid({**bare, "text": "x", "data": 1})


def test_a_notification_needs_a_recipient_or_a_channel() -> None:
    ours = validator("notification")
    event = example("notification")
    bare = {key: value for key, value in event.items() if key != "recipient_id"}
    assert ours.is_valid({**bare, "channel": "news"})
    assert not ours.is_valid(bare)
    assert not ours.is_valid({**bare, "recipient_id": None, "channel": None})


@pytest.mark.parametrize("name", ["envelope", "failure"])
def test_what_the_types_share_can_be_validated_by_itself(name: str) -> None:
    """Other fields are then left alone: each type has its own."""
    ours = validator(name)
    event = example("agent_error")
    assert ours.is_valid(event)
    for field in document(name)["required"]:
        without = {key: value for key, value in event.items() if key != field}
        assert [(v.field, v.rule) for v in ours.violations(without)] == [(field, "required")]
    unstamped = {key: value for key, value in event.items() if key != "offset"}
    assert validator(name, stamped=False).is_valid(unstamped)


def test_an_integer_too_long_to_be_printed_is_refused_with_words() -> None:
    """The library that decides would take it for 0, which is a duration."""
    for digits in (4_299, 4_300, 5_000):
        for number in (10**digits, -(10**digits)):
            event = {**example("agent_error"), "estimated_recovery_time": number}
            assert not validator("agent_error").is_valid(event)
            (found,) = validator("agent_error").violations(event)
            assert found.field == "estimated_recovery_time"


def test_a_value_of_python_that_no_rule_looks_at_is_refused_all_the_same() -> None:
    event = {**example("task_finished"), "result": 10**5000}
    assert not validator("task_finished").is_valid(event)
    (found,) = validator("task_finished").violations(event)
    assert (found.field, found.message) == ("", "must consist of plain JSON values only")
