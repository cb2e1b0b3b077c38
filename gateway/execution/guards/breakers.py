"""
Breakers at work: which calls are let through, and the events that opening and closing are.

pybreaker decides when a breaker opens and closes; this is the only file that knows it. It is
given a storage that reads our fold of the log (its own counters, clock and memory are never
asked) and a listener that notes what it decides. It never wraps an await: an attempt is
admitted first, runs outside, and its outcome is reported when the log has it. Measured before:
``call()`` never sees an ``async def`` fail, ``calling()`` lets 100 of 100 callers through
half-open, and a cancelled caller counts as a failure.

A node may be killed between its decision and the append. What is noted here is lost with it; the
folds still tell what is due (``Breaker.due``), so that a node that begins finds it there, and a
node that comes to it late sees whether it still is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from datetime import datetime

import pybreaker

from gateway.domain.agent import AgentPolicy
from gateway.domain.breaker import Breaker, Outcome, subject_of
from gateway.domain.errors import ExpectationFailed, Unavailable
from gateway.domain.task import Task
from gateway.execution.record.breaker_drafts import BreakerDrafts
from gateway.execution.record.intake import Decision, Intake
from gateway.execution.record.state import State
from gateway.ports import Draft

__all__ = ["Admission", "Breakers", "Refusal", "StandIn", "Way"]

logger = logging.getLogger(__name__)


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
    """The breaker lets no call through now; ``retry_after_s`` seconds until it is worth asking."""

    breaker: Breaker
    retry_after_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class StandIn:
    """The fallback answers in the agent's place; no breaker judges it."""

    name: str


# How an attempt is made: by the agent itself, or by its fallback.
Way = Admission | StandIn


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

    def __init__(self, state: State, intake: Intake, drafts: BreakerDrafts) -> None:
        self._state = state
        self._intake = intake
        self._drafts = drafts
        self._circuits: dict[str, pybreaker.CircuitBreaker] = {}
        # By name: the state that is due.
        self._wanted: dict[str, str] = {}

    def begin(self) -> None:
        """Note what is due by the folds: the node that was to act on it may have been lost."""
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
        expectations, together with the start. Of two calls that ask for the last permit one is
        told ``ExpectationFailed`` and has to ask again.
        """
        breaker = self._state.breaker(policy.breaker, policy.breaker_scope)
        if breaker.state == "closed":
            return Admission(breaker.name, breaker.version)
        now = self._intake.clock.wall()
        if breaker.permits_left(now) <= 0:
            return Refusal(breaker, breaker.retry_after_s(now))
        test_request_id = self._intake.ids.uuid7()
        draft = self._drafts.test_request(
            breaker,
            policy,
            test_request_id=test_request_id,
            task={"user_id": user_id, "task_id": task_id, "attempt": attempt},
        )
        expected = {subject_of(breaker.name): breaker.last_offset}
        return Admission(breaker.name, breaker.version, test_request_id, (draft,), expected)

    def way(self, task: Task, policy: AgentPolicy, *, stand_in: str | None) -> Way | Refusal:
        """
        Choose how the next attempt at ``task`` is made.

        Args:
            policy: Of the agent that makes it.
            stand_in: Name of a fallback that could make it; None: there is none.
        """
        if task.next_mode == "fallback":
            breaker = self._state.breaker(policy.breaker, policy.breaker_scope)
            return Refusal(breaker, 0.0) if stand_in is None else StandIn(stand_in)
        admitted = self._admission_of(task, policy)
        if isinstance(admitted, Refusal) and stand_in is not None:
            return StandIn(stand_in)
        return admitted

    def refuses(self, task: Task, policy: AgentPolicy, *, stand_in: str | None) -> bool:
        """Tell whether ``way`` would refuse now, without asking for a permit."""
        if stand_in is not None:
            return False
        if task.next_mode == "fallback":
            return True
        breaker = self._state.breakers.get(policy.breaker)
        if breaker is None or breaker.state == "closed" or task.probe in breaker.probes:
            return False
        return breaker.permits_left(self._intake.clock.wall()) <= 0

    def _admission_of(self, task: Task, policy: AgentPolicy) -> Admission | Refusal:
        """Ask for the next attempt at ``task``; one accepted as a probe has its permit already."""
        breaker = self._state.breaker(policy.breaker, policy.breaker_scope)
        if task.probe is not None and task.probe in breaker.probes:
            return Admission(breaker.name, breaker.version, task.probe)
        return self.admit(
            policy, user_id=task.user_id, task_id=task.task_id, attempt=task.attempt + 1
        )

    async def act(self) -> None:
        """Append the openings and closings that are due, unless another node has."""
        # Those that come to be due meanwhile are acted on by the call that made them so.
        for _ in range(len(self._wanted)):
            if not self._wanted:
                return
            name, wanted = self._wanted.popitem()
            try:
                await self._intake.decide(
                    functools.partial(self._decision, name, wanted), about=f"breaker {name}"
                )
            except Unavailable as error:
                # The outcome itself is told; this is made up for when the store is back.
                self._wanted.setdefault(name, wanted)
                logger.warning("breaker %s is due to be %s: %s", name, wanted, error)
                return

    def _decision(self, name: str, wanted: str, lost: ExpectationFailed | None) -> Decision | None:
        breaker = self._state.breakers.get(name)
        if breaker is None or breaker.due() != wanted:
            return None  # another node has done it, or outcomes came that speak against it
        opening = wanted == pybreaker.STATE_OPEN
        draft = self._drafts.triggered(breaker) if opening else self._drafts.closed(breaker)
        return [draft], {subject_of(name): breaker.last_offset}

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
