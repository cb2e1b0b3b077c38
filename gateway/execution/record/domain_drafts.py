"""
The drafts about failure domains: slowed down, probing, at full speed again.

They are the events of breakers with the scope ``domain``. They name no agent: all agents with a
worker there are concerned.
"""

from __future__ import annotations

from gateway.domain.announcements import sentence
from gateway.domain.failure_domain import FailureDomain, subject_of
from gateway.domain.task import Task
from gateway.execution.record.breaker_drafts import closing, opening, probing
from gateway.execution.record.intake import Intake
from gateway.ports import Draft

__all__ = ["DomainDrafts"]


class DomainDrafts:
    """
    Makes the drafts about failure domains.

    Args:
        intake: Makes drafts.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def triggered(self, domain: FailureDomain) -> Draft:
        """Tell that a domain is slowed down, or that a probe has failed there."""
        reopened = domain.error_id is not None
        message, said = sentence(
            "circuit_breaker_triggered",
            breaker=domain.name,
            scope="domain",
            reopened=reopened or None,
            cooldown_period=domain.rules.cooldown_s,
        )
        return self._intake.draft(
            "circuit_breaker_triggered",
            subject_of(domain.name),
            user_id="*",
            message=message,
            scope="domain",
            domain=domain.name,
            **opening(self._intake, domain, said=said, fallback=False),
        )

    def test_request(self, domain: FailureDomain, task: Task, agent_name: str) -> Draft:
        """Tell that the next attempt at ``task`` shows whether the domain is well again."""
        message, said = sentence(
            "circuit_breaker_test_request", breaker=domain.name, scope="domain"
        )
        return self._intake.draft(
            "circuit_breaker_test_request",
            subject_of(domain.name),
            user_id=task.user_id,
            task_id=task.task_id,
            attempt=task.attempt + 1,
            agent_name=agent_name,
            message=message,
            domain=domain.name,
            **probing(domain, self._intake.ids.uuid7(), said=said),
        )

    def closed(self, domain: FailureDomain) -> Draft:
        """Tell that a domain is at full speed again, which ends its failure."""
        return self._intake.draft(
            "system_recovered",
            subject_of(domain.name),
            user_id="*",
            domain=domain.name,
            **closing(self._intake, domain, scope="domain"),
        )
