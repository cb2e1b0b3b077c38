"""The rules over time: each kept and each broken, and no finding where the stream proves none."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import event_schemas
from gateway.domain import compliance
from gateway.domain.compliance import RULES, StreamChecker, check_stream

Event = dict[str, Any]


def stamped(*events: Event, epoch: str = "e1", first: int = 1) -> list[Event]:
    """Give events their places in one log, as the log would."""
    return [
        {"event_id": f"{epoch}-{offset}", **event, "epoch": epoch, "offset": offset}
        for offset, event in enumerate(events, start=first)
    ]


def event(kind: str, **fields: Any) -> Event:
    return {"type": kind, **fields}


def of_task(kind: str, **fields: Any) -> Event:
    return event(kind, **({"task_id": "t1", "user_id": "u1"} | fields))


SUBMITTED = of_task("task_submitted")
STARTED = of_task("task_started", attempt=1)
FINISHED = of_task("task_finished", attempt=1, outcome="succeeded", error_id=None)
FAILED = of_task("task_finished", attempt=1, outcome="failed", error_id="f1")
ERROR = of_task("agent_error", attempt=1, error_id="f1")
PARTIAL = of_task("partial_result_preserved", attempt=1, error_id="f1")
RECOVERED = of_task("system_recovered", error_id="f1")
DEGRADED = event("graceful_degradation", degradation_id="d1", error_id="f2")
RESTORED = event("system_recovered", degradation_id="d1", error_id="f2")


def trigger(version: int, at: int, **fields: Any) -> Event:
    """An opening at second ``at`` with ten seconds of cooldown."""
    return event(
        "circuit_breaker_triggered",
        breaker="b1",
        breaker_version=version,
        error_id="f3",
        timestamp=f"2026-11-22T05:00:{at:02}.000Z",
        probe_at=f"2026-11-22T05:00:{at + 10:02}.000Z",
        **fields,
    )


PROBE = event("circuit_breaker_test_request", breaker="b1")
CLOSED = event("system_recovered", scope="breaker", error_id="f3")


def recovery(number: int, **fields: Any) -> Event:
    return of_task("recovery_attempt", error_id="f1", attempt_number=number, **fields)


def lease(term: int) -> Event:
    return of_task("lease_changed", term=term)


def lock(term: int, key: str = "r1") -> Event:
    return event("lock_changed", resource_key=key, term=term)


KEPT = {
    "exactly-one-task-finished": (SUBMITTED, STARTED, FINISHED),
    "nothing-after-finished": (
        *(SUBMITTED, STARTED, FINISHED, of_task("resource_cleanup", attempt=1)),
        *(of_task("dead_letter_changed"), lease(1)),
    ),
    "failure-ends": (SUBMITTED, STARTED, ERROR, FAILED),
    "partial-before-error": (STARTED, PARTIAL, ERROR, of_task("task_started", attempt=2)),
    "stale-term": (STARTED, lease(1), lease(1), lock(1), lease(2), lock(2), lock(1, key="r2")),
    "offsets-grow": (STARTED, ERROR),
    "degradation-ends": (DEGRADED, DEGRADED, RESTORED),
    "attempts-grow": (STARTED, of_task("task_started", attempt=2)),
    "recoveries-count": (SUBMITTED, ERROR, recovery(1), ERROR, recovery(2), ERROR, recovery(3)),
    "one-trigger-per-opening": (trigger(1, 0), PROBE, trigger(2, 5), CLOSED, trigger(3, 6)),
    "breaker-versions-grow": (trigger(1, 0), PROBE, trigger(2, 10)),
    "event-ids-unique": (event("notification", event_id="a"), event("notification", event_id="b")),
}

# The event that breaks the rule is the last one, or the one that the number points at.
BROKEN: dict[str, list[tuple[tuple[Event, ...], int]]] = {
    "exactly-one-task-finished": [((SUBMITTED, FINISHED, FINISHED), 3)],
    "nothing-after-finished": [
        ((SUBMITTED, FINISHED, of_task("task_progress", attempt=1)), 3),
        ((FINISHED, RECOVERED), 2),
        ((FINISHED, SUBMITTED), 2),
    ],
    "partial-before-error": [
        ((PARTIAL, FINISHED), 1),
        ((ERROR, PARTIAL, FAILED), 2),
        ((PARTIAL, of_task("task_dead_lettered", error_id="f1"), ERROR), 1),
        ((PARTIAL, of_task("task_started", attempt=2), {**ERROR, "attempt": 2}), 1),
        ((PARTIAL, of_task("agent_error", error_id="another"), FAILED), 1),
        ((PARTIAL, event("agent_error", task_id="another", error_id="f1"), FAILED), 1),
        ((of_task("partial_result_preserved", error_id=None),), 1),
    ],
    "stale-term": [
        ((STARTED, of_task("task_started", attempt=2), ERROR), 3),
        ((STARTED, of_task("task_started", attempt=2), FINISHED), 3),
        ((lease(2), lease(1)), 2),
        ((lock(2), lock(1)), 2),
    ],
    "attempts-grow": [
        ((STARTED, STARTED), 2),
        ((of_task("task_started", attempt=3), of_task("task_started", attempt=2)), 2),
    ],
    "recoveries-count": [
        ((SUBMITTED, ERROR, recovery(2)), 3),
        ((ERROR, recovery(1), recovery(1)), 3),
        ((ERROR, recovery(1), recovery(3)), 3),
    ],
    "one-trigger-per-opening": [
        ((trigger(1, 0), trigger(2, 0)), 2),
        ((trigger(1, 0), trigger(2, 9)), 2),
        ((trigger(1, 0), PROBE, trigger(2, 10), trigger(3, 11)), 4),
    ],
    "breaker-versions-grow": [
        ((trigger(1, 0), CLOSED, trigger(1, 20)), 3),
        ((trigger(2, 0), PROBE, trigger(1, 20)), 3),
    ],
    "event-ids-unique": [((event("task_progress", event_id="a"), event("x", event_id="a")), 2)],
}

# Broken only by what does not come any more.
OPEN: dict[str, list[tuple[tuple[Event, ...], int]]] = {
    "exactly-one-task-finished": [((SUBMITTED, STARTED), 1)],
    "failure-ends": [
        ((ERROR, FINISHED), 1),
        ((trigger(1, 0),), 1),
        ((DEGRADED, event("system_recovered", degradation_id="d1")), 1),
    ],
    "degradation-ends": [((DEGRADED, event("system_recovered", error_id="f2")), 1)],
    "partial-before-error": [((PARTIAL,), 1), ((ERROR, PARTIAL, RECOVERED), 2)],
}


@pytest.mark.parametrize("rule", RULES)
def test_a_stream_that_keeps_a_rule_has_no_finding(rule: str) -> None:
    assert check_stream(stamped(*KEPT[rule])) == []


@pytest.mark.parametrize(
    ("rule", "events", "position"),
    [(rule, *case) for rule, cases in BROKEN.items() for case in cases],
)
def test_a_stream_that_breaks_a_rule_has_one_finding_at_the_place(
    rule: str, events: tuple[Event, ...], position: int
) -> None:
    """One fault, one finding: its reader looks in one place."""
    findings = check_stream(stamped(*events))
    assert [(found.rule, found.position, found.offset) for found in findings] == [
        (rule, position, position)
    ]


@pytest.mark.parametrize(
    ("rule", "events", "position"),
    [(rule, *case) for rule, cases in OPEN.items() for case in cases],
)
def test_what_is_still_open_is_a_finding_only_at_the_end_of_a_complete_recording(
    rule: str, events: tuple[Event, ...], position: int
) -> None:
    assert check_stream(stamped(*events)) == []
    findings = check_stream(stamped(*events), complete=True)
    assert (rule, position) in [(found.rule, found.position) for found in findings]
    assert {found.rule for found in findings} == {rule}


def test_every_rule_is_shown_to_be_kept_and_to_be_broken() -> None:
    assert set(KEPT) == set(RULES)
    assert set(BROKEN) | set(OPEN) | {"offsets-grow"} == set(RULES)


@pytest.mark.parametrize("offset", [2, 1, None, True, "3"])
def test_an_offset_that_does_not_grow_is_found(offset: object) -> None:
    events = [*stamped(STARTED, ERROR), {**RECOVERED, "epoch": "e1", "offset": offset}]
    assert [found.rule for found in check_stream(events)] == ["offsets-grow"]


def test_a_new_epoch_starts_afresh_and_an_old_one_does_not_come_back() -> None:
    """A gateway with a new log knows nothing of the tasks and failures of the old one."""
    old, new = stamped(SUBMITTED, STARTED, ERROR), stamped(SUBMITTED, STARTED, FINISHED, epoch="e2")
    assert check_stream(old + new, complete=True) == []
    findings = check_stream(old[:2] + new + old[2:])
    assert [(found.position, found.rule) for found in findings] == [(6, "offsets-grow")]


def test_after_a_gap_nothing_is_expected_that_may_have_come_in_it() -> None:
    checker = StreamChecker()
    before = stamped(SUBMITTED, ERROR, recovery(1), PARTIAL, DEGRADED, trigger(1, 0))
    after = stamped(recovery(3), trigger(2, 1), CLOSED, FINISHED, first=20)
    for seen in before:
        assert checker.feed(seen) == []
    checker.gap()
    for seen in after:
        assert checker.feed(seen) == []
    assert checker.finish() == []


def test_after_a_gap_numbers_still_grow() -> None:
    checker = StreamChecker()
    for seen in stamped(STARTED, trigger(2, 0)):
        checker.feed(seen)
    checker.gap()
    later = stamped(STARTED, trigger(2, 30), first=10)
    found = [finding.rule for seen in later for finding in checker.feed(seen)]
    assert found == ["attempts-grow", "breaker-versions-grow"]


def test_a_domain_may_have_the_name_of_an_agents_breaker() -> None:
    """Their versions are counted apart, and so are their probes."""
    of_domain = {"scope": "domain", "domain": "b1"}
    openings = trigger(5, 0), trigger(1, 0, **of_domain)
    probe = event("circuit_breaker_test_request", breaker="b1", domain="b1")
    assert check_stream(stamped(*openings, probe, trigger(2, 1, **of_domain))) == []
    (found,) = check_stream(stamped(*openings, probe, trigger(6, 1)))
    assert found.rule == "one-trigger-per-opening"


def test_without_its_probes_a_breaker_may_open_again_after_its_cooldown() -> None:
    """The probes are tasks of other users, whom the stream does not show; openings go to all."""
    assert check_stream(stamped(trigger(1, 0), trigger(2, 10))) == []


def test_a_subscriber_that_joined_late_need_not_see_the_first_recovery() -> None:
    assert check_stream(stamped(ERROR, recovery(2), ERROR, recovery(3))) == []


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound forgets the oldest first, never the newest."""
    monkeypatch.setattr(compliance, "REMEMBERED_MAX", 3)
    ends = [of_task("task_finished", task_id=f"t{number}") for number in range(5)]
    late = [of_task("task_progress", task_id=f"t{number}") for number in (1, 2)]
    findings = check_stream(stamped(*ends, *late))
    assert [found.message for found in findings] == ["task_progress of task t2, which finished"]


