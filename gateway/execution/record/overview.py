"""
The overview: what is so now, as a subscriber is told when it comes.

Together with every event after its offset it gives what the gateway knows; it is bounded, and what
is left out is to be had by ``task.list``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from gateway.domain import task as tasks
from gateway.domain.breaker import Breaker
from gateway.domain.events import listening
from gateway.domain.task import Task
from gateway.domain.timestamps import rfc3339
from gateway.execution.record.state import State

__all__ = ["breaker_view", "overview", "preview"]

SNAPSHOT_BYTES_MAX = 256 * 1024
# The share of it that is left for the names of its parts.
SNAPSHOT_FRAME_BYTES = 128
PREVIEW_CHARS = 2_000


def overview(state: State, topics: Iterable[str]) -> dict[str, Any]:
    """
    Tell what is so now, to a subscriber of ``topics``.

    It has at most 256 KiB. At the bound the oldest are left out, failures before tasks
    before breakers before degradations, and ``truncated`` says so.
    """
    wanted = listening(topics)
    everything = "*" in wanted

    def of(candidates: Iterable[str]) -> bool:
        return everything or not wanted.isdisjoint(candidates)

    live = [
        task
        for task in state.live.values()
        if of((f"user:{task.user_id}", f"task:{task.task_id}", f"agent:{task.agent_name}"))
    ]
    sections: dict[str, Iterable[dict[str, Any]]] = {
        # What concerns most users comes first; of each part the newest stay.
        "degradations": reversed(state.degradations.values()),
        # What is about a breaker or a failure domain is told to everyone, once it has opened.
        "breakers": (breaker_view(b) for b in _newest_breakers(state) if b.version),
        "tasks": ({**tasks.view(task), "preserved": preview(task)} for task in reversed(live)),
        "failures": (one.event for one in reversed(list(state.failures)) if of(one.topics)),
    }
    shown: dict[str, Any] = {"mode": state.mode.name}
    room = SNAPSHOT_BYTES_MAX - SNAPSHOT_FRAME_BYTES
    for name, items in sections.items():
        fitting: list[dict[str, Any]] = []
        for item in items:
            room -= len(orjson.dumps(item)) + 1
            if room < 0:
                shown["truncated"] = True
                break
            fitting.append(item)
        shown[name] = fitting[::-1]
    return shown


def _newest_breakers(state: State) -> Iterable[Breaker]:
    yield from (state.domains[name] for name in reversed(state.domains))
    yield from reversed(state.breakers.values())


def preview(task: Task) -> dict[str, Any] | None:
    """Give a glimpse of what a task preserves, and where the whole is; None: it is nothing."""
    if not task.preserved:
        return None
    text = task.preserved.text
    return {
        "steps": list(task.preserved.steps),
        "text_preview": text[-PREVIEW_CHARS:],
        "text_length": len(text),
        "piece": task.preserved.pieces,
        "url": f"/api/tasks/{task.task_id}/partial",
    }


def breaker_view(breaker: Breaker) -> dict[str, Any]:
    """Give a breaker, or a failure domain, as it stands on the wire."""
    return {
        "name": breaker.name,
        "scope": breaker.scope,
        "state": breaker.state,
        "opened_at": None if breaker.opened_at is None else rfc3339(breaker.opened_at),
        "probe_at": None if breaker.probe_at is None else rfc3339(breaker.probe_at),
        "version": breaker.version,
    }
