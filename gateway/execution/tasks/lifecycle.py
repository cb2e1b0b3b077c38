"""
Every decision about a task's life, from its submission to its one end.

Each is made the same way: read the folds, make the events that follow, append them all or
nothing with the task's last offset as expectation. When somebody else was first, read and
decide again. So a task ends once, whoever decides, and what a lost attempt says late is
refused by its term.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.attempts.agents import Agents
from gateway.attempts.pieces import Piece, Rest
from gateway.domain.errors import Conflict, ExpectationFailed, NotFound, StaleTerm, Unavailable
from gateway.domain.failure import Failure
from gateway.domain.recovery import Backoff, Next
from gateway.domain.task import Task, subject_of
from gateway.execution.guards.breakers import Admission, Breakers
from gateway.execution.record.in_doubt import Doubts
from gateway.execution.record.intake import Intake
from gateway.execution.record.once import Once, trying
from gateway.execution.record.state import State
from gateway.execution.record.task_drafts import Telling, outcome_of
from gateway.execution.tasks.order import Order
from gateway.execution.tasks.verdicts import Verdicts
from gateway.ports import Draft
from gateway.values import RESULT_BYTES_MAX, measured

__all__ = ["RACES_MAX", "Decision", "Lifecycle"]

# Each loss of a race means that somebody else moved the task on; this many in a row means
# that something is wrong.
RACES_MAX = 16

Decision = tuple[Sequence[Draft], Mapping[str, int]]


class Lifecycle:
    """
    Decides about tasks.

    Args:
        state: What is so.
        intake: The write path.
        telling: Makes the events about failures.
        breakers: Who is let through.
        agents: How tasks of each agent are treated.
        backoff: How long to wait between attempts.
    """

    def __init__(
        self,
        state: State,
        intake: Intake,
        telling: Telling,
        breakers: Breakers,
        agents: Agents,
        backoff: Backoff,
    ) -> None:
        self._state = state
        self._intake = intake
        self._telling = telling
        self._breakers = breakers
        self._agents = agents
        self._verdicts = Verdicts(state, telling, agents, backoff, intake.clock, intake.ids)
        self.stale_terms = 0
        # Of beginnings: nobody would make the attempt, or run the block that the task is for.
        self.doubts = Doubts()

    # --- the beginning ----------------------------------------------------------------------

    async def submit(self, task_id: str, order: Order, admission: Admission | None) -> Task:
        """
        Accept a task.

        Args:
            task_id: What it will be called.
            order: What is asked for.
            admission: The permit of a probe that this task will be; None: it needs none yet.

        Raises:
            ExpectationFailed: Somebody else took the permit, or there is such a task.
        """
        hidden: dict[str, Any] = {"input": order.input}
        if order.idempotency_key is not None:
            hidden |= {
                "idempotency_key": order.idempotency_key,
                "fingerprint": order.fingerprint,
            }
        if order.reserved_for is not None:
            hidden["reserved_for"] = order.reserved_for
        drafts: list[Draft] = []
        expected = {subject_of(task_id): 0}
        if admission is not None and admission.probe is not None:
            hidden |= _judged_by(admission)
            drafts += admission.drafts
            expected |= admission.expected
        optional = {
            name: value
            for name in ("correlation_id", "causation_id", "traceparent")
            if (value := getattr(order, name)) is not None
        }
        drafts.append(
            self._intake.draft(
                "task_submitted",
                subject_of(task_id),
                user_id=order.user_id,
                agent_name=order.agent_name,
                task_id=task_id,
                message=f"task for {order.agent_name or order.capability} accepted",
                state=hidden,
                priority=order.priority,
                max_attempts=order.max_attempts,
                timeout=order.timeout_s,
                capability=order.capability,
                retry_of=order.retry_of,
                **optional,
            )
        )
        reserved = order.reserved_for is not None
        with self.doubts.about(drafts[-1]) if reserved else contextlib.nullcontext():
            await self._intake.append(drafts, expected=expected)
        return self._state.tasks[task_id]

    async def start(
        self,
        task_id: str,
        *,
        holder: str,
        limit_s: float,
        admission: Admission | None,
        fallback: str | None = None,
        agent_name: str | None = None,
        lease_ttl_s: float | None = None,
    ) -> int:
        """
        Begin the next attempt under a new term, and give it.

        The task may be under a later one by then: this process may have stood still.

        Args:
            holder: agent_id of whoever makes it.
            agent_name: Who does it, when the task was for whoever can; None: as it says.
            lease_ttl_s: Length of the lease; None: the holder is this process.
            limit_s: The attempt's limit in seconds.
            admission: From the breaker; None for a fallback, which none judges.
            fallback: Its name when the fallback makes the attempt.

        Raises:
            Conflict: If the task cannot be started: it runs, waits, or has ended.
            ExpectationFailed: Somebody else was first, with the task or with the permit.
        """
        task = self._task(task_id)
        if task.status not in ("pending", "waiting"):
            raise Conflict(f"task {task_id} is {task.status}")
        term = task.term + 1
        hidden: dict[str, Any] = {"term": term, "holder": holder}
        expected = {subject_of(task_id): task.last_offset}
        drafts: list[Draft] = []
        if admission is not None:
            hidden |= _judged_by(admission)
            drafts += admission.drafts
            expected |= admission.expected
            self._verdicts.called(self._agents.policy_for(task))
        if lease_ttl_s is not None:
            hidden["lease_ttl"] = lease_ttl_s
        if task.lost_holder is not None:
            drafts.append(self._telling.reassigned(task, holder))
        mode = "primary" if fallback is None else "fallback"
        name = agent_name or task.agent_name
        drafts.append(
            self._telling.of_task(
                "task_started",
                task,
                agent_id=holder,
                agent_name=name,
                attempt=task.attempt + 1,
                message=f"attempt {task.attempt + 1} of {name} started",
                state=hidden,
                max_attempts=task.max_attempts,
                mode=mode,
                served_by=fallback,
                limit=limit_s,
            )
        )
        with self.doubts.about(drafts[-1]):
            await self._intake.append(drafts, expected=expected)
        return term

    # --- while it runs ----------------------------------------------------------------------

    async def tell(
        self, task_id: str, term: int, piece: Piece, *, once: Once | None = None
    ) -> None:
        """
        Append what an attempt has produced, or how far it is; see ``trying`` for ``once``.

        Raises:
            StaleTerm: If the attempt has lost its task.
        """

        def decide(task: Task) -> Decision:
            self.held(task, term)
            if not piece.produced:
                hidden = {} if piece.plan is None else {"plan": piece.plan}
                draft = self._telling.of_task(
                    "task_progress",
                    task,
                    message="progress",
                    state=hidden,
                    progress=piece.progress,
                    step=piece.at_step,
                )
            else:
                told = (
                    {"text": piece.text}
                    if piece.text is not None
                    else {"step": piece.step, "data": piece.data}
                )
                draft = self._telling.of_task(
                    "partial_result",
                    task,
                    message="partial result, " + (f"step {piece.step}" if piece.step else "text"),
                    piece=task.preserved.pieces + 1,
                    **told,
                )
            return [draft], {}

        with trying(once, self._intake.log, decide) as decide_once:
            await self.decide(task_id, decide_once)

    # --- the end of an attempt --------------------------------------------------------------

    async def succeed(
        self, task_id: str, term: int, result: Any, *, steps: Mapping[str, Any] | None = None
    ) -> None:
        """
        End a task with its result.

        Args:
            result: As JSON.
            steps: Finished steps that were not told yet.

        Raises:
            StaleTerm: If the attempt has lost its task.
            InvalidParams, TooLarge: If the result cannot be kept.
        """
        measured(result, field="result", bytes_max=RESULT_BYTES_MAX)

        def decide(task: Task) -> Decision:
            self.held(task, term)
            drafts = []
            error_id = task.error_id
            if error_id is not None:
                drafts.append(self._telling.recovered(task))
            drafts.append(
                self._telling.finished(
                    task,
                    "succeeded",
                    result=result,
                    error_id=error_id,
                    judged=outcome_of(task, "success"),
                    steps=steps,
                )
            )
            return drafts, {}

        await self.decide(task_id, decide)
        await self._breakers.act()

    async def fail(
        self,
        task_id: str,
        term: int,
        failure: Failure,
        *,
        cause: str,
        detail: Mapping[str, Any] | None = None,
        rest: Rest | None = None,
        require: Callable[[Task], None] = lambda task: None,
    ) -> Next:
        """
        End an attempt that failed, and decide what comes next.

        Args:
            failure: Why, classified.
            cause: How it came to us: exception, timeout, agent_lost, reported, cancelled.
            detail: For operators, redacted already.
            rest: What the attempt had not told yet.
            require: Raises if that is no longer to be; asked again when somebody was first.

        Raises:
            StaleTerm: If the attempt has lost its task.
        """
        after = Next("failed")

        def decide(task: Task) -> Decision:
            nonlocal after
            self.held(task, term)
            require(task)
            after = self._verdicts.after(task, failure)
            return self._verdicts.drafts(
                task, failure, after, cause=cause, detail=detail, rest=rest or Rest()
            ), {}

        await self.decide(task_id, decide)
        self._verdicts.decided(self._task(task_id), after)
        await self._breakers.act()
        return after

    async def end(self, task_id: str, failure: Failure, *, cause: str, after: Next) -> None:
        """
        End a task from outside its attempt: cancelled, out of time, nobody there, shut down.

        Raises:
            Conflict: If it has ended already.
        """

        def decide(task: Task) -> Decision:
            if not task.live:
                raise Conflict(f"task {task_id} has ended: {task.status}")
            if failure.error_type == "cancelled" and task.status != "running":
                # Nothing was running, so nothing failed: its end says it all.
                judged = outcome_of(task, "neutral")
                return [
                    self._telling.finished(
                        task,
                        after.step,
                        reason=after.reason,
                        error_id=task.error_id,
                        judged=judged,
                    )
                ], {}
            return self._verdicts.drafts(
                task, failure, after, cause=cause, detail=None, rest=Rest()
            ), {}

        await self.decide(task_id, decide)
        await self._breakers.act()

    async def give_up(self, task_id: str, failure: Failure) -> None:
        """End a task that cannot go on, with ``failure`` as the reason; nothing if it has ended."""
        cancelled = failure.error_type == "cancelled"
        after = Next("cancelled" if cancelled else "failed", reason=failure.error_code)
        with contextlib.suppress(Conflict):
            await self.end(
                task_id, failure, cause="cancelled" if cancelled else "exception", after=after
            )

    async def hurry(self, task_id: str) -> None:
        """
        Let a task that waits between attempts try now.

        Raises:
            Conflict: If it does not wait.
        """

        def decide(task: Task) -> Decision:
            if task.status != "waiting":
                raise Conflict(f"task {task_id} is {task.status}, there is nothing to retry now")
            draft = self._telling.of_task(
                "task_progress",
                task,
                message="retry now, as asked",
                state={"retry_now": True},
                progress=task.progress,
                step=task.step,
            )
            return [draft], {}

        await self.decide(task_id, decide)

    async def cleaned(self, task_id: str, *, once: Once | None = None, **found: Any) -> None:
        """
        Tell what was cleaned up after an attempt; it may be told after the task's end.

        Args:
            once: See ``trying``.
            found: As ``Telling.cleaned`` takes it.
        """

        def decide(task: Task) -> Decision:
            return [self._telling.cleaned(task, **found)], {}

        with trying(once, self._intake.log, decide) as decide_once:
            await self.decide(task_id, decide_once)

    # --- how it decides ---------------------------------------------------------------------

    def _task(self, task_id: str) -> Task:
        task = self._state.tasks.get(task_id)
        if task is None:
            raise NotFound(f"there is no task {task_id}", field="task_id")
        return task

    def held(self, task: Task, term: int) -> None:
        """
        Go on only under the term that is in force.

        Raises:
            StaleTerm: If it is another one, or none.
        """
        if task.status != "running" or task.term != term:
            self.stale_terms += 1
            raise StaleTerm(
                f"task {task.task_id}: term {term} is over, "
                + (f"term {task.term} is in force" if task.live else f"the task {task.status}")
            )

    async def decide(self, task_id: str, decide: Callable[[Task], Decision]) -> None:
        """
        Decide about a task: read, make what follows, append; again if somebody was first.

        Raises:
            NotFound: If there is no such task.
            Unavailable: If it changes faster than it can be decided, or the store is away.
        """
        for _ in range(RACES_MAX):
            task = self._task(task_id)
            drafts, expected = decide(task)
            try:
                await self._intake.append(
                    drafts, expected={subject_of(task_id): task.last_offset, **expected}
                )
            except ExpectationFailed:
                continue
            return
        raise Unavailable(f"task {task_id} changes faster than it can be decided", retry_after=1.0)


def _judged_by(admission: Admission) -> dict[str, Any]:
    return {
        "breaker": admission.breaker,
        "generation": admission.generation,
        "probe": admission.probe,
    }
