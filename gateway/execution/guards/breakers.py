"""
Breakers at work: which calls are let through, and when a breaker opens and closes.

pybreaker decides when a breaker opens and closes; this is the only file that knows it. It gets a
storage that reads our fold of the log, so that its own counters, clock and memory are never used,
and a listener that notes what it decides. It never wraps an await (decision 1): an attempt is
admitted first, runs outside, and its outcome is reported when the log has it. Measured before:
``call()`` never sees an ``async def`` fail, ``calling()`` lets 100 of 100 callers through
half-open, and a cancelled caller counts as a failure.

A node may be killed between a decision and its append, and what is noted here is lost with it.
The folds still tell what is due (``Breaker.due``): a node that begins finds it there, and a node
that acts late sees whether it is still due.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from datetime import datetime
from typing import Any, Literal

import pybreaker

from gateway.domain.agent import AgentPolicy
from gateway.domain.breaker import Breaker, Outcome, subject_of
from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import ExpectationFailed, NotFound, Unavailable
from gateway.domain.holds import Hold
from gateway.domain.task import Task
from gateway.execution.record.breaker_drafts import BreakerDrafts
from gateway.execution.record.intake import Decision, Intake, expected
from gateway.execution.record.policies import Policies
from gateway.execution.record.state import BREAKERS_MAX, State
from gateway.ports import Draft

__all__ = ["Admission", "Breakers", "Refusal", "StandIn", "Way"]

logger = logger_of(__name__)

# When a call that finds its upstream full may be tried again, in seconds; an end rings earlier.
FULL_RETRY_S = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Admission:
    """
    The right to call an agent once.

    Attributes:
        breaker: The breaker that will judge the call.
        generation: Its version; an outcome under another version does not count.
        probe: Id of the test request, when the breaker is half-open; None: an ordinary call.
        drafts: Take the probe's permit; they have to be appended together with the start.
        expected: The subject and offset that the admission is based on.
        hold: What it calls, where a hold of that is still remembered.
    """

    breaker: str
    generation: int
    probe: str | None = None
    drafts: tuple[Draft, ...] = ()
    expected: dict[str, int] = dataclasses.field(default_factory=dict)
    hold: str | None = None

    @property
    def judged_by(self) -> dict[str, Any]:
        """What the fact of a beginning says of it."""
        held = {} if self.hold is None else {"hold": self.hold}
        judged_by = {"breaker": self.breaker, "generation": self.generation}
        return {**judged_by, "probe": self.probe, **held}


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """The breaker, or the upstream, lets no call through for ``retry_after_s`` seconds."""

    breaker: Breaker
    retry_after_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class StandIn:
    """The fallback of that name answers in the agent's place; no breaker judges it."""

    name: str


# How an attempt is made: by the agent itself, or by its fallback.
Way = Admission | StandIn


class _Folded(pybreaker.CircuitBreakerStorage):
    """The storage of pybreaker: it reads our fold, and writes nothing."""

    def __init__(self, breaker: Breaker) -> None:
        super().__init__(breaker.name)
        self._breaker = breaker

    @property
    def state(self) -> str:
        return self._breaker.state.replace("_", "-")

    @state.setter
    def state(self, state: str) -> None:
        """Ignored: the log decides, and pybreaker reads the fold again at its next call."""

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
        """Ignored: the time that counts is the log's time of acceptance."""


class _Reported(Exception):
    """Stands for a failure that has happened outside; pybreaker counts what is raised."""


def _fail() -> None:
    raise _Reported


def _succeed() -> None:
    pass


class _Decisions(pybreaker.CircuitBreakerListener):
    """Notes which breakers pybreaker wants to open or close."""

    def __init__(self, breaker: Breaker, wanted: dict[str, str]) -> None:
        self._breaker = breaker
        self._wanted = wanted

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        # pybreaker also reports changes that it has read from the fold; they are no decisions.
        if new_state.name != self._breaker.state.replace("_", "-"):
            self._wanted[self._breaker.name] = new_state.name


