"""
Alerts: which events are worth one, so that somebody looks at the gateway who is not watching it.

What needs a person, and what says that it is over: dead letters, breakers and failure domains that
open and close, degradations that begin and end, workers that are lost or in quarantine. And of the
failures of attempts those that only an operator ends: they open no breaker, and their tasks end
without a dead letter. Of these there may be many, so each kind is worth one alert an hour.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["HOLD_MIN_S", "KINDS_MAX", "QUIET_S", "TYPES", "Seldom", "is_alert"]

# An upstream that asks to be left alone for longer is worth an alert, in seconds.
HOLD_MIN_S = 60.0
# How long one kind of failure is worth no second alert, in seconds.
QUIET_S = 3600.0
# Kinds that are remembered; for one more the oldest is forgotten, and may be told again.
KINDS_MAX = 1_000

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


def _sends_for_an_operator(event: Event) -> bool:
    """Of a sign-in that is refused, a setting that is wrong, and a hold that is long."""
    if event["severity"] == "info":
        return False  # cancelled
    if event["error_type"] == "auth_error" or event["error_code"] == "configuration_error":
        return True
    asked = event["recovery_estimate_source"] == "upstream_retry_after"
    return bool(asked and (event["estimated_recovery_time"] or 0.0) >= HOLD_MIN_S)


# The types of which some are, and which.
TYPES: Mapping[str, Callable[[Event], bool]] = {
    "agent_error": _sends_for_an_operator,
    "task_dead_lettered": _always,
    "circuit_breaker_triggered": _always,
    "graceful_degradation": _always,
    "system_recovered": _is_over,
    "agent_status_changed": _is_lost,
}


class Seldom:
    """Of each kind of failure, by agent and code, lets one through in ``QUIET_S``."""

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()

    def passes(self, event: Event, at: float) -> bool:
        """
        Whether an alert is told, which counts it as told.

        Args:
            event: One that ``is_alert`` has found worth an alert.
            at: When it entered the log, in seconds since 1970.
        """
        if event["type"] != "agent_error":
            return True
        kind = event["agent_name"], event["error_code"]
        if at - self._told.get(kind, -QUIET_S) < QUIET_S:
            return False
        self._told[kind] = at
        self._told.move_to_end(kind)
        if len(self._told) > KINDS_MAX:
            self._told.popitem(last=False)
        return True
