"""
The drafts about tasks: one function for each event that tells of a failure or of its end.

Each makes a draft from the task as it is folded, and appends nothing. Sentences for people come
from the catalogue (``domain.messages``, decision 6), and an estimate says where it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.attempts.cleanup import status_of
from gateway.attempts.pieces import Piece, Rest
from gateway.domain import messages
from gateway.domain.agent import AgentPolicy
from gateway.domain.announcements import sentence
from gateway.domain.attempt import Attempt, past_errors
from gateway.domain.breaker import Kind, Outcome
from gateway.domain.facts import Failed, Finished, Leased, Produced, Progressed, Salvaged
from gateway.domain.failure import Failure
from gateway.domain.recovery import STRATEGIES, Next
from gateway.domain.redaction import Redacted
from gateway.domain.task import Task, subject_of
from gateway.domain.timestamps import rfc3339
from gateway.execution.record.failure_fields import Fields, about, over, recovered
from gateway.execution.record.intake import Intake
from gateway.execution.record.side_failure import side_failure
from gateway.execution.record.state import State
from gateway.ports import Draft

__all__ = ["LOST_BYTES_MAX", "TaskDrafts", "outcome_of"]

# How many bytes the names of planned steps may have in one event, as JSON. What is preserved takes
# nearly all that an event may have, and a plan of 256 long names would take the rest.
LOST_BYTES_MAX = 12 * 1024


class TaskDrafts:
    """
    Makes the drafts about tasks.

    Args:
        intake: Makes drafts.
        state: Gives breakers and observed recoveries, for estimates.
    """

    def __init__(self, intake: Intake, state: State) -> None:
        self._intake = intake
        self._state = state

    # --- failure fields ---------------------------------------------------------------------

    def estimate(self, failure: Failure, policy: AgentPolicy) -> Fields:
        """
        Estimate the recovery time in seconds, and name the source of the estimate.

        The best source wins: what the upstream or our breaker asks for, then the breaker's
        cooldown, then the median of observed recoveries, then the catalogue.
        """
        breaker = self._state.breakers.get(policy.breaker)
        now = self._intake.clock.wall()
        if not failure.is_recoverable:
            seconds, source = 0.0, "default"
        elif failure.retry_after_s is not None:
            seconds = failure.retry_after_s
            own = failure.error_type == "circuit_open"
            source = "breaker_cooldown" if own else "upstream_retry_after"
        elif breaker is not None and breaker.state == "open":
            seconds, source = breaker.retry_after_s(now), "breaker_cooldown"
        else:
            observed = self._state.recoveries.median_s(policy.name, failure.error_type)
            if observed is not None:
                seconds, source = observed, "observed_median"
            else:
                seconds = messages.default_recovery_s(failure.error_type, failure.error_code)
                source = "default"
        return {"estimated_recovery_time": round(seconds, 3), "recovery_estimate_source": source}

    def about(self, failure: Failure, error_id: str, policy: AgentPolicy, said: str) -> Fields:
        """Give the failure fields of an event about ``failure``; ``said`` is for people."""
        return about(failure, error_id=error_id, said=said, estimate=self.estimate(failure, policy))

    def _failed(
        self, task: Task, failure: Failure, error_id: str, policy: AgentPolicy, said: str
    ) -> Fields:
        """Give the failure fields of an event about ``task``, and what the failure goes back to."""
        root = self._state.causes.root_of(task, self._state.tasks)
        named = {} if root is None else {"causation_id": root}
        return self.about(failure, error_id, policy, said) | named

    # --- tasks ------------------------------------------------------------------------------

    def of_task(self, type: str, task: Task, **fields: Any) -> Draft:
        """Make any event about a task; ``fields`` win over those that the task gives."""
        envelope: Fields = {
            "user_id": task.user_id,
            "agent_name": task.agent_name,
            "task_id": task.task_id,
            "attempt": task.attempt or None,
        }
        for name in ("correlation_id", "causation_id", "traceparent"):
            if (value := getattr(task, name)) is not None:
                envelope[name] = value
        if task.holder is not None:
            envelope["agent_id"] = task.holder
        return self._intake.draft(type, subject_of(task.task_id), **{**envelope, **fields})

    def told(self, task: Task, piece: Piece, number: tuple[int, int] | None) -> Draft:
        """Tell what an attempt has produced, or how far it is; see ``Lifecycle.tell``."""
        if piece.failure is not None:
            fields = side_failure(task, piece, self.about, new_id=self._intake.ids.uuid7)
            return self.of_task("agent_error", task, **fields)
        update, part = number or (None, 1)
        if not piece.produced:
            return self.of_task(
                "task_progress",
                task,
                message="progress",
                fact=Progressed(plan=piece.plan, piece=update, part=part),
                progress=piece.progress,
                step=piece.at_step,
            )
        text = {"text": piece.text} | ({"replaces": True} if piece.replaces else {})
        return self.of_task(
            "partial_result",
            task,
            message="partial result, " + (f"step {piece.step}" if piece.step else "text"),
            fact=None if update is None else Produced(piece=update, part=part),
            piece=task.preserved.pieces + 1,
            **({"step": piece.step, "data": piece.data} if piece.text is None else text),
        )

    def partial_preserved(
        self, task: Task, failure: Failure, error_id: str, policy: AgentPolicy, rest: Rest
    ) -> Draft:
        """
        Tell what is kept of a failed attempt.

        Args:
            rest: What the attempt had not told yet; it is kept as well.
        """
        kept = task.preserved.copy()
        for name, data in rest.steps.items():
            kept.add_step(name, data)
        kept.add_text(rest.text)
        plan = task.plan if rest.plan is None else rest.plan
        progress = kept.progress(task.progress if rest.progress is None else rest.progress, plan)
        lost = kept.lost(plan)
        named = _fitting(lost, LOST_BYTES_MAX)
        now = self._intake.clock.wall()
        message, said = sentence(
            "partial_result_preserved",
            steps=len(kept.steps),
            characters=len(kept.text),
            progress=progress or None,
        )
        return self.of_task(
            "partial_result_preserved",
            task,
            severity="warning",
            message=message,
            fact=Salvaged(steps=rest.steps, text=rest.text, progress=rest.progress, plan=rest.plan),
            preserved_data=kept.steps,
            preserved_text=kept.text,
            lost_data=named,
            progress=progress,
            confidence_reduced=True,
            size=kept.size,
            sha256=kept.sha256(),
            truncated=kept.truncated or len(named) < len(lost),
            evicted=kept.evicted,
            expires_at=rfc3339(self._state.expires_at(task, now)),
            url=f"/api/tasks/{task.task_id}/partial",
            **self._failed(task, failure, error_id, policy, said),
        )

    def error(
        self,
        task: Task,
        failure: Failure,
        error_id: str,
        policy: AgentPolicy,
        after: Next,
        *,
        cause: str,
        detail: Redacted | None,
        outcome: Outcome | None,
        held: tuple[str, float] | None = None,
    ) -> Draft:
        """
        Tell that an attempt failed, and what comes next.

        Args:
            cause: How the failure came to us: exception, timeout, agent_lost, reported, cancelled.
            detail: For operators.
            outcome: For the breaker that admitted the attempt; None: no breaker judges it.
            held: The upstream that it holds, for how many seconds; None: none.
        """
        will_retry = after.will_retry
        said = messages.user_message(
            failure.error_code,
            failure.error_type,
            will_retry=will_retry,
            delay_s=after.delay_s if will_retry else failure.retry_after_s,
            fallback=after.step == "fallback",
            action=failure.suggested_action,
        )
        failed = self._failed(task, failure, error_id, policy, said)
        root = failed.get("causation_id")
        upstream, wait_s = held or (None, None)
        fact = Failed(outcome, root, upstream, wait_s, failure.spared)
        return self.of_task(
            "agent_error",
            task,
            severity="info" if failure.error_type == "cancelled" else "error",
            agent_name=task.agent_name or policy.name,
            message=messages.developer_message(
                failure, agent_name=policy.name, attempt=task.attempt or None
            ),
            detail=detail,
            fact=fact if any(fact) else None,
            will_retry=will_retry,
            max_attempts=task.max_attempts,
            cause=cause,
            **failed,
        )

    def recovery(
        self, task: Task, failure: Failure, error_id: str, policy: AgentPolicy, after: Next
    ) -> Draft:
        """Tell that another attempt will be made, and when."""
        strategy = STRATEGIES[after.step]
        message, said = sentence(
            "recovery_attempt", strategy=strategy, backoff_delay=round(after.delay_s, 3)
        )
        return self.of_task(
            "recovery_attempt",
            task,
            severity="warning",
            message=message,
            attempt=task.attempt + 1,
            strategy=strategy,
            attempt_number=task.recoveries + 1,
            max_attempts=task.max_attempts,
            backoff_delay=round(after.delay_s, 3),
            next_attempt_at=rfc3339(self._intake.clock.wall() + after.delay_s),
            served_by=policy.fallback if after.step == "fallback" else None,
            **self._failed(task, failure, error_id, policy, said),
        )

    def reassigned(self, task: Task, holder: str) -> Draft:
        """Tell that ``holder`` goes on where a lost worker was."""
        message, said = sentence("task_reassigned")
        last = task.last_error or {}
        return self.of_task(
            "task_reassigned",
            task,
            severity="warning",
            message=message,
            attempt=task.attempt + 1,
            agent_id=holder,
            previous_agent_id=task.lost_holder,
            new_agent_id=holder,
            attempts=task.attempt,
            errors=past_errors(task.attempts),
            reason=task.lost_why or last.get("error_code", "agent_lost"),
            **{
                **over(task.last_error, task.error_id, said),
                "estimated_recovery_time": 0.0,
                "recovery_estimate_source": "default",
            },
        )

    def lease_changed(
        self, task: Task, action: str, ttl_s: float | None, *, taken: str | None = None
    ) -> Draft:
        """
        Tell operators that a lease was renewed or given back.

        Args:
            action: ``renewed`` or ``released``.
            ttl_s: Length of the renewed lease in seconds; None: it is given back.
            taken: Why it was taken from its holder, in a word; None: the holder gives it back.
        """
        judged = outcome_of(task, "neutral") if ttl_s is None else None
        now = self._intake.clock.wall()
        return self._intake.draft(
            "lease_changed",
            subject_of(task.task_id),
            message=f"lease {action}",
            agent_name=task.agent_name,
            task_id=task.task_id,
            attempt=task.attempt,
            fact=Leased(lease_ttl=ttl_s, outcome=judged, taken=taken),
            agent_id=task.holder,
            term=task.term,
            action=action,
            expires_at=None if ttl_s is None else rfc3339(now + ttl_s),
        )

    def recovered(self, task: Task) -> Draft:
        """Tell that a task whose attempt had failed succeeds."""
        assert task.error_id is not None
        assert task.failed_at is not None
        return self.of_task(
            "system_recovered",
            task,
            **recovered(
                "task",
                task.last_error,
                task.error_id,
                took_s=self._intake.clock.wall() - task.failed_at,
                attempts=task.attempt,
                told_as="task" if task.mode == "primary" else "task by fallback",
            ),
        )

    def dead_lettered(
        self, task: Task, failure: Failure, error_id: str, policy: AgentPolicy, reason: str
    ) -> Draft:
        """Tell that a task is given up, with every error, and kept for operators."""
        message, said = sentence(
            "task_dead_lettered", reason=reason, agent=policy.name, error=failure.error_code
        )
        errors = past_errors(task.attempts)
        if task.status == "running":
            errors.append(
                {
                    "attempt": task.attempt,
                    "error_type": failure.error_type,
                    "error_code": failure.error_code,
                    "message": messages.developer_message(
                        failure, agent_name=policy.name, attempt=task.attempt
                    ),
                    "at": rfc3339(self._intake.clock.wall()),
                }
            )
        return self.of_task(
            "task_dead_lettered",
            task,
            severity="critical",
            message=message,
            previous_agent_id=task.holder,
            attempts=task.attempt,
            errors=errors,
            reason=reason,
            **self._failed(task, failure, error_id, policy, said),
        )

    def finished(
        self,
        task: Task,
        outcome: str,
        *,
        reason: str | None = None,
        result: Any = None,
        error_id: str | None = None,
        judged: Outcome | None = None,
        steps: Mapping[str, Any] | None = None,
    ) -> Draft:
        """
        Tell the end of a task; only a cleanup may come after it.

        Args:
            outcome: The task's: succeeded, failed, cancelled, dead_lettered.
            reason: Why; None: it succeeded.
            error_id: Of the failure that ends with it; None: none is open.
            judged: The outcome of the attempt that this ends; None: no breaker judges it.
            steps: Finished steps that were not told yet.
        """
        degraded = outcome == "succeeded" and task.mode == "fallback"
        by_itself = task.agent_name if outcome == "succeeded" else None
        return self.of_task(
            "task_finished",
            task,
            severity="info" if outcome in ("succeeded", "cancelled") else "error",
            message=f"task {outcome}" + (f": {reason}" if reason else ""),
            fact=Finished(outcome=judged, steps=steps) if judged or steps else None,
            outcome=outcome,
            degraded=degraded,
            served_by=task.served_by if degraded else by_itself,
            result=result,
            error_id=error_id,
            reason=reason,
            duration=round(max(0.0, self._intake.clock.wall() - task.created_at), 3),
            attempts_made=task.attempt,
        )

    def cleaned(
        self,
        task: Task,
        attempt: Attempt,
        *,
        resources: list[str],
        memory_freed: int,
        leftovers: list[str],
        status: str | None = None,
    ) -> Draft:
        """
        Tell what was cleaned up after an attempt, as it was found afterwards.

        Args:
            resources: Kinds of resources that are gone.
            memory_freed: In bytes.
            leftovers: What is still there.
            status: What the worker calls it. The lists decide if it is None, or if it claims
                success and something is left.
        """
        if status is None or (status == "success" and leftovers):
            status = status_of(resources, leftovers)
        message, said = sentence("resource_cleanup", cleanup_status=status)
        error = attempt.error
        return self.of_task(
            "resource_cleanup",
            task,
            attempt=attempt.number,
            agent_id=attempt.agent_id,
            severity="info" if status == "success" else "warning",
            message=message,
            resources_cleaned=resources,
            memory_freed=memory_freed,
            cleanup_status=status,
            leftovers=leftovers,
            **{
                **over(error, error["error_id"] if error else None, said),
                "retry_possible": bool(error and error["retry_possible"]),
                "is_recoverable": bool(error is None or error["is_recoverable"]),
            },
        )


def outcome_of(task: Task, kind: Kind) -> Outcome | None:
    """Give the outcome of the running attempt for its breaker; None: no breaker judges it."""
    if task.breaker is None:
        return None
    return Outcome(task.breaker, task.generation, task.probe, kind)


def _fitting(names: list[str], bytes_max: int) -> list[str]:
    """Give the first of the names, as many as fit into ``bytes_max`` as JSON."""
    size = 0
    for count, name in enumerate(names):
        size += len(orjson.dumps(name)) + 1
        if size > bytes_max:
            return names[:count]
    return names
