"""
The parts of one process, made once, from the bottom up, each with its collaborators by name.

The rule: the inside is wired here and nowhere else, and nothing is assigned afterwards. A part
that has to reach one that is made later gets a small object that both know (the bell, the monitor).
"""

from __future__ import annotations

from gateway.attempts.agents import Agents
from gateway.attempts.attempt import Attempts
from gateway.domain.meters import Meters
from gateway.domain.recovery import Backoff
from gateway.domain.settings import Settings
from gateway.execution.guards.audit import Audit
from gateway.execution.guards.breakers import Breakers
from gateway.execution.guards.domains import Domains
from gateway.execution.guards.health import Health
from gateway.execution.guards.modes import Modes
from gateway.execution.guards.refusals import Refusals
from gateway.execution.guards.volume import Volume
from gateway.execution.holders.alone import Alone
from gateway.execution.holders.bell import Bell
from gateway.execution.holders.block import Blocks
from gateway.execution.holders.claims import Claims
from gateway.execution.holders.ends import Ends
from gateway.execution.holders.leases import Leases
from gateway.execution.holders.limits import Limits
from gateway.execution.holders.locks import Locks
from gateway.execution.holders.orphans import Orphans
from gateway.execution.holders.presence import Presence
from gateway.execution.holders.quarantine import Quarantine
from gateway.execution.holders.registry import Registry
from gateway.execution.holders.reports import Reports
from gateway.execution.holders.runner import Runner
from gateway.execution.holders.waits import Waits
from gateway.execution.monitor import Monitor
from gateway.execution.node.absences import Absences
from gateway.execution.node.log_time import LogTime
from gateway.execution.node.membership import Membership
from gateway.execution.node.others import Others
from gateway.execution.node.skew import Skew
from gateway.execution.node.watch import StoreWatch
from gateway.execution.reactions import Reactions
from gateway.execution.record.alerts import Alerts
from gateway.execution.record.audit_drafts import AuditDrafts
from gateway.execution.record.breaker_drafts import BreakerDrafts
from gateway.execution.record.dead_letter_drafts import DeadLetterDrafts
from gateway.execution.record.domain_drafts import DomainDrafts
from gateway.execution.record.in_doubt import InDoubt
from gateway.execution.record.intake import Intake
from gateway.execution.record.journal import Journal
from gateway.execution.record.lock_drafts import LockDrafts
from gateway.execution.record.mode_drafts import ModeDrafts
from gateway.execution.record.policies import Policies
from gateway.execution.record.reach import READ_WAIT_S, Reach
from gateway.execution.record.refusal_drafts import RefusalDrafts
from gateway.execution.record.state import State
from gateway.execution.record.task_drafts import TaskDrafts
from gateway.execution.record.worker_drafts import WorkerDrafts
from gateway.execution.service import Connections
from gateway.execution.tasks.acceptance import Acceptance
from gateway.execution.tasks.dead_letters import DeadLetters
from gateway.execution.tasks.lifecycle import Lifecycle
from gateway.execution.tasks.metering import Metering
from gateway.execution.tasks.verdicts import Verdicts
from gateway.ports import Alarm, Clock, EventLog, IdSource, Machine, Pulse

__all__ = ["Parts"]


