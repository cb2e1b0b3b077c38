"""
A task as the agent's code sees it: what to do, what was done before, and where to put results.

The rule: an agent may say everything here from a coroutine or from a thread; saying it never
waits; it is kept if the attempt fails. After the attempt's end it raises ``AttemptOver``.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import pathlib
import re
import subprocess
import tempfile
from typing import Any

from gateway.attempts.assignment import Assignment
from gateway.attempts.json_forms import as_json
from gateway.attempts.pieces import Pieces
from gateway.attempts.processes import Ended
from gateway.domain.errors import InvalidParams
from gateway.domain.preserved import Kept
from gateway.values import measured

__all__ = ["ITEM", "Resources", "Task", "items_before", "text_before"]

# Of the name of a step.
STEP_CHARS_MAX = 128
# What the steps are called that a generator's items are kept as, before their number.
ITEM = "item-"
# A plan stands in every event about what is preserved, beside the preserved part itself.
PLAN_STEPS_MAX = 256
PLAN_BYTES_MAX = 8 * 1024


@dataclasses.dataclass(slots=True)
class Resources:
    """
    What an attempt uses that does not end with its code, and is cleaned up after it.

    Attributes:
        processes: The processes that it has started.
        folder: Its temporary folder; None: it asked for none.
        ended: How the process of its own has ended; None: it had none.
    """

    processes: list[subprocess.Popen[bytes]] = dataclasses.field(default_factory=list)
    folder: pathlib.Path | None = None
    ended: Ended | None = None


class Task:
    """
    One attempt at a task, as its agent sees it.

    Attributes:
        task_id: The task's id.
        user_id: The user that the task belongs to.
        agent_name: The agent that does it.
        attempt: The number of this attempt, from 1.
        input: What was asked, as JSON.
        timeout: Seconds that this attempt has.
        result: Set it inside ``gateway.attempt(...)``; a function returns its result instead.
    """

    def __init__(
        self,
        assignment: Assignment,
        *,
        pieces: Pieces,
        resources: Resources,
        step_bytes_max: int,
    ) -> None:
        self.task_id = assignment.task_id
        self.user_id = assignment.user_id
        self.agent_name = assignment.agent_name
        self.attempt = assignment.attempt
        # Copies: whatever an agent does to them, the next attempt finds them unchanged.
        self.input = copy.deepcopy(assignment.input)
        self._preserved: Kept = copy.deepcopy(assignment.preserved)
        self.timeout = assignment.limit_s
        self.result: Any = None
        self._pieces = pieces
        self._resources = resources
        self._step_bytes_max = step_bytes_max

    def __repr__(self) -> str:
        return f"<Task {self.task_id} of {self.agent_name}, attempt {self.attempt}>"

    @property
    def preserved(self) -> Kept:
        """
        What earlier attempts left: ``.steps`` by name, and ``.text``.

        An attempt that has looked goes on from it: its text comes after the text that is kept. One
        that has not looked starts over, and its first text replaces that of earlier attempts.
        """
        self._pieces.go_on()
        return self._preserved

    def preserve(self, step: str, data: Any) -> None:
        """
        Keep a finished step: the next attempt finds it, and the user sees it.

        Args:
            step: Its name, of 1 to 128 characters; newer data replaces older under one name.
            data: Its result. A copy of its JSON form is kept, so that it may change afterwards:
                models, dataclasses, dates, ids, sets, bytes (base64) and the like have one.

        Raises:
            InvalidParams: If the name is none.
            TooLarge: If the data is over the bound for one task.
            AttemptOver: If this attempt has ended.
        """
        _check_step(step, field="step")
        self._pieces.check()
        field, bytes_max = f"preserve({step!r})", self._step_bytes_max
        data = as_json(data, field=field, bytes_max=bytes_max, about=f"task {self.task_id}")
        measured(data, field=field, bytes_max=bytes_max)
        self._pieces.add_step(step, data)

    def append(self, text: str) -> None:
        """
        Add streamed text; it reaches the user at most ten times a second, and is kept.

        Half of a surrogate pair waits for its other half; without one it becomes U+FFFD.

        Raises:
            InvalidParams: If ``text`` is no text.
            AttemptOver: If this attempt has ended.
        """
        if not isinstance(text, str):
            raise InvalidParams("append() takes text; decode bytes first", field="text")
        self._pieces.add_text(text)

    def restart_text(self, text: str = "") -> None:
        """
        Begin the text anew: what users were shown and what is kept is ``text`` alone from now on.

        Raises:
            InvalidParams: If ``text`` is no text.
            AttemptOver: If this attempt has ended.
        """
        if not isinstance(text, str):
            raise InvalidParams("restart_text() takes text; decode bytes first", field="text")
        self._pieces.restart_text(text)

    def progress(self, progress: float | None = None, step: str | None = None) -> None:
        """
        Say how far the work is.

        Args:
            progress: From 0 to 1; None: as before.
            step: What is being done now, in 1 to 128 characters for people; None: as before.

        Raises:
            InvalidParams: If ``progress`` is not from 0 to 1, or ``step`` is no such text.
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
        Name the steps that there will be; those that are not preserved in the end count as lost.

        Raises:
            InvalidParams: If there are more than 256, or one is not text of 1 to 128 characters.
            TooLarge: If the names have more than 8 KiB together.
            AttemptOver: If this attempt has ended.
        """
        if len(steps) > PLAN_STEPS_MAX:
            raise InvalidParams(f"plan() takes up to {PLAN_STEPS_MAX} names", field="plan")
        for step in steps:
            _check_step(step, field="plan")
        measured(steps, field="plan", bytes_max=PLAN_BYTES_MAX)
        self._pieces.set_plan(steps)

    async def flush(self) -> None:
        """
        Wait until all that was preserved, appended and said is in the log.

        Whatever happens to this process then, the next attempt finds it. It takes as long as the
        store does, and waits while that is away.

        Raises:
            AttemptOver: If this attempt has ended, or ends meanwhile.
            StaleTerm: If it has lost its task.
            RequestError: If a part of it was refused; what else there was is told.
        """
        loop = asyncio.get_running_loop()
        flushed: asyncio.Future[None] = loop.create_future()

        def settle(error: Exception | None) -> None:
            if flushed.done():
                return
            if error is None:
                flushed.set_result(None)
            else:
                flushed.set_exception(error)

        def done(error: Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # that loop has ended
                loop.call_soon_threadsafe(settle, error)

        self._pieces.flush(done)
        await flushed

    def temp_dir(self) -> pathlib.Path:
        """
        Give this attempt's own folder, the same one each time; it is removed after the attempt.

        Raises:
            AttemptOver: If this attempt has ended.
        """
        self._pieces.check()
        if (folder := self._resources.folder) is None:
            folder = pathlib.Path(tempfile.mkdtemp(prefix=f"task-{self.task_id[:8]}-"))
            self._resources.folder = folder
        return folder

    def start_process(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """
        Start a process. After the attempt it is killed, and with it what it has started itself.

        Args:
            command: The program and its arguments.
            options: Further arguments of ``subprocess.Popen``.

        Raises:
            OSError: If it cannot be started.
            AttemptOver: If this attempt has ended.
        """
        self._pieces.check()
        # In a process group of its own, by which the processes that it starts are found.
        process = subprocess.Popen(command, **{**options, "process_group": 0})
        self._resources.processes.append(process)
        return process


def text_before(task: Task) -> str:
    """Give the text of earlier attempts that this attempt's text comes after; empty: none."""
    return task._preserved.text if task._pieces.goes_on else ""


def items_before(task: Task) -> dict[int, Any]:
    """Give the items of earlier attempts that this attempt's come after, by number and in order."""
    if not task._pieces.goes_on:
        return {}
    found = {
        int(name.removeprefix(ITEM)): item
        for name, item in task._preserved.steps.items()
        if re.fullmatch(f"{ITEM}[1-9][0-9]{{0,8}}", name)
    }
    return dict(sorted(found.items()))


def _check_step(step: Any, *, field: str) -> None:
    if not isinstance(step, str) or not 0 < len(step) <= STEP_CHARS_MAX:
        raise InvalidParams(
            f"a step's name has to be text of 1 to {STEP_CHARS_MAX} characters", field=field
        )
    # In JSON a character has up to six bytes (\u0001), and the name two quotes: this only refuses
    # what cannot be encoded.
    measured(step, field=field, bytes_max=STEP_CHARS_MAX * 6 + 2)
