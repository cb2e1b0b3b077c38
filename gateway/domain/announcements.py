"""
Announcements: the messages of all events that are not errors.

``sentence`` gives each event its two messages. The message for people comes from a table; facts
enter it only as numbers and times, so that no text of an agent or an upstream gets into it. The
message for developers lists the facts as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from gateway.domain.messages import FACT_CHARS_MAX, moment_words, wait_words

__all__ = ["Sentences", "sentence"]


class Sentences(NamedTuple):
    """Both messages of one event; ``user_message`` is "" where no user is concerned."""

    message: str
    user_message: str


# For each type of event, the fields that tell its variants apart; the first that does counts.
VARIED_BY: Mapping[str, tuple[str, ...]] = {
    "recovery_attempt": ("strategy",),
    "circuit_breaker_triggered": ("scope", "fallback_active"),
    "circuit_breaker_test_request": ("scope",),
    "graceful_degradation": ("mode",),
    "resource_cleanup": ("cleanup_status",),
    "system_recovered": ("scope",),
    "request_rejected": ("reason",),
    "task_finished": ("outcome",),
    "task_dead_lettered": ("reason",),
    "agent_status_changed": ("status",),
}

# By type and variant; "" is for variants without a sentence of their own.
#   {again}  when it is tried again: "in about 2 seconds", "now", "shortly"
#   {wait}   how long to wait: "about 30 seconds", "a little while"
#   {share}  how much is done: "about 60 % of the work", "what was done so far"
SENTENCES: Mapping[tuple[str, str], str] = {
    ("partial_result_preserved", ""): "We have kept {share}, so it is not lost.",
    ("recovery_attempt", "exponential_backoff"): "We are trying again {again}.",
    ("recovery_attempt", "fallback"): "A simpler stand-in is answering instead.",
    ("recovery_attempt", "reassignment"): "Another agent is taking over.",
    ("recovery_attempt", "reconnect"): "We are connecting again {again}.",
    ("recovery_attempt", ""): "We are trying to put this right {again}.",
    ("circuit_breaker_triggered", "True"): (
        "This agent has failed several times, so it is given a rest (circuit breaker open)."
        " A simpler stand-in answers until it is well again."
    ),
    ("circuit_breaker_triggered", ""): (
        "This agent has failed several times, so it is given a rest (circuit breaker open)."
        " We will try it again in {wait}."
    ),
    ("circuit_breaker_triggered", "domain"): (
        "One part of the service has failed often, so it is slowed down for a while."
        " Everything else goes on as usual."
    ),
    ("circuit_breaker_test_request", ""): "We are trying whether this agent is well again.",
    ("circuit_breaker_test_request", "domain"): (
        "We are trying whether one part of the service is well again."
    ),
    ("graceful_degradation", "degraded"): (
        "There is a lot to do right now. Some features are paused, and what matters most goes on."
    ),
    ("graceful_degradation", "read_only"): (
        "Nothing new can be started right now. Everything that is there can still be seen."
    ),
    ("graceful_degradation", "store_away"): (
        "For a moment nothing new could be recorded. What you already had was not lost."
    ),
    # Sent with heartbeats while the store is away; the entry above is for the event, afterwards.
    ("graceful_degradation", "store_away_now"): (
        "Right now nothing new can be recorded. What you already have is not lost."
    ),
    ("graceful_degradation", "draining"): (
        "The service is about to restart. What is running is being finished first."
    ),
    ("graceful_degradation", ""): "Some features work in a reduced way at the moment.",
    ("resource_cleanup", "success"): "Everything that was left over has been cleaned up.",
    ("resource_cleanup", "partial"): "Most of what was left over has been cleaned up.",
    ("resource_cleanup", "failed"): "Cleaning up did not work; we are looking after it.",
    ("resource_cleanup", ""): "We are cleaning up what was left over.",
    ("system_recovered", "task"): "It worked this time; your request is being answered.",
    ("system_recovered", "task by fallback"): "A simpler stand-in has answered your request.",
    ("system_recovered", "breaker"): "This agent is well again and takes requests as usual.",
    ("system_recovered", "agent"): "The agent is back.",
    ("system_recovered", "domain"): "This part of the service works at full speed again.",
    ("system_recovered", "mode"): "All features are available again.",
    ("system_recovered", "store"): "Everything is being recorded again.",
    ("system_recovered", ""): "The problem is over.",
    ("request_rejected", "circuit_breaker_open"): (
        "This agent is given a rest after several failures (circuit breaker open)."
        " Please try again in {wait}."
    ),
    ("request_rejected", "priority_load_shedding"): (
        "There is more to do right now than we can take. Please try again in {wait}."
    ),
    ("request_rejected", "degraded_mode"): (
        "Only the most important requests are taken right now. Please try again in {wait}."
    ),
    ("request_rejected", "read_only"): (
        "Nothing new can be started right now. Please try again in {wait}."
    ),
    ("request_rejected", "draining"): (
        "The service is about to restart. Please try again in {wait}."
    ),
    ("request_rejected", "rate_limited"): (
        "That was many requests in a short time (rate limit). Please try again in {wait}."
    ),
    ("request_rejected", "quarantined"): (
        "This agent has not been working well and is being looked after."
        " Please try again in {wait}."
    ),
    ("request_rejected", ""): "This cannot be taken on right now. Please try again in {wait}.",
    ("task_submitted", ""): "Your request has been received.",
    ("task_started", ""): "Work on your request has begun.",
    ("task_progress", ""): "Work on your request goes on.",
    ("task_waiting", ""): "Your request is waiting.",
    ("task_finished", "succeeded"): "Your request is done.",
    ("task_finished", "failed"): "Your request could not be completed.",
    ("task_finished", "cancelled"): "Your request was cancelled.",
    ("task_finished", "dead_lettered"): "Your request was set aside, so that it is not lost.",
    ("task_finished", ""): "Your request has come to its end.",
    ("task_reassigned", ""): "Your request is passed on to another agent.",
    ("task_dead_lettered", "no_worker"): (
        "No agent was free to take this on. Your request is kept, and we are looking after it."
    ),
    ("task_dead_lettered", ""): (
        "We could not finish this. Your request is kept, and we are looking after it."
    ),
    ("agent_status_changed", "healthy"): "The agent is working well.",
    ("agent_status_changed", "suspect"): "We are checking whether the agent is still there.",
    ("agent_status_changed", "unwell"): "The agent is not working as well as it should.",
    ("agent_status_changed", "unhealthy"): "The agent is not responding as it should.",
    ("agent_status_changed", "quarantined"): "The agent gets no new work until it is well again.",
    ("agent_status_changed", "offline"): "The agent is not there at the moment.",
    ("agent_status_changed", ""): "The agent's state has changed.",
}


def sentence(event_type: str, **facts: object) -> Sentences:
    """
    Word an event, for developers and for people.

    Args:
        event_type: Any type of event but ``agent_error``. A type that users do not see, such
            as ``lock_expired`` or bookkeeping, has no sentence for people.
        facts: The event's own fields and anything else that developers should read; None is
            left out. ``strategy``, ``mode``, ``scope``, ``reason`` and the like choose the
            sentence; ``backoff_delay``, ``retry_after`` or ``cooldown_period`` (seconds) and
            ``progress`` (0 to 1) enter it.
    """
    variants = [str(facts[name]) for name in VARIED_BY.get(event_type, ()) if name in facts]
    templates = (SENTENCES.get((event_type, variant)) for variant in (*variants, ""))
    template = next(filter(None, templates), "")
    known = ", ".join(
        f"{name} {_short(value)}" for name, value in facts.items() if value is not None
    )
    delay_s = _delay(facts)
    words = event_type.replace("_", " ")
    return Sentences(
        message=f"{words}: {known}" if known else words,
        user_message=template.format(
            again=moment_words(delay_s),
            wait=wait_words(delay_s),
            share=_share(facts.get("progress")),
        ),
    )


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        value = " ".join(map(str, value)) or "none"
    return str(value)[:FACT_CHARS_MAX]


def _delay(facts: Mapping[str, object]) -> float | None:
    for name in ("backoff_delay", "retry_after", "cooldown_period"):
        value = facts.get(name)
        if isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    return None


def _share(progress: object) -> str:
    if isinstance(progress, int | float) and 0.005 <= progress <= 1:
        return f"about {round(progress * 100)} % of the work"
    return "what was done so far"
