"""
Alerts: which events are worth one, so that somebody looks at the gateway who is not watching it.

What needs a person, and what says that it is over: dead letters, breakers and failure domains that
open and close, degradations that begin and end, workers that are lost or in quarantine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["TYPES", "is_alert"]

Event = Mapping[str, Any]


def is_alert(event: Event) -> bool:
    """Whether an event is worth an alert."""
    worth = TYPES.get(event["type"])
    return worth is not None and worth(event)


def _always(event: Event) -> bool:
    return True


def _is_over(event: Event) -> bool:
    """Of what concerns everyone; the recovery of one task is its user's business."""
    return event["scope"] in ("breaker", "domain", "mode", "store")


def _is_lost(event: Event) -> bool:
    """A worker that said goodbye was told to leave."""
    lost = event["status"] == "offline" and event["reason"] != "goodbye"
    return bool(lost or event["status"] == "quarantined")


# The types of which some are, and which.
TYPES: Mapping[str, Callable[[Event], bool]] = {
    "task_dead_lettered": _always,
    "circuit_breaker_triggered": _always,
    "graceful_degradation": _always,
    "system_recovered": _is_over,
    "agent_status_changed": _is_lost,
}
