"""An attempt: one try at a task, as the task's fold remembers it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from gateway.domain.timestamps import rfc3339

__all__ = ["Attempt", "past_errors", "process_lost", "suspect", "to_be_alone"]

# Attempts that have counted and whose process has ended, until the next one is made with nothing
# beside it. To be alone is dear: all other work of a process has to end before. From one on, or
# from two, killing half the workers of one domain took a half, or a twelfth, of another's work.
ALONE_AFTER = 3


@dataclasses.dataclass(slots=True)
class Attempt:
    """
    One try; times in seconds since the Unix epoch.

    Attributes:
        released: Whether it was given back, or is not counted for another reason.
        cleaned: Whether it was told what was cleaned up after it.
        moved: Whether something came of it: it has produced a piece, or its progress has grown.
    """

    number: int
    agent_id: str
    mode: str
    started_at: float
    term: int = 0
    ended_at: float | None = None
    error: dict[str, Any] | None = None
    released: bool = False
    cleaned: bool = False
    moved: bool = False

    def as_dict(self) -> dict[str, Any]:
        """As it stands on the wire."""
        shown: dict[str, Any] = {
            "attempt": self.number,
            "agent_id": self.agent_id,
            "mode": self.mode,
            "started_at": rfc3339(self.started_at),
            "ended_at": None if self.ended_at is None else rfc3339(self.ended_at),
        }
        if self.error is not None:
            shown["error"] = self.error
        return shown


def process_lost(attempts: Iterable[Attempt]) -> bool:
    """Whether a process has ended under one of a task's attempts."""
    return any(_lost(attempt) for attempt in attempts)


def suspect(attempts: Iterable[Attempt]) -> bool:
    """Whether a process has ended under it and others at once: any of them may have done it."""
    return any(_lost(attempt) and attempt.released for attempt in attempts)


def to_be_alone(attempts: Iterable[Attempt]) -> bool:
    """Whether processes have ended under it so often that it hardly was something else."""
    counted = sum(_lost(attempt) and not attempt.released for attempt in attempts)
    return counted >= ALONE_AFTER


def _lost(attempt: Attempt) -> bool:
    return attempt.error is not None and attempt.error["error_code"] == "process_lost"


def past_errors(attempts: Iterable[Attempt]) -> list[dict[str, Any]]:
    """What went wrong, for each attempt that has failed, in order."""
    errors = []
    for attempt in attempts:
        if attempt.error is None:
            continue
        told = {name: attempt.error[name] for name in ("error_type", "error_code", "message")}
        if attempt.ended_at is not None:
            told["at"] = rfc3339(attempt.ended_at)
        errors.append({"attempt": attempt.number, **told})
    return errors