@given(st.lists(st.dictionaries(st.sampled_from(["type", "task_id", "error_id"]), st.none())))
def test_missing_and_mistyped_fields_are_left_to_the_schemas(events: list[Event]) -> None:
    assert check_stream(stamped(*events)) == []


FIELDS = (
    *("task_id", "error_id", "attempt", "attempt_number", "breaker", "breaker_version"),
    *("degradation_id", "term", "resource_key", "timestamp", "probe_at"),
)


@pytest.mark.parametrize("wrong", [None, 7.5, True, [], {}])
@pytest.mark.parametrize("kind", event_schemas.TYPES)
def test_an_event_with_fields_of_a_wrong_type_breaks_no_rule(kind: str, wrong: object) -> None:
    odd, bare = event(kind, **dict.fromkeys(FIELDS, wrong)), event(kind)
    found = {finding.rule for finding in check_stream(stamped(odd, bare))}
    # That it names its error is part of the rule.
    assert found == ({"partial-before-error"} if kind == "partial_result_preserved" else set())


def test_times_that_cannot_be_read_are_no_proof_of_a_cooldown() -> None:
    unreadable = {"timestamp": "soon", "probe_at": "later"}
    openings = [trigger(1, 0), {**trigger(2, 30), **unreadable}]
    found = [finding.rule for finding in check_stream(stamped(*openings))]
    assert found == ["one-trigger-per-opening"]


