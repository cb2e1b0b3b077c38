"""
Breakers at work: who is let through, and the events that opening and closing are.

pybreaker decides when a breaker opens and closes; this is the only file that knows it. It is
given a storage that reads our fold of the log (its own counters, clock and memory are never
asked) and a listener that notes what it decides. It never wraps an await: an attempt is
admitted first, runs outside, and its outcome is reported when the log has it. Measured before:
``call()`` never sees an ``async def`` fail, ``calling()`` lets 100 of 100 callers through
half-open, and a cancelled caller counts as a failure.

Whoever decided may be killed before its append. What is noted here is lost with it; the folds
still tell what is due (``Breaker.due``), so that whoever begins finds it there, and whoever
comes to it late sees whether it still is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from datetime import datetime

import pybreaker

from gateway.domain.agent import AgentPolicy
from gateway.domain.breaker import Breaker, Outcome, subject_of
from gateway.domain.errors import ExpectationFailed, Unavailable
from gateway.domain.task import Task
from gateway.execution.record.breaker_drafts import BreakerNews
from gateway.execution.record.intake import Intake
from gateway.execution.record.state import State
from gateway.ports import Draft

__all__ = ["Admission", "Breakers", "Refusal"]

logger = logging.getLogger(__name__)

# Each turn that is lost means that somebody else wrote about the breaker; what is still due
# after so many waits for the next outcome.
TURNS_MAX = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Admission:
    """
    The right to call an agent once.

    Attributes:
        probe: Its test request, when the breaker is half-open; None: an ordinary call.
        drafts: What has to be appended together with the start; the permit is theirs.
        expected: What the decision was based on.
    """

    breaker: str
    generation: int
    probe: str | None = None
    drafts: tuple[Draft, ...] = ()
    expected: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """The breaker lets nobody through now; ``retry_after_s`` seconds until it is worth asking."""

    breaker: Breaker
    retry_after_s: float


class _Folded(pybreaker.CircuitBreakerStorage):
    """What pybreaker reads is what the log says; what it would write, the log decides."""

    def __init__(self, breaker: Breaker) -> None:
        super().__init__(breaker.name)
        self._breaker = breaker

    @property
    def state(self) -> str:
        return self._breaker.state.replace("_", "-")

    @state.setter
    def state(self, state: str) -> None:
        """The log decides; pybreaker finds its own view set back at the next call."""

    @property
    def counter(self) -> int:
        return self._breaker.consecutive

    @property
    def success_counter(self) -> int:
        return self._breaker.successes

    @property
    def opened_at(self) -> datetime | None:
        return None

    @opened_at.setter
    def opened_at(self, datetime: datetime) -> None:
        """Ours is the log's time of acceptance."""


class _Reported(Exception):
    """Stands for a failure that has already happened."""


def _fail() -> None:
    raise _Reported


def _succeed() -> None:
    pass


class _Decisions(pybreaker.CircuitBreakerListener):
    """Notes which breakers are to open or close."""

    def __init__(self, breaker: Breaker, wanted: dict[str, str]) -> None:
        self._breaker = breaker
        self._wanted = wanted

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        # It is also told of changes that the log has brought; what differs from the log is news.
        if new_state.name != self._breaker.state.replace("_", "-"):
            self._wanted[self._breaker.name] = new_state.name