class Breakers:
    """
    Admits calls and turns outcomes into openings and closings.

    Every node sees the same outcomes in the same order, so every node reaches the same decisions.
    The expectation on the breaker's subject lets the append of one node win.

    Args:
        state: The breakers, as they are folded.
        intake: The write path.
        drafts: Makes the events about breakers.
        policies: Know which upstream is held, whatever its breaker says.
    """

    def __init__(
        self, state: State, intake: Intake, drafts: BreakerDrafts, policies: Policies
    ) -> None:
        self._state = state
        self._intake = intake
        self._drafts = drafts
        self._policies = policies
        # Breakers as they were folded when their circuit was made; see ``State.breaker``.
        self._circuits: dict[str, tuple[Breaker, pybreaker.CircuitBreaker]] = {}
        # Name of a breaker → the state that is due.
        self._wanted: dict[str, str] = {}

    def begin(self) -> None:
        """Note what is due by the folds: the node that should have acted may be lost."""
        for breaker in self._state.breakers.values():
            due = breaker.due()
            if due is not None:
                self._wanted[breaker.name] = due

    def report(self, outcome: Outcome, *, at: float) -> None:
        """
        Report an outcome to pybreaker, after the folds have counted it.

        Args:
            outcome: A success or a failure that counts; see ``State.apply``.
            at: When the log accepted it, in seconds since the Unix epoch.
        """
        breaker = self._state.breakers[outcome.breaker]
        circuit = self._circuit(breaker)
        with contextlib.suppress(pybreaker.CircuitBreakerError, _Reported):
            circuit.call(_fail if outcome.kind == "failure" else _succeed)
        # pybreaker knows no rate; a success may be the outcome that makes them enough to judge.
        if breaker.state == "closed" and breaker.rate_tripped(at):
            circuit.open()

    def admit(
        self, policy: AgentPolicy, *, user_id: str, task_id: str, attempt: int
    ) -> Admission | Refusal:
        """
        Ask to call an agent once.

        The drafts of the admission take a probe's permit: append them, with its expectations,
        together with the start. Of two calls that ask for the last permit one append fails with
        ``ExpectationFailed``, and that call has to ask again.

        Args:
            policy: Of the agent.
            user_id: Owner of the task.
            task_id: The task; it may be accepted in the same append.
            attempt: Number of the attempt.
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
        Choose how the next attempt at ``task`` is made: by the agent, by its fallback, or not now.

        Args:
            policy: Of the agent.
            stand_in: Name of the fallback that this holder could call; None: it has none.
        """
        if task.next_mode == "fallback":
            breaker = self._state.breaker(policy.breaker, policy.breaker_scope)
            return Refusal(breaker, 0.0) if stand_in is None else StandIn(stand_in)
        admitted = self._admission_of(task, policy)
        if isinstance(admitted, Refusal) and stand_in is not None:
            return StandIn(stand_in)
        if isinstance(admitted, Refusal):
            return admitted
        return self._called(task, policy, stand_in, admitted)

    def refuses(self, task: Task, policy: AgentPolicy, *, stand_in: str | None) -> bool:
        """Tell whether ``way`` would refuse now, without asking for a permit."""
        if stand_in is None and task.next_mode == "fallback":
            return True
        if self._holds_back(task, policy):
            return stand_in is None
        if self._is_full(task, policy):
            return True
        hold = self._hold(task, policy)
        return hold is not None and (stand_in is None or hold.until < task.deadline_at)

    def _holds_back(self, task: Task, policy: AgentPolicy) -> bool:
        """Whether the breaker alone refuses the next attempt now."""
        breaker = self._state.breakers.get(policy.breaker)
        if breaker is None or breaker.state == "closed" or task.probe in breaker.probes:
            return False
        return breaker.permits_left(self._intake.clock.wall()) <= 0

    def _called(
        self, task: Task, policy: AgentPolicy, stand_in: str | None, admitted: Admission
    ) -> Way | Refusal:
        """Let a call that the breaker has admitted wait for its upstream, if that is held."""
        if self._is_full(task, policy):
            return Refusal(self._state.breaker(policy.breaker, policy.breaker_scope), FULL_RETRY_S)
        if (known := self._policies.hold(policy)) is None:
            return admitted
        if (hold := self._hold(task, policy)) is None:
            return dataclasses.replace(admitted, hold=known.upstream)
        # Its caller would not wait for so long.
        if stand_in is not None and hold.until >= task.deadline_at:
            return StandIn(stand_in)
        breaker = self._state.breaker(policy.breaker, policy.breaker_scope)
        return Refusal(breaker, hold.left_s(self._intake.clock.wall()))

    def _is_full(self, task: Task, policy: AgentPolicy) -> bool:
        """Whether as many calls of the agent's upstream run as may, by what it has refused."""
        return _waits_its_turn(task) and not self._state.concurrencies.has_room(policy.budget)

    def _hold(self, task: Task, policy: AgentPolicy) -> Hold | None:
        """Give the hold for which the next attempt has to wait; None: there is none."""
        if not _waits_its_turn(task):
            return None
        hold = self._policies.hold(policy)
        return None if hold is None or hold.allows(self._intake.clock.wall()) else hold

    def _admission_of(self, task: Task, policy: AgentPolicy) -> Admission | Refusal:
        """Ask for the next attempt; a task that was accepted as a probe has its permit already."""
        breaker = self._state.breaker(policy.breaker, policy.breaker_scope)
        if task.probe is not None and task.probe in breaker.probes:
            return Admission(breaker.name, breaker.version, task.probe)
        return self.admit(
            policy, user_id=task.user_id, task_id=task.task_id, attempt=task.attempt + 1
        )

    async def act(self) -> None:
        """
        Append the openings and closings that are due, unless another node has.

        Never raises ``Unavailable``: what the store does not take stays due.
        """
        # What becomes due meanwhile is left to the call whose outcome made it due.
        for _ in range(len(self._wanted)):
            if not self._wanted:
                return
            name, wanted = self._wanted.popitem()
            try:
                await self._intake.decide(
                    functools.partial(self._decision, name, wanted), about=f"breaker {name}"
                )
            except Unavailable as error:
                # The outcome is in the log; the opening or closing follows when the store is back.
                self._wanted.setdefault(name, wanted)
                logger.warning("breaker %s is due to be %s: %s", name, wanted, error)
                return

    def _decision(self, name: str, wanted: str, lost: ExpectationFailed | None) -> Decision | None:
        breaker = self._state.breakers.get(name)
        if breaker is None or breaker.due() != wanted:
            return None  # another node has done it, or later outcomes speak against it
        return self._moved(breaker, wanted, lost)

    def _moved(self, breaker: Breaker, wanted: str, lost: ExpectationFailed | None) -> Decision:
        opening = wanted == pybreaker.STATE_OPEN
        draft = self._drafts.triggered(breaker) if opening else self._drafts.closed(breaker)
        return [draft], expected(subject_of(breaker.name), breaker.last_offset, lost)

    async def set(self, name: str, wanted: Literal["open", "closed"]) -> Breaker:
        """
        Open or close a breaker for an operator, whatever it has counted, and give it.

        Raises:
            NotFound: If there is no such breaker, and no agent that would have it.
            Unavailable: If the store does not take it.
        """

        def decide(lost: ExpectationFailed | None) -> Decision | None:
            breaker = self._known(name)
            return None if breaker.state == wanted else self._moved(breaker, wanted, lost)

        await self._intake.decide(decide, about=f"breaker {name}")
        return self._known(name)

    def knows(self, name: str) -> bool:
        """Whether there is a breaker of that name, or an agent that would have it."""
        return name in self._state.breakers or self._drafts.first_behind(name) is not None

    def _known(self, name: str) -> Breaker:
        known = self._state.breakers.get(name)
        if known is not None:
            return known
        policy = self._drafts.first_behind(name)
        if policy is None:
            raise NotFound(
                f"there is no breaker {name}, and no agent that would have it; breaker.list shows "
                "those that have counted something",
                field="name",
            )
        return self._state.breaker(name, policy.breaker_scope)

    def clear(self) -> None:
        """Drop what is known of breakers: the log is another one, or is read anew."""
        self._circuits.clear()
        self._wanted.clear()

    def _circuit(self, breaker: Breaker) -> pybreaker.CircuitBreaker:
        known = self._circuits.get(breaker.name)
        if known is not None and known[0] is breaker:
            return known[1]
        if len(self._circuits) >= BREAKERS_MAX:
            self._circuits = {
                name: (one, circuit)
                for name, (one, circuit) in self._circuits.items()
                if self._state.breakers.get(name) is one
            }
        circuit = pybreaker.CircuitBreaker(
            fail_max=breaker.rules.threshold,
            reset_timeout=breaker.rules.cooldown_s,
            success_threshold=breaker.rules.permits,
            state_storage=_Folded(breaker),
            listeners=[_Decisions(breaker, self._wanted)],
            name=breaker.name,
        )
        self._circuits[breaker.name] = breaker, circuit
        return circuit


def _waits_its_turn(task: Task) -> bool:
    """Whether the next attempt waits until its upstream may be called."""
    # The fallback calls something else; a block has asked when it was accepted; who asks for an
    # attempt now (``task.retry``) gets that one.
    return not (task.next_mode == "fallback" or task.reserved_for is not None or task.hurried)