def test_a_task_that_its_subscriber_saw_end_is_not_expected_to_end_again() -> None:
    """A submission that comes after the end, as a resume may bring it, opens nothing."""
    findings = check_stream(stamped(FINISHED, SUBMITTED), complete=True)
    assert [finding.rule for finding in findings] == ["nothing-after-finished"]


# --- random streams that keep every rule, and what becomes of them when one thing is wrong -------


@dataclasses.dataclass(frozen=True)
class Life:
    """How one task fares: attempts that fail, the one that does not, and whether it recovers."""

    task: str
    failures: int
    preserves: bool
    recovers: bool

    def events(self) -> list[Event]:
        own = {"task_id": self.task, "user_id": f"user of {self.task}"}
        failure = {**own, "error_id": f"failure of {self.task}"}
        events = [event("task_submitted", **own)]
        for attempt in range(1, self.failures + 1):
            events.append(event("task_started", attempt=attempt, **own))
            if self.preserves:
                events.append(event("partial_result_preserved", attempt=attempt, **failure))
            events.append(event("agent_error", attempt=attempt, **failure))
            if attempt < self.failures or self.recovers:
                number = {"attempt_number": attempt, "attempt": attempt + 1}
                events.append(event("recovery_attempt", **number, **failure))
        if self.recovers or not self.failures:
            events.append(event("task_started", attempt=self.failures + 1, **own))
            if self.failures:
                events.append(event("system_recovered", scope="task", **failure))
            events.append(event("task_finished", outcome="succeeded", **own, error_id=None))
        else:
            events.append(event("task_finished", outcome="failed", **failure))
        return [*events, event("resource_cleanup", attempt=1, **own)]


