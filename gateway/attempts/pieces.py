"""
Pieces: what an attempt has produced and not yet told.

An agent may stream a token at a time, and from a thread. Its pieces wait here until the attempt's
teller takes them, at most ten times a second. Meanwhile text grows together, of two steps of one
name the newer is told, and of progress the newest. The rule: any thread may add, none waits, and
the text that waits is bounded.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from typing import Any

from gateway.attempts.json_forms import whole_text
from gateway.domain.errors import AttemptOver
from gateway.domain.failure import Failure
from gateway.domain.redaction import Redacted

__all__ = ["TEXT_CHARS_MAX", "Flushed", "Piece", "Pieces", "Rest"]

# Of the text of one piece: 64 KiB of UTF-8 at the most, since a character has up to four bytes.
TEXT_CHARS_MAX = 16_384
# So many failures of its background tasks one attempt tells; all are logged.
FAILURES_MAX = 10
# What begins a pair; streams that are cut by UTF-16 units end in one.
HIGH_SURROGATES = ("\ud800", "\udbff")


Flushed = Callable[[Exception | None], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """
    What is told in one event. None: not told.

    Attributes:
        text: Streamed text, which follows the text of earlier pieces.
        step: The name of a finished step.
        data: The result of that step.
        progress: How far the work is, from 0 to 1.
        at_step: What is being done now, for people.
        plan: The names of the steps that there will be.
        replaces: Whether all text so far is void, and begins anew with ``text``.
        failure: Of something that the attempt has started; it goes on itself.
        detail: Of that failure, for operators.
    """

    text: str | None = None
    step: str | None = None
    data: Any = None
    progress: float | None = None
    at_step: str | None = None
    plan: tuple[str, ...] | None = None
    replaces: bool = False
    failure: Failure | None = None
    detail: Redacted | None = None

    @property
    def produced(self) -> bool:
        """Whether the piece holds output, and not only how far the work is."""
        return self.text is not None or self.step is not None


@dataclasses.dataclass(frozen=True, slots=True)
class Rest:
    """
    What an attempt had not told yet when it ended; see ``Piece``. It is true if it holds output.

    Attributes:
        steps: Finished steps by name.
        text: Streamed text.
        progress: The newest; None: there is none that was not told.
        plan: None: there is none that was not told.
        replaces: Whether all text before ``text`` is void.
        failures: Of what the attempt has started, each with its detail.
    """

    steps: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    text: str = ""
    progress: float | None = None
    plan: tuple[str, ...] | None = None
    replaces: bool = False
    failures: tuple[tuple[Failure, Redacted], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps or self.text or self.replaces)


class Pieces:
    """
    The pieces of one attempt.

    Args:
        task_id: The task's id, for ``AttemptOver``.
        attempt: The number of the attempt, for ``AttemptOver``.
        chars_max: Characters of text that may wait. Text beyond that is let go, and so is all
            text after it, since it would follow a hole. To be more than a task preserves: then
            the preserved text is cut, too, and says so.
        wake: Called, from any thread, when there is something to tell.
        starts_over: Whether the first text replaces that of earlier attempts, unless the agent
            goes on from it.
    """

    def __init__(
        self,
        *,
        task_id: str,
        attempt: int,
        chars_max: int,
        wake: Callable[[], None],
        starts_over: bool = False,
    ) -> None:
        self._task_id = task_id
        self._attempt = attempt
        self._chars_max = chars_max
        self._wake = wake
        self._lock = threading.Lock()
        self._texts: list[str] = []
        self._chars = 0
        self._steps: dict[str, Any] = {}
        self._progress: tuple[float | None, str | None] | None = None
        self._plan: tuple[str, ...] | None = None
        # The kind that was told longest ago comes first, so that each kind gets its turn.
        self._turns = [
            Pieces._take_progress,
            Pieces._take_text,
            Pieces._take_step,
            Pieces._take_failure,
        ]
        self._over = False
        self._overflowed = False
        self._starts_over = starts_over
        # Whether the agent has looked at what is kept, and whether that still stands.
        self._looked, self._stands = False, True
        self._replaces = False
        self._failures: list[tuple[Failure, Redacted]] = []
        self._failed = 0
        # Called with None once all that was given is told, else with what prevents that.
        self._flushing: list[Flushed] = []
        # Half of a surrogate pair, which waits for its other half.
        self._half = ""

    def add_text(self, text: str) -> None:
        """Add streamed text. Like all that adds, raises ``AttemptOver`` after the end."""
        with self._lock:
            self._check()
            if self._starts_over and text:
                self._restart()
            self._add(text)
        self._wake()

    def restart_text(self, text: str) -> None:
        """Begin the text anew, with ``text``; what was said before is void."""
        with self._lock:
            self._check()
            self._restart()
            self._add(text)
        self._wake()

    def go_on(self) -> None:
        """Let the text come after that of earlier attempts, which the agent has looked at."""
        with self._lock:
            self._starts_over = False
            self._looked = True

    @property
    def goes_on(self) -> bool:
        """Whether the text comes after that of earlier attempts: looked at, and not made void."""
        with self._lock:
            return self._looked and self._stands

    def add_step(self, name: str, data: Any) -> None:
        """Add a finished step."""
        with self._lock:
            self._check()
            self._steps[name] = data
        self._wake()

    def add_failure(self, failure: Failure, detail: Redacted) -> bool:
        """Add a failure beside the attempt; returns whether it will be told, as the first are."""
        with self._lock:
            self._check()
            self._failed += 1
            if self._failed > FAILURES_MAX:
                return False
            self._failures.append((failure, detail))
        self._wake()
        return True

    def set_progress(self, progress: float | None, step: str | None) -> None:
        """Set how far the work is; None leaves ``progress`` as it was."""
        with self._lock:
            self._check()
            if self._progress is not None and progress is None:
                progress = self._progress[0]
            self._progress = (progress, step)
        self._wake()

    def set_plan(self, plan: tuple[str, ...]) -> None:
        """Set which steps there will be."""
        with self._lock:
            self._check()
            self._plan = plan
        self._wake()

    def flush(self, done: Flushed) -> None:
        """Ask to be told once all that was given up to now is told."""
        with self._lock:
            self._check()
            self._flushing.append(done)
        self._wake()

    @property
    def hurried(self) -> bool:
        """Whether somebody waits until all is told."""
        return bool(self._flushing)

    def take_flushing(self) -> list[Flushed]:
        """Take what is to be called once all that was given up to now is told."""
        with self._lock:
            flushing, self._flushing = self._flushing, []
        return flushing

    def flushed(self, error: Exception | None = None) -> None:
        """All that was given is told; ``error``: it could not be, or not all of it."""
        for done in self.take_flushing():
            done(error)

    def take(self) -> Piece | None:
        """Take the piece to tell next; None: nothing waits. Progress, text and steps take turns."""
        with self._lock:
            for take in self._turns:
                if (piece := take(self)) is not None:
                    self._turns.remove(take)
                    self._turns.append(take)
                    return piece
            return None

    def close(self) -> Rest:
        """End the attempt and give what waits. After the first call nothing waits any more."""
        self.flushed(AttemptOver(self._task_id, self._attempt))
        with self._lock:
            self._over = True
            progress = None if self._progress is None else self._progress[0]
            if self._half:
                self._texts.append(whole_text(self._half))
                self._half = ""
            text, replaces = "".join(self._texts), self._replaces
            failures, self._failures = tuple(self._failures), []
            rest = Rest(self._steps, text, progress, self._plan, replaces, failures)
            self._steps, self._texts, self._chars = {}, [], 0
            self._progress = self._plan = None
            self._replaces = False
            return rest

    def check(self) -> None:
        """
        Go on only while the attempt does.

        Raises:
            AttemptOver: If it has ended.
        """
        with self._lock:
            self._check()

    def _restart(self) -> None:
        self._starts_over = self._overflowed = self._stands = False
        self._replaces = True
        self._texts, self._chars, self._half = [], 0, ""

    def _add(self, text: str) -> None:
        text, self._half = self._half + text, ""
        if HIGH_SURROGATES[0] <= text[-1:] <= HIGH_SURROGATES[1]:
            text, self._half = text[:-1], text[-1]
        text = whole_text(text)
        room = 0 if self._overflowed else self._chars_max - self._chars
        if len(text) > room:
            self._overflowed = True
            text = text[:room]
        if text:
            self._texts.append(text)
            self._chars += len(text)

    def _take_progress(self) -> Piece | None:
        if self._plan is None and self._progress is None:
            return None
        progress, at_step = self._progress or (None, None)
        plan, self._plan, self._progress = self._plan, None, None
        return Piece(progress=progress, at_step=at_step, plan=plan)

    def _take_step(self) -> Piece | None:
        if not self._steps:
            return None
        name = next(iter(self._steps))
        return Piece(step=name, data=self._steps.pop(name))

    def _take_text(self) -> Piece | None:
        if not self._texts and not self._replaces:
            return None
        text = "".join(self._texts)
        told, rest = text[:TEXT_CHARS_MAX], text[TEXT_CHARS_MAX:]
        self._texts = [rest] if rest else []
        self._chars = len(rest)
        replaces, self._replaces = self._replaces, False
        return Piece(text=told, replaces=replaces)

    def _take_failure(self) -> Piece | None:
        if not self._failures:
            return None
        failure, detail = self._failures.pop(0)
        return Piece(failure=failure, detail=detail)

    def _check(self) -> None:
        if self._over:
            raise AttemptOver(self._task_id, self._attempt)
