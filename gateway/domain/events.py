"""
The kinds of events, and the topics that each event belongs to.

An event's topics follow from its fields alone, so that every reader, on every node and after
every restart, sorts it the same way. The schemas say what an event looks like; this file says
what it is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "BOOKKEEPING",
    "EVERYBODY",
    "LIFECYCLE",
    "PUBLISHABLE_BY_AGENTS",
    "SEVERITIES",
    "listening",
    "topics_of",
]

EVERYBODY = "*"

SEVERITIES = ("info", "warning", "error", "critical")

# Only operators see these: they explain what the gateway did, they notify no user.
BOOKKEEPING = frozenset(
    {
        "agent_registered",
        "lease_changed",
        "lock_changed",
        "mode_changed",
        "dead_letter_changed",
        "audit_recorded",
    }
)

# Only the gateway itself publishes these: they are the outcome of its own decisions.
LIFECYCLE = frozenset(
    {
        "task_submitted",
        "task_started",
        "task_progress",
        "task_waiting",
        "task_finished",
        "task_reassigned",
        "task_dead_lettered",
        "agent_status_changed",
        "circuit_breaker_triggered",
        "circuit_breaker_test_request",
        "graceful_degradation",
        "request_rejected",
        "lock_expired",
    }
)

# What an agent may report about its own work.
PUBLISHABLE_BY_AGENTS = frozenset(
    {
        "agent_error",
        "partial_result",
        "partial_result_preserved",
        "recovery_attempt",
        "resource_cleanup",
        "system_recovered",
    }
)


def topics_of(event: Mapping[str, Any]) -> tuple[str, ...]:
    """
    List the topics of one event: its user, task, agent, channel and recipient.

    An event for everyone (user_id ``"*"``) has the topic ``system``. The topic ``*`` is not
    listed, since every event has it.
    """
    topics = []
    user_id = event.get("user_id")
    if user_id == EVERYBODY:
        topics.append("system")
    elif user_id is not None:
        topics.append(f"user:{user_id}")
    for kind, field in (
        ("task", "task_id"),
        ("agent", "agent_name"),
        ("channel", "channel"),
        ("recipient", "recipient_id"),
    ):
        if (name := event.get(field)) is not None:
            topics.append(f"{kind}:{name}")
    return tuple(topics)


def listening(topics: Iterable[str]) -> frozenset[str]:
    """
    Tell which topics a subscription to ``topics`` listens on.

    A subscriber to a user also gets what concerns everyone.
    """
    wanted = frozenset(topics)
    if any(topic.startswith("user:") for topic in wanted):
        wanted |= {"system"}
    return wanted
