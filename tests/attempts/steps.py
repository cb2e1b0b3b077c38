"""An attempt without a gateway: a task to speak to, and a listener that writes down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.attempts.assignment import Assignment
from gateway.attempts.pieces import Piece, Pieces, Rest
from gateway.attempts.task import Resources, Task
from gateway.attempts.tries import Tries
from gateway.domain.failure import Failure
from gateway.domain.preserved import Kept

__all__ = ["TEXT_CHARS", "Attempt", "Script", "assignment"]

# How much text may wait, and how large a step may be.
TEXT_CHARS = 1000


def assignment(**changes: Any) -> Assignment:
    """Assign the second attempt at a task, under its third term."""
    whole: dict[str, Any] = {
        "task_id": "0190-task",
        "user_id": "ann",
        "agent_name": "echo",
        "attempt": 2,
        "term": 3,
        "input": None,
        "preserved": Kept({}, ""),
        "limit_s": 30.0,
    }
    return Assignment(**{**whole, **changes})


class Attempt:
    """
    An attempt that goes nowhere: a task to speak to, and what was said to it.

    Attributes:
        woken: How often the teller would have been woken.
    """

    def __init__(self, **changes: Any) -> None:
        self.woken = 0
        self.assignment = assignment(**changes)
        self.pieces = Pieces(
            task_id=self.assignment.task_id,
            attempt=self.assignment.attempt,
            chars_max=TEXT_CHARS,
            wake=self._wake,
            starts_over=self.assignment.attempt > 1,
        )
        self.resources = Resources()
        self.task = Task(
            self.assignment,
            pieces=self.pieces,
            resources=self.resources,
            step_bytes_max=TEXT_CHARS,
        )

    def _wake(self) -> None:
        self.woken += 1


class Script:
    """
    A listener that writes down what it is told, and answers as the test says.

    Attributes:
        answers: What the next calls raise; None: they succeed, as all do that come later.
        told: Names of calls and what they were about, those included that it refused.
        tries: The records of the calls that have one.
    """

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.told: list[tuple[str, Any]] = []
        self.tries: list[Tries | None] = []

    def _take(self, name: str, about: Any) -> None:
        self.told.append((name, about))
        if self.answers and (answer := self.answers.pop(0)) is not None:
            raise answer

    async def tell(
        self, task_id: str, term: int, piece: Piece, *, tries: Tries | None = None
    ) -> None:
        assert (task_id, term) == ("0190-task", 3)
        self.tries.append(tries)
        self._take("tell", piece.text or piece)

    async def succeed(
        self, task_id: str, term: int, result: Any, *, steps: Mapping[str, Any] | None = None
    ) -> None:
        self._take("succeed", (result, steps))

    async def fail(
        self,
        task_id: str,
        term: int,
        failure: Failure,
        *,
        cause: str,
        detail: Mapping[str, Any] | None = None,
        rest: Rest | None = None,
    ) -> None:
        self._take("fail", (failure.error_code, cause, rest))

    async def cleaned(
        self,
        task_id: str,
        term: int,
        *,
        resources: list[str],
        memory_freed: int,
        leftovers: list[str],
        tries: Tries | None = None,
    ) -> None:
        self.tries.append(tries)
        self._take("cleaned", (resources, memory_freed, leftovers))
