"""
Every decision about a task's life, from its submission to its one end.

Each is made in the same way: read the folds, make the events that follow, append them all or
nothing with the task's last offset as expectation. When another writer was first, read and
decide again. So a task ends once, whichever node decides it, and a late report of an attempt
that has lost its task is refused by its term.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from gateway.attempts.pieces import Piece, Rest
from gateway.attempts.tries import Tries
from gateway.domain.errors import Conflict, ExpectationFailed, NotFound
from gateway.domain.facts import Progressed, Started
from gateway.domain.failure import Failure
from gateway.domain.recovery import Next
from gateway.domain.redaction import Redacted
from gateway.domain.task import Task, subject_of
from gateway.execution.guards.breakers import Admission, Breakers, Way
from gateway.execution.record.intake import Decision, Intake
from gateway.execution.record.lock_drafts import LockDrafts
from gateway.execution.record.policies import Policies
from gateway.execution.record.state import State
from gateway.execution.record.task_drafts import TaskDrafts, outcome_of
from gateway.execution.tasks.metering import Metering
from gateway.execution.tasks.order import Order
from gateway.execution.tasks.verdicts import Verdicts
from gateway.ports import Draft
from gateway.values import RESULT_BYTES_MAX, measured

__all__ = ["Lifecycle"]


class Lifecycle:
    """
    Decides about tasks.

    Args:
        state: The folds.
        intake: The write path.
        drafts: Makes the events about tasks.
        locks: Gives back the locks of a task that leaves its holder.
        verdicts: Judges failures.
        breakers: The log tells them outcomes; what is due after an attempt is appended here.
        policies: How tasks of each agent are treated.
        metering: Counts ends, detected failures and refused reports.
    """

    def __init__(
        self,
        *,
        state: State,
        intake: Intake,
        drafts: TaskDrafts,
        locks: LockDrafts,
        verdicts: Verdicts,
        breakers: Breakers,
        policies: Policies,
        metering: Metering,
    ) -> None:
        self._state = state
        self._intake = intake
        self._drafts = drafts
        self._locks = locks
        self._verdicts = verdicts
        self._breakers = breakers
        self._policies = policies
        self.metering = metering

    # --- the beginning ----------------------------------------------------------------------

    async def submit(
        self,
        task_id: str,
        order: Order,
        admission: Admission | None,
        beside: Decision = ((), {}),
    ) -> Task:
        """
        Accept a task.

        Args:
            task_id: Its id; there must be no such task.
            order: What is asked for.
            admission: A probe's permit, which the task takes with it; None: it needs none yet.
            beside: What is appended with it.

        Raises:
            ExpectationFailed: If there is such a task, or another caller took the permit.
        """
        fact = order.fact
        drafts: list[Draft] = [*beside[0]]
        expected = {subject_of(task_id): 0, **beside[1]}
        if admission is not None and admission.probe is not None:
            fact = fact._replace(**admission.judged_by)
            drafts += admission.drafts
            expected |= admission.expected
        drafts.append(
            self._intake.draft(
                "task_submitted",
                subject_of(task_id),
                user_id=order.user_id,
                agent_name=order.agent_name,
                task_id=task_id,
                message=f"task for {order.agent_name or order.capability} accepted",
                fact=fact,
                priority=order.priority,
                max_attempts=order.max_attempts,
                timeout=order.timeout_s,
                capability=order.capability,
                retry_of=order.retry_of,
                **order.context,
            )
        )
        await self._intake.append(drafts, expected=expected, begins=order.reserved_for is not None)
        return self._state.tasks[task_id]

    async def start(
        self,
        task_id: str,
        *,
        holder: str,
        limit_s: float,
        way: Way,
        agent_name: str | None = None,
        lease_ttl_s: float | None = None,
        beside: Decision = ((), {}),
    ) -> int:
        """
        Begin the next attempt under a new term, and return the term.

        When this returns, the task may be under a later term: this process may have stood still.

        Args:
            holder: agent_id of the worker or node that makes the attempt.
            limit_s: The attempt's limit in seconds.
            way: By the agent itself, as its breaker has admitted, or by its fallback.
            agent_name: The agent, when the task names only a capability; None: the task names it.
            lease_ttl_s: Length of the lease in seconds; None: the holder is this process.
            beside: What is appended with it or not at all: a lock that the holder takes.

        Raises:
            Conflict: If the task runs or has ended.
            ExpectationFailed: If another holder was first, with the task or with the permit.
        """
        task = self._task(task_id)
        if task.status not in ("pending", "waiting"):
            raise Conflict(f"task {task_id} is {task.status}")
        term = task.term + 1
        name = agent_name or task.agent_name
        judged_by: dict[str, Any] = {}
        expected = {subject_of(task_id): task.last_offset, **beside[1]}
        drafts: list[Draft] = list(beside[0])
        if isinstance(way, Admission):
            drafts += way.drafts
            expected |= way.expected
            policies = self._policies
            budget = (policies.of_task(task) if name is None else policies.of(name)).budget
            judged_by = {**way.judged_by, "budget": None if budget == name else budget}
        fact = Started(term=term, holder=holder, lease_ttl=lease_ttl_s, **judged_by)
        if task.lost_holder is not None:
            drafts.append(self._drafts.reassigned(task, holder))
        drafts.append(
            self._drafts.of_task(
                "task_started",
                task,
                agent_id=holder,
                agent_name=name,
                attempt=task.attempt + 1,
                message=f"attempt {task.attempt + 1} of {name} started",
                fact=fact,
                max_attempts=task.max_attempts,
                mode="primary" if isinstance(way, Admission) else "fallback",
                served_by=None if isinstance(way, Admission) else way.name,
                limit=limit_s,
            )
        )
        await self._intake.append(drafts, expected=expected, begins=True)
        return term

    # --- while it runs ----------------------------------------------------------------------

    async def tell(
        self,
        task_id: str,
        term: int,
        piece: Piece,
        *,
        number: tuple[int, int] | None = None,
        tries: Tries | None = None,
    ) -> None:
        """
        Append what an attempt has produced, or how far it is.

        Args:
            number: The worker's number of its update, and which part of it this is, from 1. What
                the log has under that number is not told again. None: it was not numbered.
            tries: The record of the tries of this piece; None: the attempt does not try again.

        Raises:
            StaleTerm: If the attempt has lost its task.
        """

        def decide(task: Task) -> Decision | None:
            self.held(task, term)
            if number is not None and task.has(*number):
                return None
            return [self._drafts.told(task, piece, number)], {}

        await self.decide(task_id, decide, tries=tries)

    # --- the end of an attempt --------------------------------------------------------------

    async def succeed(
        self, task_id: str, term: int, result: Any, *, steps: Mapping[str, Any] | None = None
    ) -> None:
        """
        End a task with its result.

        Args:
            result: As JSON.
            steps: Finished steps that the attempt had not told yet.

        Raises:
            StaleTerm: If the attempt has lost its task.
            InvalidParams, TooLarge: If the result cannot be kept.
        """
        measured(result, field="result", bytes_max=RESULT_BYTES_MAX)

        def decide(task: Task) -> Decision:
            self.held(task, term)
            drafts = []
            error_id = task.error_id
            if error_id is not None and task.last_error is not None:
                drafts.append(self._drafts.recovered(task))
            drafts.append(
                self._drafts.finished(
                    task,
                    "succeeded",
                    result=result,
                    error_id=error_id,
                    judged=outcome_of(task, "success"),
                    steps=steps,
                )
            )
            return drafts, {}

        await self.decide(task_id, decide, leaves=True)
        await self._breakers.act()

    async def fail(
        self,
        task_id: str,
        term: int,
        failure: Failure,
        *,
        cause: str,
        detail: Redacted | None = None,
        rest: Rest | None = None,
        require: Callable[[Task], None] = lambda task: None,
    ) -> Next:
        """
        End an attempt that failed, and decide what comes next.

        Args:
            failure: The failure, classified.
            cause: How it came to us: exception, timeout, agent_lost, reported, cancelled.
            detail: For operators.
            rest: What the attempt had not told yet; None: nothing.
            require: A condition beyond the term. It raises if it does not hold, and is asked
                again after each lost race.

        Raises:
            StaleTerm: If the attempt has lost its task.
        """
        after = Next("failed")

        def decide(task: Task) -> Decision:
            nonlocal after
            self.held(task, term)
            require(task)
            self.metering.detected(task_id, term)
            after = self._verdicts.after(task, failure)
            return self._verdicts.drafts(
                task, failure, after, cause=cause, detail=detail, rest=rest or Rest()
            ), {}

        await self.decide(task_id, decide, leaves=True)
        await self._breakers.act()
        return after

    async def end(self, task_id: str, failure: Failure, *, cause: str, after: Next) -> None:
        """
        End a task from outside its attempt: cancelled, out of time, no worker, shut down.

        Args:
            after: How it ends, with the reason.

        Raises:
            Conflict: If the task has ended already.
        """

        def decide(task: Task) -> Decision:
            if not task.live:
                raise Conflict(f"task {task_id} has ended: {task.status}")
            self.metering.detected(task_id, task.term)
            if failure.error_type == "cancelled" and task.status != "running":
                # No attempt was running, so nothing failed: the end alone says it all.
                judged = outcome_of(task, "neutral")
                return [
                    self._drafts.finished(
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

        await self.decide(task_id, decide, leaves=True)
        await self._breakers.act()

    async def give_up(self, task_id: str, failure: Failure) -> None:
        """End a task that cannot go on, with ``failure`` as the reason, unless it has ended."""
        cancelled = failure.error_type == "cancelled"
        after = Next("cancelled" if cancelled else "failed", reason=failure.error_code)
        with contextlib.suppress(Conflict):
            await self.end(
                task_id, failure, cause="cancelled" if cancelled else "exception", after=after
            )

    async def hurry(self, task_id: str) -> None:
        """
        Let a task that waits between attempts make the next one now.

        Raises:
            Conflict: If the task does not wait.
        """

        def decide(task: Task) -> Decision:
            if task.status != "waiting":
                raise Conflict(f"task {task_id} is {task.status}, there is nothing to retry now")
            draft = self._drafts.of_task(
                "task_progress",
                task,
                message="retry now, as asked",
                fact=Progressed(retry_now=True),
                progress=task.progress,
                step=task.step,
            )
            return [draft], {}

        await self.decide(task_id, decide)

    async def cleaned(
        self, task_id: str, term: int, *, tries: Tries | None = None, **found: Any
    ) -> None:
        """
        Tell what was cleaned up after an attempt, once, also after the task's end.

        Args:
            term: Of the attempt.
            tries: The record of the tries of this event; None: the caller does not try again.
            found: As ``TaskDrafts.cleaned`` takes it.

        Raises:
            StaleTerm: If no attempt was made under that term.
        """

        def decide(task: Task) -> Decision | None:
            made = next((attempt for attempt in task.attempts if attempt.term == term), None)
            if made is None:
                raise self.metering.stale(f"task {task_id}: no attempt was made under term {term}")
            return None if made.cleaned else ([self._drafts.cleaned(task, made, **found)], {})

        await self.decide(task_id, decide, tries=tries)

    # --- how it decides ---------------------------------------------------------------------

    def _task(self, task_id: str) -> Task:
        task = self._state.tasks.get(task_id)
        if task is None:
            raise NotFound(f"there is no task {task_id}", field="task_id")
        return task

    def held(self, task: Task, term: int) -> None:
        """
        Return only if ``term`` is in force.

        Raises:
            StaleTerm: If another term is in force, or none.
        """
        if task.status != "running" or task.term != term:
            raise self.metering.stale(
                f"task {task.task_id}: term {term} is over, "
                + (f"term {task.term} is in force" if task.live else f"the task {task.status}")
            )

    async def decide(
        self,
        task_id: str,
        decide: Callable[[Task], Decision | None],
        *,
        tries: Tries | None = None,
        leaves: bool = False,
    ) -> None:
        """
        Decide about a task; see ``Intake.decide``.

        Args:
            decide: Makes the decision; None: nothing has to be done. The task's last offset is
                expected in any case.
            tries: As ``Intake.decide`` takes it.
            leaves: Whether the task leaves its holder by it; its locks are given back with it.

        Raises:
            NotFound: If there is no such task.
            Unavailable: After too many lost races, or if the store does not answer.
        """

        was_live = False

        def decide_now(_: ExpectationFailed | None) -> Decision | None:
            nonlocal was_live
            task = self._task(task_id)
            was_live = task.live
            decision = decide(task)
            if decision is None:
                return None
            drafts, expected = decision
            freed, of_locks = self._locks.let_go(task_id) if leaves else ((), {})
            expected = {subject_of(task_id): task.last_offset, **of_locks, **expected}
            return [*freed, *drafts], expected

        done = await self._intake.decide(decide_now, about=f"task {task_id}", tries=tries)
        if done and was_live:
            self.metering.decided(task_id)
