"""
The plan of faults: what the upstream does to a call, by schedule or by a person's choice.

Each model has a schedule of its own, so that two agents that run at the same time do not take each
other's faults. A person's choice applies to every call and does not advance a schedule.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.domain.errors import InvalidParams

__all__ = ["BY_SCHEDULE", "FAULTS", "Fault", "Plan"]

BY_SCHEDULE = "schedule"


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """
    One way to treat a call.

    Attributes:
        name: For programs.
        title: For people, two or three words.
        description: For people, a sentence.
    """

    name: str
    title: str
    description: str


FAULTS = (
    Fault("fine", "Works", "Every call is answered."),
    Fault("429", "Too many requests", "Every call is refused with 429 and Retry-After: 2."),
    Fault("500", "Down", "Every call is answered with 500; after three in a row a breaker opens."),
    Fault("drop", "Cuts off", "Answers begin well, and then the connection breaks."),
    Fault("stall", "Falls silent", "Answers begin well, and then nothing more comes."),
    Fault("broken", "Talks nonsense", "Answers are cut in the middle of their JSON."),
)


class Plan:
    """
    Decides which fault each call meets.

    Args:
        schedules: Model → names of faults, one for each call; after the last comes the first.

    Attributes:
        calls: How many calls there were.
        mode: ``schedule``, or the name of the fault that a person has chosen.
    """

    def __init__(self, schedules: Mapping[str, Sequence[str]]) -> None:
        names = {fault.name for fault in FAULTS}
        assert all(schedule and set(schedule) <= names for schedule in schedules.values())
        self._schedules = {model: tuple(schedule) for model, schedule in schedules.items()}
        self._turns = dict.fromkeys(schedules, 0)
        self._resting = False
        self.calls = 0
        self.mode = BY_SCHEDULE

    def choose(self, mode: str) -> None:
        """
        Choose the fault of every call from now on.

        Args:
            mode: The name of a fault, or ``schedule``.

        Raises:
            InvalidParams: If there is no such mode.
        """
        modes = [BY_SCHEDULE, *(fault.name for fault in FAULTS)]
        if mode not in modes:
            raise InvalidParams(f"mode has to be one of {', '.join(modes)}", field="mode")
        self.mode = mode

    def rewind(self) -> None:
        """Start every schedule from its beginning; end ``rest``."""
        self._turns = dict.fromkeys(self._turns, 0)
        self._resting = False

    def rest(self) -> None:
        """Answer every call by schedule well until ``rewind``, so that breakers can close."""
        self._resting = True

    def next_fault(self, model: str) -> str:
        """Give the fault of a call that has just come; a model without a schedule has none."""
        self.calls += 1
        if self.mode != BY_SCHEDULE:
            return self.mode
        schedule = self._schedules.get(model)
        if schedule is None or self._resting:
            return "fine"
        turn = self._turns[model]
        self._turns[model] = (turn + 1) % len(schedule)
        return schedule[turn]

    def as_dict(self) -> dict[str, Any]:
        """Describe the plan for the page; ``next`` holds the indexes of the next faults."""
        schedule: list[str] = []
        turns: list[int] = []
        for model, faults in self._schedules.items():
            if not self._resting:
                turns.append(len(schedule) + self._turns[model])
            schedule += [f"{model}: {fault}" for fault in faults]
        return {
            "faults": [dataclasses.asdict(fault) for fault in FAULTS],
            "schedule": schedule,
            "next": turns,
            "mode": self.mode,
            "calls": self.calls,
        }
