"""
The rules over time: what has to hold in every stream of events that one subscriber saw.

A checker reads events in the order in which they came and says where a rule is broken. It
judges only what the stream itself proves (decision 8). A subscriber that joined late, follows
one user or missed events (``gap``) never saw some beginnings, so an end without a beginning is
no finding. A beginning without an end is a finding only for a recording that is said to be
complete.

Each epoch is judged by itself: a new log knows nothing of the tasks and failures of the old one.
What the checker remembers of things that have ended is bounded; see ``REMEMBERED_MAX``.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from gateway.domain.events import BOOKKEEPING
from gateway.domain.timestamps import seconds_of

__all__ = ["REMEMBERED_MAX", "RULES", "Finding", "StreamChecker", "check_stream"]

_V = TypeVar("_V")

RULES: Final[Mapping[str, str]] = {
    "exactly-one-task-finished": "an accepted task gets exactly one task_finished",
    "nothing-after-finished": "after task_finished only resource_cleanup names the task",
    "failure-ends": "a failure ends by system_recovered or by the task_finished that names it",
    "partial-before-error": "partial_result_preserved comes before the agent_error it belongs to",
    "stale-term": "what an older attempt or term says is not in the log",
    "offsets-grow": "offsets strictly grow within an epoch, and an epoch does not come back",
    "degradation-ends": "a degradation ends by the system_recovered with its degradation_id",
    "attempts-grow": "each task_started of a task has a higher attempt than the one before",
    "recoveries-count": "the recovery_attempts of a failure are numbered 1, 2, 3, …",
    "one-trigger-per-opening": "a breaker that is open does not open again before it was probed",
    "breaker-versions-grow": "each opening of a breaker has a higher breaker_version",
    "event-ids-unique": "no two events have the same event_id",
}

# How many finished tasks, event ids, terms and epochs are remembered; the oldest are dropped.
# As many as a log keeps by default: a repetition comes soon, by a retry or a resume.
REMEMBERED_MAX = 100_000

# An opening's probe_at is by the gateway's clock, the next opening's timestamp by the log's: room
# for two hosts' clocks running apart, in seconds. Well under any cooldown.
CLOCK_SLACK_S = 0.05

OPENING = frozenset({"agent_error", "circuit_breaker_triggered", "graceful_degradation"})

# Events by or about the attempt that runs. The cleanup of an earlier attempt may come later.
OF_THE_RUNNING_ATTEMPT = frozenset(
    {"agent_error", "partial_result", "partial_result_preserved", "task_finished", "task_progress"}
)

# After these the error that a preserved result belongs to can no longer come.
ENDING_AN_ATTEMPT = frozenset({"task_dead_lettered", "task_finished", "task_started"})


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """
    One broken rule.

    Attributes:
        position: Where: the event's place in the stream, from 1.
        offset: The event's offset; None when it has none.
        rule: The rule's name, a key of ``RULES``.
        message: What is wrong, with the ids and numbers.
    """

    position: int
    offset: int | None
    rule: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where in the stream something began that has to end."""

    position: int
    offset: int | None


@dataclasses.dataclass(slots=True)
class _Breaker:
    """The last opening of one breaker that the stream showed."""

    version: int | None
    error_id: str | None
    probe_at: float | None
    closed_or_probed: bool = False


@dataclasses.dataclass(slots=True)
class _Epoch:
    """What is known of one log."""

    name: str | None
    last_offset: int = 0
    finished: OrderedDict[str, None] = dataclasses.field(default_factory=OrderedDict)
    # What has begun and has to end.
    tasks: dict[str, _Place] = dataclasses.field(default_factory=dict)
    failures: dict[str, _Place] = dataclasses.field(default_factory=dict)
    degradations: dict[str, _Place] = dataclasses.field(default_factory=dict)
    partials: dict[str | None, dict[str, _Place]] = dataclasses.field(default_factory=dict)
    # Numbers that have to grow: attempts by task, terms by task or resource, recoveries by
    # failure (None: some were missed, so that any number may be next).
    attempts: dict[str, int] = dataclasses.field(default_factory=dict)
    terms: OrderedDict[str, int] = dataclasses.field(default_factory=OrderedDict)
    recoveries: dict[str, int | None] = dataclasses.field(default_factory=dict)
    breakers: dict[str, _Breaker] = dataclasses.field(default_factory=dict)


