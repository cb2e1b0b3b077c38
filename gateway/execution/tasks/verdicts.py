"""
Verdicts: what follows from a failed attempt, and the events that say so.

Nothing is appended here; ``lifecycle`` appends what is returned. Nothing is kept here either: retry
budgets are folds of the log, so that every node on it judges alike.
"""

from __future__ import annotations

from gateway.attempts.pieces import Rest
from gateway.domain.error_codes import failure_with
from gateway.domain.failure import Failure
from gateway.domain.recovery import Backoff, Next, next_step
from gateway.domain.redaction import Redacted
from gateway.domain.task import Task
from gateway.execution.record.dead_letter_drafts import DeadLetterDrafts
from gateway.execution.record.policies import Policies
from gateway.execution.record.state import State
from gateway.execution.record.task_drafts import TaskDrafts, outcome_of
from gateway.ports import Clock, Draft, IdSource

__all__ = ["Verdicts"]


class Verdicts:
    """
    Judges failures.

    Args:
        state: Gives the breakers and the retry budgets.
        drafts: Makes the events about tasks.
        dead_letters: Makes the note that one is added.
        policies: Give an agent's fallback, breaker and retry budget.
        backoff: Says how long to wait between attempts.
        clock: Tells the time.
        ids: Gives ids and chance.
    """

    def __init__(
        self,
        *,
        state: State,
        drafts: TaskDrafts,
        dead_letters: DeadLetterDrafts,
        policies: Policies,
        backoff: Backoff,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._state = state
        self._drafts = drafts
        self._dead_letters = dead_letters
        self._policies = policies
        self._backoff = backoff
        self._clock = clock
        self._ids = ids

    def after(self, task: Task, failure: Failure) -> Next:
        """
        Decide what comes after a failed attempt of ``task``.

        An attempt that the breaker would hold back is not announced for now: it is made later,
        or by the fallback, or not at all.
        """
        policy = self._policies.of_task(task)
        now = self._clock.wall()
        delay_s = self._backoff.delay_s(
            task.recoveries + 1,
            chance=self._ids.random(),
            retry_after_s=failure.retry_after_s,
        )
        if (hold := self._policies.hold(policy)) is not None:
            # No attempt is announced for a time at which its upstream is held.
            delay_s = max(delay_s, hold.left_s(now))
        if task.mode == "fallback":
            # The fallback was the last resort; the agent's own failure says how the task ends.
            first = task.last_error or {}
            retryable = failure_with(
                first.get("error_code", failure.error_code),
                error_type=first.get("error_type", failure.error_type),
            ).retryable
            return Next("dead_lettered" if retryable else "failed", reason="fallback_failed")
        # A supervised block gets its failure as an exception and does not wait for a fallback.
        fallback = policy.fallback is not None and task.reserved_for is None
        after = next_step(
            failure,
            tries_left=task.tries_left + failure.spared,
            fallback=fallback,
            delay_s=delay_s,
            time_left_s=task.deadline_at - now,
            budget_left=self._state.budgets.allow(task.budget or policy.name, now),
        )
        breaker = self._state.breakers.get(policy.breaker)
        if after.step != "retry" or breaker is None:
            return after
        # An attempt is announced for the time when the breaker lets it through.
        held_s = breaker.holds_back_s(
            now, failing=failure.counts and task.breaker is not None, probe=task.probe
        )
        if held_s <= after.delay_s:
            return after
        if fallback:
            return Next("fallback")
        if held_s >= task.deadline_at - now:
            return Next("failed", reason="circuit_open")
        return Next("retry", delay_s=held_s)

    def _asked_to_wait(self, task: Task, failure: Failure) -> tuple[str, float] | None:
        """
        Tell which upstream a failure holds, and for how many seconds; None: none.

        Only a failure that is the upstream's own does: why a request itself was refused says
        nothing of others. What a fallback calls is not known.
        """
        if not failure.retry_after_s or not failure.counts:
            return None
        if task.status != "running" or task.mode == "fallback":
            return None
        return self._policies.upstream_of(self._policies.of_task(task)), failure.retry_after_s

    def drafts(
        self,
        task: Task,
        failure: Failure,
        after: Next,
        *,
        cause: str,
        detail: Redacted | None,
        rest: Rest,
    ) -> list[Draft]:
        """
        Make the events of a failed attempt, in their order: what is kept, what failed, what next.

        Args:
            after: What comes next, as ``after`` has decided.
            cause: How it came to us: exception, timeout, agent_lost, reported, cancelled.
            detail: For operators.
            rest: What the attempt had not told yet.
        """
        policy = self._policies.of_task(task)
        error_id = task.error_id or self._ids.uuid7()
        drafts = []
        if task.preserved or rest:
            drafts.append(self._drafts.partial_preserved(task, failure, error_id, policy, rest))
        judged = outcome_of(task, "failure" if failure.counts else "neutral")
        drafts.append(
            self._drafts.error(
                task,
                failure,
                error_id,
                policy,
                after,
                cause=cause,
                detail=detail,
                outcome=judged,
                held=self._asked_to_wait(task, failure),
            )
        )
        if not after.ends:
            drafts.append(self._drafts.recovery(task, failure, error_id, policy, after))
            return drafts
        assert after.reason is not None
        if after.step == "dead_lettered":
            drafts.append(self._drafts.dead_lettered(task, failure, error_id, policy, after.reason))
            drafts.append(self._dead_letters.added(task, after.reason))
        drafts.append(
            self._drafts.finished(task, after.step, reason=after.reason, error_id=error_id)
        )
        return drafts
