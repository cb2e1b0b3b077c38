"""
A task as the agent's code sees it: what to do, what was done before, and where to put results.

Everything an agent says here may be said from a coroutine or from a thread, never waits, and
is kept if the attempt fails. After the attempt's end it raises ``AttemptOver``.
"""

from __future__ import annotations

import copy
import pathlib
import subprocess
import tempfile
from typing import Any

import orjson

from gateway.attempts.assignment import Assignment
from gateway.attempts.pieces import Pieces
from gateway.domain.errors import InvalidParams
from gateway.domain.preserved import Kept
from gateway.values import measured

__all__ = ["Task"]

STEP_CHARS_MAX = 128
# A plan stands in every event about what is preserved, beside the preserved part itself.
PLAN_STEPS_MAX = 256
PLAN_BYTES_MAX = 8 * 1024


class Task:
    """
    One attempt at a task, as its agent sees it.

    Attributes:
        task_id: The task.
        user_id: Whose task it is.
        agent_name: The agent that does it.
        attempt: Which try this is, from 1.
        input: What was asked, as JSON.
        preserved: What earlier attempts left: ``.steps`` by name, and ``.text``.
        timeout: Seconds that this attempt has.
        result: Set it inside ``gateway.attempt(...)``; a function returns its result instead.
    """

    def __init__(
        self,
        assignment: Assignment,
        *,
        pieces: Pieces,
        step_bytes_max: int,
    ) -> None:
        self.task_id = assignment.task_id
        self.user_id = assignment.user_id
        self.agent_name = assignment.agent_name
        self.attempt = assignment.attempt
        # Copies: what an agent does to them changes nothing for the next attempt.
        self.input = copy.deepcopy(assignment.input)
        self.preserved: Kept = copy.deepcopy(assignment.preserved)
        self.timeout = assignment.limit_s
        self.result: Any = None
        self._pieces = pieces
        self._step_bytes_max = step_bytes_max
        self._temp_dir: pathlib.Path | None = None
        self._processes: list[subprocess.Popen[bytes]] = []

    def __repr__(self) -> str:
        return f"<Task {self.task_id} of {self.agent_name}, attempt {self.attempt}>"

    def preserve(self, step: str, data: Any) -> None:
        """
        Keep a finished step: the next attempt finds it, and the user sees it.

        Args:
            step: Its name; said again, the newer data replaces the older.
            data: What it gave, as JSON; as it is now, whatever becomes of it later.

        Raises:
            InvalidParams: If the data cannot be written down as JSON.
            TooLarge: If the data is over the bound for one task.
            AttemptOver: If this attempt has ended.
        """
        _check_step(step, field="step")
        encoded = measured(data, field=f"preserve({step!r})", bytes_max=self._step_bytes_max)
        self._pieces.add_step(step, orjson.loads(encoded))

    def append(self, text: str) -> None:
        """
        Add streamed text; it reaches the user at most ten times a second, and is kept.

        Raises:
            InvalidParams: If it is no text that UTF-8 can hold.
            AttemptOver: If this attempt has ended.
        """
        try:
            text.encode()
        except (AttributeError, UnicodeEncodeError) as error:
            raise InvalidParams(
                "append() takes text that UTF-8 can hold; decode bytes first", field="text"
            ) from error
        self._pieces.add_text(text)

    def progress(self, progress: float | None = None, step: str | None = None) -> None:
        """
        Say how far the work is.

        Args:
            progress: From 0 to 1; None: as before.
            step: What is being done now, for people; None: as before.

        Raises:
            InvalidParams: If progress is not from 0 to 1, or step is no name.
            AttemptOver: If this attempt has ended.
        """
        if progress is not None and not (
            isinstance(progress, int | float) and 0 <= float(progress) <= 1
        ):
            raise InvalidParams("progress has to be a number from 0 to 1", field="progress")
        if step is not None:
            _check_step(step, field="step")
        self._pieces.set_progress(None if progress is None else float(progress), step)

    def plan(self, *steps: str) -> None:
        """
        Name the steps there will be; what is not preserved in the end is told as lost.

        Raises:
            InvalidParams: If there are more than 256, or one is no name.
            TooLarge: If they have more than 8 KiB together.
            AttemptOver: If this attempt has ended.
        """
        if len(steps) > PLAN_STEPS_MAX:
            raise InvalidParams(f"plan() takes up to {PLAN_STEPS_MAX} names", field="plan")
        for step in steps:
            _check_step(step, field="plan")
        measured(steps, field="plan", bytes_max=PLAN_BYTES_MAX)
        self._pieces.set_plan(steps)

    def temp_dir(self) -> pathlib.Path:
        """
        Give a folder of this attempt's own; it is gone after the attempt.

        Raises:
            AttemptOver: If this attempt has ended.
        """
        self._pieces.check()
        if self._temp_dir is None:
            self._temp_dir = pathlib.Path(tempfile.mkdtemp(prefix=f"task-{self.task_id[:8]}-"))
        return self._temp_dir

    def start_process(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """
        Start a process that ends with this attempt, and whatever it starts itself with it.

        Args:
            command: The program and its arguments.
            options: More of ``subprocess.Popen``.

        Raises:
            OSError: If it cannot be started.
            AttemptOver: If this attempt has ended.
        """
        self._pieces.check()
        # A group of its own: what it starts is found, and ends, with it.
        process = subprocess.Popen(command, **{**options, "process_group": 0})
        self._processes.append(process)
        return process


def _check_step(step: Any, *, field: str) -> None:
    if not isinstance(step, str) or not 0 < len(step) <= STEP_CHARS_MAX:
        raise InvalidParams(
            f"a step's name has to be text of 1 to {STEP_CHARS_MAX} characters", field=field
        )
    measured(step, field=field, bytes_max=STEP_CHARS_MAX * 6 + 2)