def check_stream(events: Iterable[Mapping[str, Any]], *, complete: bool = False) -> list[Finding]:
    """
    Check a recorded stream, and give the findings in the order of the stream.

    Args:
        events: The events as one subscriber saw them, in order.
        complete: Whether the stream was recorded to its end; what is still open there is then
            a finding.
    """
    checker = StreamChecker()
    findings = [finding for event in events for finding in checker.feed(event)]
    if complete:
        findings += checker.finish()
    return sorted(findings, key=lambda finding: finding.position)


class StreamChecker:
    """The checker, fed event by event, for a stream that is still being recorded."""

    def __init__(self) -> None:
        self._epoch = _Epoch(None)
        self._past_epochs: OrderedDict[str, None] = OrderedDict()
        self._event_ids: OrderedDict[str, None] = OrderedDict()
        self._place = _Place(0, None)
        self._found: list[Finding] = []

    def feed(self, event: Mapping[str, Any], *, position: int | None = None) -> list[Finding]:
        """
        Read the next event and give the findings it leads to.

        Args:
            event: The event; fields that are missing or of a wrong type are passed over, since
                the schemas judge those.
            position: The event's place in the stream, for findings; None: one after the last.
        """
        self._found = []
        self._place = _Place(
            self._place.position + 1 if position is None else position, _int(event, "offset")
        )
        self._check_position(event)
        self._check_task(event)
        if (rule := _RULES_BY_TYPE.get(_text(event, "type") or "")) is not None:
            rule(self, event)
        self._check_failure(event)
        return self._found

    def gap(self) -> None:
        """
        Note that the subscriber missed events here, and was told so.

        What was open may have ended in the gap, and numbers that count by one may have moved
        on. Numbers that grow still have to grow.
        """
        epoch = self._epoch
        for open_things in (epoch.tasks, epoch.failures, epoch.degradations, epoch.partials):
            open_things.clear()
        epoch.recoveries = dict.fromkeys(epoch.recoveries)
        for breaker in epoch.breakers.values():
            breaker.closed_or_probed = True

    def finish(self) -> list[Finding]:
        """
        Give a finding for everything that is still open, in the order in which it began.

        Only the last epoch is judged: what was open in an earlier one went with its log.
        """
        epoch = self._epoch
        self._found = []
        for task_id, place in epoch.tasks.items():
            self._find("exactly-one-task-finished", f"task {task_id} has no task_finished", place)
        for error_id, place in epoch.failures.items():
            self._find("failure-ends", f"failure {error_id} did not end", place)
        for degradation_id, place in epoch.degradations.items():
            self._find("degradation-ends", f"degradation {degradation_id} did not end", place)
        for subject in list(epoch.partials):
            self._judge_partials(subject, "by the end of the stream")
        return sorted(self._found, key=lambda finding: finding.position)

    # --- rules for every event ---------------------------------------------------------------

    def _check_position(self, event: Mapping[str, Any]) -> None:
        name, offset = _text(event, "epoch"), self._place.offset
        if name is not None and name != self._epoch.name:
            if name in self._past_epochs:
                self._find("offsets-grow", f"epoch {name} came back after {self._epoch.name}")
            if self._epoch.name is not None:
                _remember(self._past_epochs, self._epoch.name, None)
            self._epoch = _Epoch(name)
        if offset is None:
            self._find("offsets-grow", "the event has no offset")
        elif offset <= self._epoch.last_offset:
            self._find("offsets-grow", f"offset {offset} came after {self._epoch.last_offset}")
        else:
            self._epoch.last_offset = offset
        if (event_id := _text(event, "event_id")) is not None:
            if event_id in self._event_ids:
                self._find("event-ids-unique", f"event_id {event_id} came before")
            _remember(self._event_ids, event_id, None)

    def _check_task(self, event: Mapping[str, Any]) -> None:
        kind, task_id = _text(event, "type"), _text(event, "task_id")
        if kind is None or task_id is None or kind in BOOKKEEPING:
            return
        epoch = self._epoch
        if task_id in epoch.finished and kind != "resource_cleanup":
            if kind == "task_finished":
                self._find("exactly-one-task-finished", f"task {task_id} finished before")
            else:
                self._find("nothing-after-finished", f"{kind} of task {task_id}, which finished")
        if kind in OF_THE_RUNNING_ATTEMPT:
            attempt, running = _int(event, "attempt"), epoch.attempts.get(task_id)
            if attempt is not None and running is not None and attempt < running:
                self._find(
                    "stale-term",
                    f"{kind} of task {task_id}, attempt {attempt}, while attempt {running} runs",
                )
        if kind in ENDING_AN_ATTEMPT:
            self._judge_partials(task_id, f"before {kind}")

    def _check_failure(self, event: Mapping[str, Any]) -> None:
        kind, error_id = _text(event, "type"), _text(event, "error_id")
        if error_id is None:
            return
        if kind in OPENING:
            self._epoch.failures.setdefault(error_id, self._place)
        elif kind in {"system_recovered", "task_finished"}:
            self._epoch.failures.pop(error_id, None)
            self._epoch.recoveries.pop(error_id, None)

    # --- rules by type -----------------------------------------------------------------------

    def _on_submitted(self, event: Mapping[str, Any]) -> None:
        if (task_id := _text(event, "task_id")) and task_id not in self._epoch.finished:
            self._epoch.tasks.setdefault(task_id, self._place)

    def _on_started(self, event: Mapping[str, Any]) -> None:
        task_id, attempt = _text(event, "task_id"), _int(event, "attempt")
        if task_id is None or attempt is None:
            return
        before = self._epoch.attempts.get(task_id)
        if before is not None and attempt <= before:
            self._find("attempts-grow", f"task {task_id} started attempt {attempt} after {before}")
        self._epoch.attempts[task_id] = max(attempt, before or 0)

    def _on_finished(self, event: Mapping[str, Any]) -> None:
        if (task_id := _text(event, "task_id")) is not None:
            _remember(self._epoch.finished, task_id, None)
            self._epoch.tasks.pop(task_id, None)
            self._epoch.attempts.pop(task_id, None)
            self._epoch.terms.pop(f"task {task_id}", None)

    def _on_partial(self, event: Mapping[str, Any]) -> None:
        task_id, error_id = _text(event, "task_id"), _text(event, "error_id")
        if error_id is None:
            self._find("partial-before-error", "partial_result_preserved names no error_id")
        else:
            self._epoch.partials.setdefault(task_id, {})[error_id] = self._place

    def _on_error(self, event: Mapping[str, Any]) -> None:
        task_id, error_id = _text(event, "task_id"), _text(event, "error_id")
        if error_id is not None and task_id in self._epoch.partials:
            self._epoch.partials[task_id].pop(error_id, None)
            if not self._epoch.partials[task_id]:
                del self._epoch.partials[task_id]

    def _on_recovery_attempt(self, event: Mapping[str, Any]) -> None:
        number, error_id = _int(event, "attempt_number"), _text(event, "error_id")
        if number is None or error_id is None:
            return
        # The first number has to be 1 only where the stream shows the task from its beginning.
        whole = _text(event, "task_id") in self._epoch.tasks
        last = self._epoch.recoveries.get(error_id, 0 if whole else None)
        if last is not None and number != last + 1:
            self._find(
                "recoveries-count",
                f"recovery_attempt {number} of failure {error_id}, expected {last + 1}",
            )
        self._epoch.recoveries[error_id] = number

    def _on_trigger(self, event: Mapping[str, Any]) -> None:
        name, version = _breaker_of(event), _int(event, "breaker_version")
        if name is None:
            return
        last = self._epoch.breakers.get(name)
        now, probe_at = _time(event, "timestamp"), _time(event, "probe_at")
        if last is not None:
            if version is not None and last.version is not None and version <= last.version:
                self._find(
                    "breaker-versions-grow",
                    f"breaker {name} opened with version {version} after {last.version}",
                )
            # The probes may have been tasks of another user, which this subscriber does not
            # see; but no breaker probes before probe_at.
            cooled = now and last.probe_at and now + CLOCK_SLACK_S >= last.probe_at
            if not (last.closed_or_probed or cooled):
                self._find(
                    "one-trigger-per-opening", f"breaker {name} opened again while it was open"
                )
        self._epoch.breakers[name] = _Breaker(version, _text(event, "error_id"), probe_at)

    def _on_probe(self, event: Mapping[str, Any]) -> None:
        if (breaker := self._epoch.breakers.get(_breaker_of(event) or "")) is not None:
            breaker.closed_or_probed = True

    def _on_degradation(self, event: Mapping[str, Any]) -> None:
        if (degradation_id := _text(event, "degradation_id")) is not None:
            self._epoch.degradations.setdefault(degradation_id, self._place)

    def _on_recovered(self, event: Mapping[str, Any]) -> None:
        if (degradation_id := _text(event, "degradation_id")) is not None:
            self._epoch.degradations.pop(degradation_id, None)
        # The event names its breaker by the failure that the opening began.
        error_id = _text(event, "error_id")
        for breaker in self._epoch.breakers.values():
            if error_id is not None and breaker.error_id == error_id:
                breaker.closed_or_probed = True

    def _on_term(self, event: Mapping[str, Any]) -> None:
        term = _int(event, "term")
        resource_key, task_id = _text(event, "resource_key"), _text(event, "task_id")
        if term is None or (resource_key is None and task_id is None):
            return
        if resource_key is None and task_id in self._epoch.finished:
            return  # the release of the lease, which belongs to the end of the task
        subject = f"task {task_id}" if resource_key is None else f"lock {resource_key}"
        newest = self._epoch.terms.get(subject, term)
        if term < newest:
            self._find("stale-term", f"{subject}: term {term} after term {newest}")
        _remember(self._epoch.terms, subject, max(term, newest))

    # --- findings ----------------------------------------------------------------------------

    def _judge_partials(self, task_id: str | None, when: str) -> None:
        for error_id, place in self._epoch.partials.pop(task_id, {}).items():
            self._find(
                "partial-before-error",
                f"partial_result_preserved without the agent_error of {error_id} {when}",
                place,
            )

    def _find(self, rule: str, message: str, place: _Place | None = None) -> None:
        assert rule in RULES
        place = place or self._place
        self._found.append(Finding(place.position, place.offset, rule, message))


