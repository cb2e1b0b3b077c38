"""
The rules over time of a task that changes hands, said once more.

``gateway check`` judges what any subscriber may have missed parts of. Here the whole log is
known, so that more can be asked, and a mistake in the one is seen by the other: what was said of
a task is said by the attempt that runs, under its holder, or it is not said at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.domain.events import BOOKKEEPING

__all__ = ["Life", "broken_locks", "broken_rules", "lives_of"]

Event = Mapping[str, Any]

# Only the attempt that runs can have said these.
WORDS = frozenset({"partial_result", "task_progress", "lease_changed"})
SHOWN = ("attempt", "agent_id", "text", "preserved_text", "action", "error_code", "outcome")
# The gateway's own: a task that waits is asked to go on now.
HURRIED = "retry now, as asked"


@dataclasses.dataclass(repr=False)
class Life:
    """
    A task as its events tell it.

    Attributes:
        running: The attempt that runs, and its worker; None: no attempt runs.
        text: What it has written, as a page shows it.
        ends: Its ``task_finished``.
        broken: What must not be, in words.
        told: All of it in short, for a reader of a failure.
    """

    task_id: str
    attempt: int = 0
    term: int = 0
    running: tuple[int, str] | None = None
    text: str = ""
    preserved: Event | None = None
    must_end: Event | None = None
    ends: list[Event] = dataclasses.field(default_factory=list)
    broken: list[str] = dataclasses.field(default_factory=list)
    told: list[str] = dataclasses.field(default_factory=list)

    def __repr__(self) -> str:
        return "\n".join([f"task {self.task_id}:", *self.told])

    def hear(self, event: Event) -> None:
        """Take the next event about it."""
        kind = event["type"]
        shown = {name: event[name] for name in SHOWN if event.get(name) is not None}
        self.told.append(f"{event['offset']} {event['timestamp']} {kind} {shown}")
        if self.ends and kind != "resource_cleanup":
            if kind == "lease_changed" or kind not in BOOKKEEPING:
                self._find(event, "after its end")
            if kind == "task_finished":
                self.ends.append(event)
            return
        if self.preserved is not None and kind != "resource_cleanup":
            belongs = kind == "agent_error" and event["error_id"] == self.preserved["error_id"]
            if not belongs:
                self._find(event, "between what is preserved and its error")
            self.preserved = None
        if self.must_end is not None and kind in ("task_started", "recovery_attempt"):
            self._find(event, "after an error that no attempt had made")
        if kind in WORDS and event["message"] != HURRIED:
            self._by_holder(event)
        match kind:
            case "task_started":
                self._started(event)
            case "partial_result":
                self.text = ("" if event.get("replaces") else self.text) + event.get("text", "")
            case "partial_result_preserved":
                self.preserved = event
                self.text = event["preserved_text"]
            case "agent_error":
                if self.running is None:
                    self.must_end = event
                else:
                    self._by_holder(event)
                self.running = None
            case "lease_changed":
                self._leased(event)
            case "task_finished":
                if event["outcome"] == "succeeded":
                    self._by_holder(event)
                self.running = None
                self.ends.append(event)

    def _started(self, event: Event) -> None:
        if self.running is not None:
            self._find(event, f"while attempt {self.running[0]} runs")
        if event["attempt"] != self.attempt + 1:
            self._find(event, f"after attempt {self.attempt}")
        self.attempt = event["attempt"]
        self.running = self.attempt, event["agent_id"]

    def _leased(self, event: Event) -> None:
        if event["term"] < self.term:
            self._find(event, f"of term {event['term']} after term {self.term}")
        self.term = event["term"]
        if event["action"] == "released":
            self.running = None

    def _by_holder(self, event: Event) -> None:
        if self.running != (event["attempt"], event.get("agent_id")):
            by = f"attempt {event['attempt']} of {event.get('agent_id')}"
            self._find(event, f"said by {by} while {self.running} runs")

    def _find(self, event: Event, what: str) -> None:
        self.broken.append(f"{event['offset']} {event['type']} of task {self.task_id}: {what}")


def lives_of(events: Iterable[Event]) -> dict[str, Life]:
    """Tell each task's life from the whole log, as operators see it."""
    lives: dict[str, Life] = {}
    for event in events:
        if (task_id := event["task_id"]) is not None:
            lives.setdefault(task_id, Life(task_id)).hear(event)
    return lives


def broken_rules(lives: Mapping[str, Life]) -> list[str]:
    """Say what is broken in lives that are over."""
    broken = [what for life in lives.values() for what in life.broken]
    for task_id, life in lives.items():
        if len(life.ends) != 1:
            broken.append(f"task {task_id} has {len(life.ends)} ends")
        if life.preserved is not None:
            broken.append(f"task {task_id}: what is preserved has no error")
    return broken


def broken_locks(events: Iterable[Event]) -> list[str]:
    """Say where a lock had two holders, or was held for a task that its holder had lost."""
    broken: list[str] = []
    held: dict[str, Event] = {}
    terms: dict[str, int] = {}
    for event in events:
        kind, task_id, key = event["type"], event["task_id"], event.get("resource_key")
        if kind in ("lock_changed", "lock_expired") and key is not None:
            before = held.pop(key, None)
            if kind == "lock_expired" or event["state"] != "held":
                if before is None or before["lock_id"] != event["lock_id"]:
                    broken.append(f"{event['offset']} lock {key} ended, and was not held")
                continue
            if before is not None and before["lock_id"] != event["lock_id"]:
                broken.append(f"{event['offset']} lock {key} has two holders")
            if before is None and event["term"] != terms.get(key, 0) + 1:
                broken.append(f"{event['offset']} lock {key} at term {event['term']}")
            terms[key] = event["term"]
            held[key] = event
        elif kind == "task_started":
            others = [e for e in held.values() if e["task_id"] == task_id]
            if any(e["holder"] != event["agent_id"] for e in others):
                broken.append(f"{event['offset']} task {task_id} began with another's lock")
        elif (
            kind in ("agent_error", "task_finished")
            or (kind == "lease_changed" and event["action"] == "released")
        ) and any(e["task_id"] == task_id for e in held.values()):
            broken.append(f"{event['offset']} {kind} left a lock of task {task_id}")
    return broken + [f"lock {key} is held in the end" for key in held]
