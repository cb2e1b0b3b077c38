"""
Which handler answers which operation: the doors' operations by name, made of the parts.

The rule: what a handler needs it is given here by name. A test compares the names with the table
of the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.execution.handlers.breakers import BreakerHandlers
from gateway.execution.handlers.dead_letters import DeadLetterHandlers
from gateway.execution.handlers.events import EventHandlers
from gateway.execution.handlers.locks import LockHandlers
from gateway.execution.handlers.modes import ModeHandlers
from gateway.execution.handlers.params import Handler
from gateway.execution.handlers.publishing import Publishing
from gateway.execution.handlers.reporters import Reporters
from gateway.execution.handlers.stats import StatsHandlers
from gateway.execution.handlers.task_reports import TaskReports
from gateway.execution.handlers.tasks import TaskHandlers
from gateway.execution.handlers.workers import WorkerHandlers
from gateway.execution.parts import Parts

__all__ = ["handlers_of"]


def handlers_of(parts: Parts) -> Mapping[str, Handler]:
    """Make the handlers."""
    tasks = TaskHandlers(
        state=parts.state,
        acceptance=parts.acceptance,
        lifecycle=parts.lifecycle,
        dead_letters=parts.dead_letters,
        agents=parts.attempts.agents,
        waits=parts.waits,
        reach=parts.reach,
        log=parts.log,
        clock=parts.intake.clock,
    )
    dead_letters = DeadLetterHandlers(
        state=parts.state,
        dead_letters=parts.dead_letters,
        submitted=tasks.submitted,
        reach=parts.reach,
        clock=parts.intake.clock,
    )
    workers = WorkerHandlers(
        state=parts.state,
        registry=parts.registry,
        claims=parts.claims,
        reports=parts.reports,
        reach=parts.reach,
        alone=parts.alone,
        clock=parts.intake.clock,
    )
    publishing = Publishing(
        state=parts.state,
        intake=parts.intake,
        drafts=parts.task_drafts,
        policies=parts.policies,
        tasks=TaskReports(
            log=parts.log,
            state=parts.state,
            lifecycle=parts.lifecycle,
            registry=parts.registry,
            reports=parts.reports,
        ),
        reporters=Reporters(state=parts.state, policies=parts.policies),
        settings=parts.settings,
    )
    stats = StatsHandlers(
        state=parts.state,
        reach=parts.reach,
        log=parts.log,
        clock=parts.intake.clock,
        settings=parts.settings,
        connections=parts.connections,
        meters=parts.meters,
    )
    return {
        **tasks.by_name,
        **dead_letters.by_name,
        **ModeHandlers(state=parts.state, modes=parts.modes, reach=parts.reach).by_name,
        **workers.by_name,
        **LockHandlers(parts.locks).by_name,
        **BreakerHandlers(
            state=parts.state,
            breakers=parts.breakers,
            domains=parts.domains,
            audit=parts.audit,
            clock=parts.intake.clock,
            reach=parts.reach,
        ).by_name,
        **EventHandlers(log=parts.log, state=parts.state, reach=parts.reach).by_name,
        **publishing.by_name,
        **stats.by_name,
    }