_RULES_BY_TYPE: Final[Mapping[str, Callable[[StreamChecker, Mapping[str, Any]], None]]] = {
    "task_submitted": StreamChecker._on_submitted,
    "task_started": StreamChecker._on_started,
    "task_finished": StreamChecker._on_finished,
    "partial_result_preserved": StreamChecker._on_partial,
    "agent_error": StreamChecker._on_error,
    "recovery_attempt": StreamChecker._on_recovery_attempt,
    "circuit_breaker_triggered": StreamChecker._on_trigger,
    "circuit_breaker_test_request": StreamChecker._on_probe,
    "graceful_degradation": StreamChecker._on_degradation,
    "system_recovered": StreamChecker._on_recovered,
    "lease_changed": StreamChecker._on_term,
    "lock_changed": StreamChecker._on_term,
}


def _remember(memory: OrderedDict[str, _V], key: str, value: _V) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > REMEMBERED_MAX:
        memory.popitem(last=False)


def _breaker_of(event: Mapping[str, Any]) -> str | None:
    """Name the breaker; a failure domain may have the name of an agent's."""
    name = _text(event, "breaker")
    of_domain = name is not None and _text(event, "domain") == name
    return f"domain {name}" if of_domain else name


def _text(event: Mapping[str, Any], field: str) -> str | None:
    value = event.get(field)
    return value if isinstance(value, str) else None


def _int(event: Mapping[str, Any], field: str) -> int | None:
    value = event.get(field)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _time(event: Mapping[str, Any], field: str) -> float | None:
    try:
        return seconds_of(_text(event, field) or "")
    except ValueError:
        return None
