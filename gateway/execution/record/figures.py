"""
Figures: what the folds say now, in numbers, for those who watch the gateway from outside.

Read at the moment of the question. Tasks that are open, workers, breakers and domains are looked
through: there are few, or they have a bound; ended tasks are not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from gateway.execution.record.state import State
from gateway.execution.service import Figures
from gateway.ports import EventLog

__all__ = ["OVERDUE_S", "figures", "oldest_age_s"]

# A task whose deadline is over by so much, in seconds, should have ended. The timer is good for
# 250 ms; the rest is for a store that answers late.
OVERDUE_S = 5.0


def figures(state: State, log: EventLog, *, scores: Mapping[str, float], now: float) -> Figures:
    """
    Tell what is so.

    Args:
        scores: How well each worker does that is there, 0 to 1, by agent_id.
        now: The log's time, in seconds since the Unix epoch.
    """
    health: dict[str, float] = {}
    for worker in state.workers.values():
        if (score := scores.get(worker.agent_id)) is not None:
            for name in worker.agents:
                health[name] = min(score, health.get(name, 1.0))
    due = now - OVERDUE_S
    return Figures(
        mode=state.mode.name,
        tasks_open=len(state.live),
        tasks_without_end=sum(task.deadline_at < due for task in state.live.values()),
        queue_depth=state.queue_depth,
        queue_oldest_age_s=oldest_age_s(state, now) or 0.0,
        workers=Counter(worker.status for worker in state.workers.values()),
        health=health,
        breakers={name: breaker.state for name, breaker in state.breakers.items()},
        domains={name: domain.failure_rate(now) for name, domain in state.domains.items()},
        log_events=log.events,
        log_bytes=log.bytes,
        log_offset=log.head,
    )


def oldest_age_s(state: State, now: float) -> float | None:
    """Tell the age of the oldest task that waits, in seconds; None: none does."""
    # In the order of submission: only tasks that run may stand before it.
    for task in state.live.values():
        if task.status != "running":
            return max(0.0, now - task.created_at)
    return None