@st.composite
def good_streams(draw: st.DrawFn) -> list[Event]:
    """Several lives, a breaker and a degradation, mixed in any order that each one allows."""
    lives = [
        Life(f"t{number}", draw(st.integers(0, 3)), draw(st.booleans()), draw(st.booleans()))
        for number in range(draw(st.integers(1, 4)))
    ]
    system = {"user_id": "*"}
    threads = [life.events() for life in lives]
    threads.append([{**one, **system} for one in (trigger(1, 0), PROBE, trigger(2, 20), CLOSED)])
    threads.append([{**DEGRADED, **system}, {**RESTORED, **system}])
    turns = [number for number, thread in enumerate(threads) for _ in thread]
    queues = [iter(thread) for thread in threads]
    return stamped(*(next(queues[turn]) for turn in draw(st.permutations(turns))))


@given(good_streams(), st.data())
def test_a_good_stream_has_no_finding_for_any_subscriber(
    stream: list[Event], data: st.DataObject
) -> None:
    """All of it, one user's view, and whatever part of it a late or an early leaver saw."""
    assert check_stream(stream, complete=True) == []
    user = data.draw(st.sampled_from([one["user_id"] for one in stream]))
    view = [one for one in stream if one["user_id"] in {user, "*"}]
    assert check_stream(view, complete=True) == []
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(stream))] * 2)))
    assert check_stream(stream[start:end]) == []


@given(good_streams(), st.data())
def test_an_event_that_comes_twice_or_too_late_is_found(
    stream: list[Event], data: st.DataObject
) -> None:
    moved = data.draw(st.integers(0, len(stream) - 2))
    place = data.draw(st.integers(moved + 2, len(stream)))
    twice = [*stream[:place], stream[moved], *stream[place:]]
    assert {found.rule for found in check_stream(twice)} >= {"offsets-grow", "event-ids-unique"}
    late = twice[:moved] + twice[moved + 1 :]
    assert "offsets-grow" in {found.rule for found in check_stream(late)}


@given(good_streams(), st.data())
def test_an_end_that_does_not_come_is_found(stream: list[Event], data: st.DataObject) -> None:
    ends = [
        index
        for index, one in enumerate(stream)
        if one["type"] in {"task_finished", "system_recovered"}
    ]
    lost = data.draw(st.sampled_from(ends))
    findings = check_stream(stream[:lost] + stream[lost + 1 :], complete=True)
    assert {found.rule for found in findings} & {
        *("exactly-one-task-finished", "failure-ends", "degradation-ends")
    }


@given(good_streams(), st.data())
def test_an_error_that_a_preserved_result_waits_for_in_vain_is_found(
    stream: list[Event], data: st.DataObject
) -> None:
    errors = [index for index, one in enumerate(stream) if one["type"] == "agent_error"]
    preserved = {one.get("task_id") for one in stream if one["type"] == "partial_result_preserved"}
    awaited = [index for index in errors if stream[index]["task_id"] in preserved]
    if awaited:
        lost = data.draw(st.sampled_from(awaited))
        findings = check_stream(stream[:lost] + stream[lost + 1 :])
        assert {found.rule for found in findings} == {"partial-before-error"}


@given(good_streams(), st.data())
def test_a_task_that_goes_on_after_its_end_is_found(
    stream: list[Event], data: st.DataObject
) -> None:
    """Written to the log as if it were new, so that only the task's own order gives it away."""
    tasks = [one for one in stream if one.get("task_id") and one["type"] != "resource_cleanup"]
    again = data.draw(st.sampled_from(tasks))
    renumbered = stamped(*stream, {**again, "event_id": "new"})
    rules = {found.rule for found in check_stream(renumbered)}
    assert rules & {"nothing-after-finished", "exactly-one-task-finished"}