class Parts:
    """
    Everything behind the doors. More than eight arguments: each is one of the outside's.

    Args:
        log: The one log.
        clock: The time.
        ids: Ids and chance.
        settings: How the gateway behaves.
        agents: The agents of this process.
        durable: Whether the log outlives this process.
        pulse: Signals to other nodes on the log; None: there are no other nodes.
        machine: What this machine says of itself; None: no overload is measured.
        alarm: Tells outside of what needs a person; None: nothing does.
        meters: What this process counts; None: its own.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        clock: Clock,
        ids: IdSource,
        settings: Settings,
        agents: Agents,
        durable: bool = False,
        pulse: Pulse | None = None,
        machine: Machine | None = None,
        alarm: Alarm | None = None,
        meters: Meters | None = None,
    ) -> None:
        self.log = log
        self.clock = machine_clock = clock
        # What happens in time happens in the log's: from here on ``clock`` tells that one. No part
        # that is given it, or asks the machine's for durations only, notices that a clock is set.
        self.log_time = LogTime(machine_clock)
        clock = self.log_time
        self.ids = ids
        self.settings = settings
        self.durable = durable
        self.connections = Connections()
        self.meters = meters or Meters()
        self.alarm = alarm
        self.alerts = Alerts(alarm)
        self.monitor = Monitor(machine_clock, now=clock.wall, live=lambda: self.state.live)
        holder = ids.uuid7()

        # --- record: what is written, and what is so ---
        self.state = State(settings)
        self.in_doubt = InDoubt()
        self.reach = Reach(log)
        journal = Journal(machine_clock, self.meters.unknown)
        self.intake = Intake(log, clock, ids, self.in_doubt, journal, self.alerts)
        self.policies = Policies(agents, self.state, max_attempts=settings.max_attempts)
        self.task_drafts = TaskDrafts(self.intake, self.state)
        dead_letter_drafts = DeadLetterDrafts(self.intake)
        breaker_drafts = BreakerDrafts(self.intake, self.policies)
        worker_drafts = WorkerDrafts(self.intake, settings)
        lock_drafts = LockDrafts(self.intake, self.state)

        # --- guards ---
        self.breakers = Breakers(self.state, self.intake, breaker_drafts, self.policies)
        self.refusals = Refusals(self.intake, RefusalDrafts(self.intake), self.monitor, self.meters)
        self.modes = Modes(
            holder=holder,
            state=self.state,
            intake=self.intake,
            drafts=ModeDrafts(self.intake),
            features=self.policies.features,
            machine=machine,
            clock=machine_clock,
            settings=settings,
        )
        self.health = Health(state=self.state, clock=clock, settings=settings)
        volume = Volume(machine_clock, settings)
        domain_drafts = DomainDrafts(self.intake)
        self.domains = Domains(self.state, self.intake, domain_drafts, self.monitor)
        self.audit = Audit(self.intake, AuditDrafts(self.intake), self.monitor)

        # --- tasks: from the order to the one end ---
        verdicts = Verdicts(
            state=self.state,
            drafts=self.task_drafts,
            dead_letters=dead_letter_drafts,
            policies=self.policies,
            backoff=Backoff(settings.retry_base, settings.retry_max),
            clock=clock,
            ids=ids,
        )
        metering = Metering(self.meters, self.state, self.policies, machine_clock)
        self.lifecycle = Lifecycle(
            state=self.state,
            intake=self.intake,
            drafts=self.task_drafts,
            locks=lock_drafts,
            verdicts=verdicts,
            breakers=self.breakers,
            policies=self.policies,
            metering=metering,
        )
        self.acceptance = Acceptance(
            state=self.state,
            intake=self.intake,
            refusals=self.refusals,
            volume=volume,
            breakers=self.breakers,
            lifecycle=self.lifecycle,
            policies=self.policies,
            settings=settings,
        )
        self.dead_letters = DeadLetters(
            state=self.state,
            intake=self.intake,
            drafts=dead_letter_drafts,
            acceptance=self.acceptance,
        )

        # --- holders: which process holds which task, until when ---
        bell = Bell()
        self.ends = Ends(self.state)
        self.attempts = Attempts(
            agents,
            self.lifecycle,
            machine_clock,
            settings,
            freed=bell.ring,
            detected=metering.detected,
        )
        self.leases = Leases(
            state=self.state,
            lifecycle=self.lifecycle,
            drafts=self.task_drafts,
            clock=clock,
            ttl_s=settings.lease_ttl,
        )
        self.presence = Presence(
            state=self.state,
            intake=self.intake,
            drafts=worker_drafts,
            leases=self.leases,
            health=self.health,
            monitor=self.monitor,
            settings=settings,
        )
        self.quarantine = Quarantine(
            state=self.state,
            health=self.health,
            presence=self.presence,
            leases=self.leases,
            monitor=self.monitor,
        )
        self.registry = Registry(
            state=self.state,
            intake=self.intake,
            drafts=worker_drafts,
            leases=self.leases,
            presence=self.presence,
            health=self.health,
            quarantine=self.quarantine,
            policies=self.policies,
            reach=self.reach,
            lag_s=READ_WAIT_S if durable else 0.0,
            settings=settings,
        )
        self.limits = Limits(
            state=self.state,
            lifecycle=self.lifecycle,
            leases=self.leases,
            presence=self.presence,
            policies=self.policies,
            monitor=self.monitor,
            queue_timeout_s=settings.queue_timeout,
        )
        self.locks = Locks(
            own_holder=holder,
            state=self.state,
            intake=self.intake,
            drafts=lock_drafts,
            monitor=self.monitor,
        )
        self.runner = Runner(
            holder=holder,
            slots=settings.workers,
            state=self.state,
            lifecycle=self.lifecycle,
            breakers=self.breakers,
            attempts=self.attempts,
            monitor=self.monitor,
            bell=bell,
        )
        self.blocks = Blocks(
            holder=holder,
            acceptance=self.acceptance,
            lifecycle=self.lifecycle,
            breakers=self.breakers,
            policies=self.policies,
            attempts=self.attempts,
            monitor=self.monitor,
            settings=settings,
        )
        self.claims = Claims(
            state=self.state,
            lifecycle=self.lifecycle,
            leases=self.leases,
            breakers=self.breakers,
            health=self.health,
            domains=self.domains,
            policies=self.policies,
            presence=self.presence,
            locks=self.locks,
            left_threads=self.runner.left_threads,
            clock=clock,
            bell=bell,
            at_once=log.takes_at_once,
        )
        self.waits = Waits(
            state=self.state,
            intake=self.intake,
            policies=self.policies,
            limits=self.limits,
            presence=self.presence,
            left_threads=self.runner.left_threads,
            monitor=self.monitor,
            bell=bell,
        )
        self.reports = Reports(
            state=self.state,
            lifecycle=self.lifecycle,
            leases=self.leases,
            log=log,
            reach=self.reach,
            clock=clock,
            settings=settings,
            lags=durable,
        )
        orphans = Orphans(
            state=self.state,
            lifecycle=self.lifecycle,
            leases=self.leases,
            runner=self.runner,
            blocks=self.blocks,
            clock=clock,
            known_after_s=settings.offline_after,
        )

        # --- what follows from the log ---
        self.reactions = Reactions(
            state=self.state,
            breakers=self.breakers,
            domains=self.domains,
            limits=self.limits,
            presence=self.presence,
            quarantine=self.quarantine,
            locks=self.locks,
            dead_letters=self.dead_letters,
            volume=volume,
            attempts=self.attempts,
            orphans=orphans,
            ends=self.ends,
            waits=self.waits,
            monitor=self.monitor,
            bell=bell,
            parts=(
                self.state,
                self.presence,
                self.health,
                self.quarantine,
                self.monitor,
                self.refusals,
                volume,
                self.audit,
                self.limits,
                self.waits,
                self.breakers,
                self.attempts,
                self.runner,
                self.blocks,
                self.ends,
            ),
        )

        # --- node: this process among others ---
        self.skew = Skew(machine_clock, self.log_time)
        self.absences = Absences(log, self.intake, self.alerts, self.monitor)
        self.watch = StoreWatch(
            log=log,
            state=self.state,
            reactions=self.reactions,
            absences=self.absences,
            settings=settings,
            monitor=self.monitor,
            log_time=self.log_time,
            durable=durable,
        )
        self.alone: Alone | None = None
        self.membership: Membership | None = None
        self.others: Others | None = None
        if pulse is None:
            self.alone = Alone(holder=holder, agents=agents, clock=clock)
        else:
            self.membership = Membership(
                holder=holder,
                secret=ids.uuid7() + ids.uuid7(),
                state=self.state,
                registry=self.registry,
                presence=self.presence,
                agents=agents,
                blocks=self.blocks,
            )
            self.others = Others(
                holder=holder,
                every_s=self.registry.heartbeat_interval_s,
                pulse=pulse,
                presence=self.presence,
                health=self.health,
                membership=self.membership,
                watch=self.watch,
                clock=clock,
            )
