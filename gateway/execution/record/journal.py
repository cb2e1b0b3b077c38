"""
The journal: what this process has put into the log, as lines of Python's logging for people.

Each failure is a line, once, on the node that has written it, with its ids beside the text. Of an
exception its class, its text and where it was raised are part of the line, and of one that nobody
foresaw the stack follows. What goes well is not said, but for what ends a failure.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import orjson

from gateway.domain.diagnostics import logger_of
from gateway.domain.meters import Frequent
from gateway.domain.rates import Buckets
from gateway.domain.redaction import clip
from gateway.ports import Clock, Draft

__all__ = ["IDS", "Journal"]

# A name for people, who may want to set its level.
logger = logger_of("gateway.events")

# What stands beside a line's text, where the event has it.
IDS = ("task_id", "attempt", "error_id", "agent_name", "agent_id", "breaker", "degradation_id")
# Lines a second, and at once; what is more is counted, and the next line says how many.
LINES_PER_S, LINES_AT_ONCE = 100.0, 1_000.0
LINE_CHARS_MAX = 2_000
UNKNOWN = "agent_exception"
# Of a class's name, as a label of the metrics.
NAME_CHARS_MAX = 128
# An exception of the agent's own code: only its stack says where.
UNFORESEEN: Set[str] = frozenset({UNKNOWN, "background_failure"})

# Parts of the paths of code that is not the agent's own.
_LIBRARIES = ("site-packages/", "/lib/python", "dist-packages/", "<frozen ")

Event = Mapping[str, Any]


class Journal:
    """
    Writes lines, and counts the exceptions that no table knows.

    Args:
        clock: Monotonic seconds are asked for.
        unknown: Counts the classes of exceptions that no table knows.
    """

    def __init__(self, clock: Clock, unknown: Frequent) -> None:
        self._clock = clock
        self._unknown = unknown
        self._lines = Buckets(rate=LINES_PER_S, burst=LINES_AT_ONCE)
        self._left_out = 0

    def wrote(self, drafts: Sequence[Draft]) -> None:
        """Say what has been appended, as far as it is worth a line."""
        for draft in drafts:
            if (level_of := TOLD.get(draft.type)) is None:
                continue
            event = orjson.loads(draft.body)
            if event.get("error_code") == UNKNOWN and draft.type == "agent_error":
                self._count(orjson.loads(draft.detail or b"{}"))
            if (level := level_of(event)) and logger.isEnabledFor(level):
                self._say(level, event, orjson.loads(draft.detail or b"{}"))

    def _count(self, detail: Event) -> None:
        """
        Count the class; one of ours was raised by an agent that said what it wants.

        Of a chain the outermost class that is not Python's own: a wrapper says nothing.
        """
        causes = detail.get("chain")
        chain = (detail, *(causes if isinstance(causes, list) else ()))
        names = [step.get("exception") for step in chain if isinstance(step, dict)]
        known = [name for name in names if isinstance(name, str)]
        if known and not known[0].startswith("gateway."):
            own = (name for name in known if not name.startswith("builtins."))
            self._unknown.count(next(own, known[0])[:NAME_CHARS_MAX])

    def _say(self, level: int, event: Event, detail: Event) -> None:
        if self._lines.take("", self._clock.monotonic()):
            self._left_out += 1
            return
        if self._left_out:
            logger.warning("%d lines were left out, there were too many", self._left_out)
            self._left_out = 0
        ids = {name: event[name] for name in IDS if event.get(name) is not None}
        text = clip(_plain(_text(event, detail)), LINE_CHARS_MAX)
        record = logger.makeRecord(
            logger.name,
            level,
            __file__,
            0,
            "%s",
            (text,),
            None,
            extra={"event": event["type"]} | ids,
        )
        if event.get("error_code") in UNFORESEEN and detail.get("stack"):
            record.exc_text = "\n".join(f"  at {frame}" for frame in reversed(detail["stack"]))
        logger.handle(record)


def _text(event: Event, detail: Event) -> str:
    text = str(event["message"])
    if event["type"] == "agent_error":
        if (exception := detail.get("exception")) is not None:
            text += f": {exception}: {detail.get('text', '')}"
            if stack := detail.get("stack"):
                text += f" at {_own_frame(stack)}"
        elif isinstance(process := detail.get("process"), str):
            text += f": {process}"
            if isinstance(peak := detail.get("peak_bytes"), int):
                text += f", {peak / 1024**2:.0f} MiB of memory at the most"
        text += "; it is tried again" if event["will_retry"] else "; it is not tried again"
    elif event["type"] == "request_rejected":
        text += f" ({event['count']} times)"
        if (user := event["user_id"]) not in (None, "*"):
            text += f" of user {user}"
    elif event["type"] == "audit_recorded" and (by := detail.get("by")) is not None:
        text += f" by {by}"
    return text


def _own_frame(stack: Sequence[str]) -> str:
    """Give the last frame that is no library's; they call each other before it fails."""
    own = (frame for frame in reversed(stack) if not any(part in frame for part in _LIBRARIES))
    return next(own, stack[-1])


def _plain(text: str) -> str:
    """Let a text be one line that moves no cursor: it may quote what others have written."""
    return "".join(char if char.isprintable() else " " for char in text)


# --- what is worth a line, and at which level; 0: it is not ---------------------------------------


def _by_severity(event: Event) -> int:
    return _LEVELS[event["severity"]]


def _failed(event: Event) -> int:
    if event["severity"] == "info":
        return 0  # cancelled
    # What a caller has asked is the caller's to mend.
    own = event["error_type"] in ("invalid_input", "content_refused")
    return logging.WARNING if event["will_retry"] or own else logging.ERROR


def _cleaned(event: Event) -> int:
    return 0 if event["cleanup_status"] == "success" else logging.WARNING


def _degraded(event: Event) -> int:
    return 0 if event["scope"] == "gateway" else logging.WARNING  # told by ``mode_changed``


def _recovered(event: Event) -> int:
    return 0 if event["scope"] == "mode" else logging.INFO


def _always(event: Event) -> int:
    return logging.INFO


_LEVELS = {
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
TOLD: Mapping[str, Callable[[Event], int]] = {
    "agent_error": _failed,
    "agent_registered": _always,
    "agent_status_changed": _by_severity,
    "audit_recorded": _by_severity,
    "circuit_breaker_triggered": _by_severity,
    "graceful_degradation": _degraded,
    "lock_expired": _by_severity,
    "mode_changed": _by_severity,
    "request_rejected": _by_severity,
    "resource_cleanup": _cleaned,
    "system_recovered": _recovered,
    "task_dead_lettered": _by_severity,
}