class Breakers:
    """
    Admits calls and turns outcomes into openings and closings.

    Reads the log behind the folds, so that every node reaches the same decisions; the
    expectation on the breaker's subject lets one node's append win.
    """

    def __init__(self, state: State, intake: Intake, news: BreakerNews) -> None:
        self._state = state
        self._intake = intake
        self._news = news
        self._circuits: dict[str, pybreaker.CircuitBreaker] = {}
        # By name: the state that is due.
        self._wanted: dict[str, str] = {}

    def begin(self) -> None:
        """Note what is due by the folds: whoever was to act on it may have been lost before."""
        for breaker in self._state.breakers.values():
            due = breaker.due()
            if due is not None:
                self._wanted[breaker.name] = due

    def report(self, outcome: Outcome, *, at: float) -> None:
        """
        Report an outcome that counts, and that the folds have counted, to pybreaker.

        Args:
            outcome: A success or a failure of the breaker's present version.
            at: When the log accepted it, in seconds since the Unix epoch.
        """
        breaker = self._state.breakers[outcome.breaker]
        circuit = self._circuit(breaker)
        with contextlib.suppress(pybreaker.CircuitBreakerError, _Reported):
            circuit.call(_fail if outcome.kind == "failure" else _succeed)
        # A success may be the outcome that makes them enough to judge.
        if breaker.state == "closed" and breaker.rate_tripped(at):
            circuit.open()

    def admit(
        self, policy: AgentPolicy, *, user_id: str, task_id: str | None, attempt: int | None
    ) -> Admission | Refusal:
        """
        Ask to call an agent once.

        A probe's permit is taken by the drafts of the admission: append them, with their
        expectations, together with the start. Of two who ask for the last permit one will be
        told ``ExpectationFailed`` and has to ask again.
        """
        breaker = self._state.breaker(policy.breaker, policy.breaker_scope)
        if breaker.state == "closed":
            return Admission(breaker.name, breaker.version)
        now = self._intake.clock.wall()
        if breaker.permits_left(now) <= 0:
            return Refusal(breaker, breaker.retry_after_s(now))
        test_request_id = self._intake.ids.uuid7()
        draft = self._news.test_request(
            breaker,
            policy,
            test_request_id=test_request_id,
            task={"user_id": user_id, "task_id": task_id, "attempt": attempt},
        )
        expected = {subject_of(breaker.name): breaker.last_offset}
        return Admission(breaker.name, breaker.version, test_request_id, (draft,), expected)

    def admission_of(self, task: Task, policy: AgentPolicy) -> Admission | Refusal:
        """Ask for the next attempt at ``task``; one accepted as a probe has its permit already."""
        breaker = self._state.breaker(policy.breaker, policy.breaker_scope)
        if task.probe is not None and task.probe in breaker.probes:
            return Admission(breaker.name, breaker.version, task.probe)
        return self.admit(
            policy, user_id=task.user_id, task_id=task.task_id, attempt=task.attempt + 1
        )

    async def act(self) -> None:
        """Append the openings and closings that are due; somebody else may have been first."""
        for _ in range(TURNS_MAX):
            if not self._wanted:
                return
            name, wanted = self._wanted.popitem()
            breaker = self._state.breakers.get(name)
            if breaker is None or breaker.due() != wanted:
                continue  # somebody else has done it, or outcomes came that speak against it
            opening = wanted == pybreaker.STATE_OPEN
            draft = self._news.triggered(breaker) if opening else self._news.closed(breaker)
            try:
                await self._intake.append([draft], expected={subject_of(name): breaker.last_offset})
            except ExpectationFailed:
                # A probe has begun meanwhile; what is due is due all the same.
                self._wanted.setdefault(name, wanted)
            except Unavailable as error:
                # The outcome itself is told; this is made up for when the store is back.
                self._wanted.setdefault(name, wanted)
                logger.warning("breaker %s is due to be %s: %s", name, wanted, error)
                return

    def clear(self) -> None:
        """Know no breaker."""
        self._circuits.clear()
        self._wanted.clear()

    def _circuit(self, breaker: Breaker) -> pybreaker.CircuitBreaker:
        known = self._circuits.get(breaker.name)
        if known is None:
            storage = _Folded(breaker)
            known = self._circuits[breaker.name] = pybreaker.CircuitBreaker(
                fail_max=breaker.rules.threshold,
                reset_timeout=breaker.rules.cooldown_s,
                success_threshold=breaker.rules.permits,
                state_storage=storage,
                listeners=[_Decisions(breaker, self._wanted)],
                name=breaker.name,
            )
        return known
