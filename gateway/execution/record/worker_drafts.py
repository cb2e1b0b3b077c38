"""
The drafts about workers: a worker has registered, or is worse or better than before.

A worker that gets worse opens one failure, which ends when the worker is well again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.domain.access import Caller
from gateway.domain.agent import AgentPolicy
from gateway.domain.announcements import sentence
from gateway.domain.errors import ConfigurationError, InvalidParams
from gateway.domain.facts import Registered, StatusChanged
from gateway.domain.own_failures import agent_lost
from gateway.domain.settings import Settings
from gateway.domain.worker import ORDER, UNWELL, Status, Worker, digest_of, subject_of
from gateway.execution.record.failure_fields import about, recovered
from gateway.execution.record.intake import Decision, Intake
from gateway.ports import Draft

__all__ = ["WorkerDrafts"]


class WorkerDrafts:
    """
    Makes the drafts about workers.

    Args:
        intake: Makes drafts.
        settings: The heartbeat's timeout is the estimate of the recovery time.
    """

    def __init__(self, intake: Intake, settings: Settings) -> None:
        self._intake = intake
        self._settings = settings

    def registered(
        self,
        agent_id: str,
        secret: str,
        params: Mapping[str, Any],
        agents: Sequence[AgentPolicy],
        caller: Caller,
    ) -> Draft:
        """
        Tell that a worker is there; only a digest of its secret is kept.

        Args:
            params: Of ``agent.register``.
            agents: What it does, see ``agents_of``.
            caller: Owns the worker.
        """
        return self._intake.draft(
            "agent_registered",
            subject_of(agent_id),
            message=f"worker {params['handle']} registered",
            agent_name=agents[0].name,
            fact=Registered(
                agents=tuple(agents),
                secret_digest=digest_of(secret),
                owner=caller.user_id,
                by_socket=caller.session_id is not None,
                type=params.get("type"),
            ),
            agent_id=agent_id,
            handle=params["handle"],
            agents=[policy.name for policy in agents],
            capabilities=list(params.get("capabilities", ())),
            domain=params.get("domain"),
        )

    def changed(
        self,
        worker: Worker,
        status: Status,
        reason: str,
        *,
        score: float,
        heals_in_s: float | None = None,
        removed: bool = False,
    ) -> Decision:
        """
        Make the decision that a worker has another status.

        Args:
            status: Worse than before: its failure opens, or goes on. ``healthy``: it is over.
            reason: In a word, for operators.
            score: How well the worker does, 0 to 1.
            heals_in_s: It is worse for its health, and may be well again in so many seconds; None:
                it is worse for its silence.
            removed: Whether the worker has said goodbye, which is no failure.
        """
        previous = worker.status
        warns = status == previous and heals_in_s is not None
        worse = warns or (ORDER.index(status) > ORDER.index(previous) and not removed)
        error_id = worker.error_id
        fields: dict[str, Any] = {}
        if worse:
            error_id = error_id or self._intake.ids.uuid7()
            by_health = heals_in_s is not None
            silent = "connection_lost" if status == "suspect" else "heartbeat_lost"
            told_as = "unwell" if by_health and status == "suspect" else status
            _, said = sentence("agent_status_changed", status=told_as)
            back_in_s = self._settings.heartbeat_timeout if heals_in_s is None else heals_in_s
            fields = about(
                agent_lost(UNWELL if by_health else silent),
                error_id=error_id,
                said=said,
                estimate={
                    "estimated_recovery_time": round(back_in_s, 3),
                    "recovery_estimate_source": "default",
                },
            )
        subject = subject_of(worker.agent_id)
        name = next(iter(worker.agents), worker.handle)
        drafts = [
            self._intake.draft(
                "agent_status_changed",
                subject,
                severity="info" if not worse else "warning" if status == "suspect" else "error",
                message=f"worker {worker.handle}: {previous} to {status}, {reason}, "
                f"score {score:.3f}",
                agent_name=name,
                fact=StatusChanged(removed=removed),
                agent_id=worker.agent_id,
                domain=worker.domain,
                status=status,
                previous_status=previous,
                reason=reason,
                health_score=round(score, 3),
                **fields,
            )
        ]
        if status == "healthy" and error_id is not None:
            now = self._intake.clock.wall()
            drafts.append(
                self._intake.draft(
                    "system_recovered",
                    subject,
                    agent_name=name,
                    agent_id=worker.agent_id,
                    **recovered(
                        "agent",
                        {"error_type": "agent_lost", "error_code": worker.error_code},
                        error_id,
                        took_s=now - (worker.worse_since or now),
                        attempts=1,
                    ),
                )
            )
        return drafts, {subject: worker.last_offset}


def agents_of(params: Mapping[str, Any]) -> list[AgentPolicy]:
    """
    Give the agents of a worker, from the parameters of ``agent.register``.

    A worker that names no agents has one, by its handle.

    Raises:
        InvalidParams: If one of its agents has limits that no agent may have.
    """
    return [_policy_of(item) for item in params.get("agents") or [{"name": params["handle"]}]]


def _policy_of(item: Mapping[str, Any]) -> AgentPolicy:
    try:
        return AgentPolicy(
            item["name"],
            timeout_s=item.get("timeout", 30.0),
            max_attempts=item.get("max_attempts", 0),
            fallback=f"{item['name'][:119]}-fallback" if item.get("fallback") else None,
            upstream=item.get("upstream"),
            breaker=item.get("breaker") or "",
            features=tuple(item.get("features", ())),
        )
    except ConfigurationError as error:
        raise InvalidParams(str(error), field="agents") from error
