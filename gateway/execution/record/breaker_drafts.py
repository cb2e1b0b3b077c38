"""
The drafts about breakers: opened, probing, closed.

An opening and each one after it, until the breaker closes, are one failure with one ``error_id``.
"""

from __future__ import annotations

from gateway.domain.agent import AgentPolicy
from gateway.domain.announcements import sentence
from gateway.domain.breaker import Breaker, subject_of
from gateway.domain.own_failures import circuit_open
from gateway.domain.timestamps import rfc3339
from gateway.execution.record.failure_fields import Fields, about, recovered
from gateway.execution.record.intake import Intake
from gateway.execution.record.policies import Policies
from gateway.ports import Draft

__all__ = ["BreakerDrafts", "closing", "opening", "probing"]


class BreakerDrafts:
    """
    Makes the drafts about breakers.

    Args:
        intake: Makes drafts.
        policies: Tell which agents share a breaker, and which of them have a fallback.
    """

    def __init__(self, intake: Intake, policies: Policies) -> None:
        self._intake = intake
        self._policies = policies

    def _fallback_active(self, breaker: str) -> bool:
        return any(policy.fallback is not None for policy in self._policies.behind(breaker))

    def first_behind(self, breaker: str) -> AgentPolicy | None:
        """Give the first agent that shares a breaker; None: no agent has it."""
        return next(self._policies.behind(breaker), None)

    def _spokesman(self, breaker: Breaker) -> AgentPolicy:
        """Give the agent that a breaker's events name: its own, or the first that shares it."""
        return self.first_behind(breaker.name) or AgentPolicy(breaker.name)

    def triggered(self, breaker: Breaker) -> Draft:
        """Tell that a breaker opens, or opens again; its failure lasts until it closes."""
        policy = self._spokesman(breaker)
        reopened = breaker.error_id is not None
        fallback = self._fallback_active(breaker.name)
        message, said = sentence(
            "circuit_breaker_triggered",
            breaker=breaker.name,
            reopened=reopened or None,
            newest_failure=breaker.last_type,
            cooldown_period=breaker.rules.cooldown_s,
            fallback_active=fallback or None,
        )
        return self._intake.draft(
            "circuit_breaker_triggered",
            subject_of(breaker.name),
            user_id="*",
            agent_name=policy.name,
            message=message,
            scope=policy.breaker_scope,
            **opening(self._intake, breaker, said=said, fallback=fallback),
        )

    def test_request(
        self, breaker: Breaker, policy: AgentPolicy, *, test_request_id: str, task: Fields
    ) -> Draft:
        """
        Tell that one call is let through to see whether the agent works again.

        Args:
            policy: Of the agent that is called.
            test_request_id: The id of the probe.
            task: Envelope fields of the task that is the probe.
        """
        message, said = sentence("circuit_breaker_test_request", breaker=breaker.name)
        return self._intake.draft(
            "circuit_breaker_test_request",
            subject_of(breaker.name),
            **task,
            agent_name=policy.name,
            message=message,
            **probing(breaker, test_request_id, said=said),
        )

    def closed(self, breaker: Breaker) -> Draft:
        """Tell that a breaker closes, which ends its failure."""
        return self._intake.draft(
            "system_recovered",
            subject_of(breaker.name),
            user_id="*",
            agent_name=self._spokesman(breaker).name,
            **closing(self._intake, breaker, scope="breaker"),
        )


def opening(intake: Intake, breaker: Breaker, *, said: str, fallback: bool) -> Fields:
    """Give the fields of a breaker, or of a failure domain, that opens, or opens again."""
    cooldown_s = breaker.rules.cooldown_s
    reopened = breaker.error_id is not None
    # The figures at the newest outcome: the breaker was judged by them, however late this is.
    judged = breaker.window
    return {
        "severity": "critical" if reopened else "error",
        "breaker": breaker.name,
        "failure_threshold_reached": max(breaker.consecutive, judged.counts(judged.newest)[1], 1),
        "failure_rate": round(breaker.failure_rate(judged.newest), 3),
        "cooldown_period": cooldown_s,
        "probe_at": rfc3339(intake.clock.wall() + cooldown_s),
        "fallback_active": fallback,
        "breaker_version": breaker.version + 1,
        "reopened": reopened,
        **about(
            circuit_open(None),
            error_id=breaker.error_id or intake.ids.uuid7(),
            said=said,
            estimate=_cooldown(cooldown_s),
        ),
    }


def probing(breaker: Breaker, test_request_id: str, *, said: str) -> Fields:
    """Give the fields of one probe of a breaker, or of a failure domain."""
    assert breaker.error_id is not None
    return {
        "breaker": breaker.name,
        "test_request_id": test_request_id,
        "monitoring_enabled": True,
        **about(circuit_open(None), error_id=breaker.error_id, said=said, estimate=_cooldown(0.0)),
    }


def closing(intake: Intake, breaker: Breaker, *, scope: str) -> Fields:
    """Give the fields of a breaker, or of a failure domain, that closes."""
    assert breaker.error_id is not None
    now = intake.clock.wall()
    return recovered(
        scope,
        {"error_type": "circuit_open", "error_code": "circuit_open"},
        breaker.error_id,
        took_s=now - (breaker.first_opened_at or now),
        attempts=breaker.openings,
    )


def _cooldown(wait_s: float) -> Fields:
    return {
        "estimated_recovery_time": round(wait_s, 3),
        "recovery_estimate_source": "breaker_cooldown",
    }
