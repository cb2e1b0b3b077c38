"""What the tests of logs append, and the time that they have."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.ports import Draft

__all__ = ["Clock", "draft"]


class Clock:
    """
    Time that the test sets.

    Attributes:
        now: Passes for both clocks.
        set_s: How far somebody has set the wall clock forward; negative: back.
    """

    set_s = 0.0

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def wall(self) -> float:
        return self.now + self.set_s

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def draft(subject: str = "task/1", *topics: str, size: int = 0, **options: Any) -> Draft:
    """Make a draft that is ``size`` bytes larger than the smallest."""
    body = orjson.dumps({"type": "notification", "subject": subject, "payload": "x" * size})
    return Draft(subject, "notification", topics, False, body, **options)
