"""
The registry: which workers there are, what each proves itself with, and how one leaves.

The rule: every call of a worker passes here. It proves itself with its secret, of which the log
keeps a digest, and the call counts as a sign of life.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.domain import worker as workers
from gateway.domain.access import GATEWAY, Caller
from gateway.domain.agent import AgentPolicy
from gateway.domain.errors import (
    ExpectationFailed,
    NameTaken,
    NotFound,
    NotPermitted,
    StaleTerm,
    TooManyWorkers,
)
from gateway.domain.settings import Settings
from gateway.domain.task import Task
from gateway.domain.worker import Worker
from gateway.execution.guards.health import Health
from gateway.execution.holders.leases import Leases
from gateway.execution.holders.presence import Presence
from gateway.execution.holders.quarantine import Quarantine
from gateway.execution.record.intake import Decision, Intake
from gateway.execution.record.policies import Policies
from gateway.execution.record.reach import Reach
from gateway.execution.record.state import State
from gateway.execution.record.worker_drafts import WorkerDrafts, agents_of
from gateway.values import measured

__all__ = ["Registry"]

# What a worker may say about its agents, in bytes: it is in one entry.
AGENTS_BYTES_MAX = 512 * 1024

# How many beats are due within the timeout; so one may be lost.
BEATS_PER_TIMEOUT = 3


class Registry:
    """
    Registers workers, and knows each by its secret.

    More than eight arguments: a worker is a record, a holder, and the owner of names.

    Args:
        leases: Gives back what a worker holds when it leaves.
        presence: Hears the workers.
        health: Says how well each worker does.
        quarantine: Hears how well a worker says it is.
        policies: Tell whose each agent and breaker is.
        reach: Waits for what another node has written.
        lag_s: How long that may take to arrive here, in seconds; 0: there are no other nodes.
    """

    def __init__(
        self,
        *,
        state: State,
        intake: Intake,
        drafts: WorkerDrafts,
        leases: Leases,
        presence: Presence,
        health: Health,
        quarantine: Quarantine,
        policies: Policies,
        reach: Reach,
        lag_s: float,
        settings: Settings,
    ) -> None:
        self._state = state
        self._intake = intake
        self._drafts = drafts
        self._leases = leases
        self._presence = presence
        self._health = health
        self._quarantine = quarantine
        self._policies = policies
        self._reach = reach
        self._lag_s = lag_s
        self._settings = settings

    @property
    def heartbeat_interval_s(self) -> float:
        """Seconds between beats that a worker is asked for."""
        return self._settings.heartbeat_timeout / BEATS_PER_TIMEOUT

    async def register(self, params: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """
        Register a worker, or let a worker come back that proves itself.

        Args:
            params: Of ``agent.register``; without the ``agent_id`` of a worker that is known the
                worker is a new one.
            caller: Over which connection, and with which rights.

        Returns:
            The worker's id and secret, what it is asked for, and the tasks that it holds.

        Raises:
            NotPermitted: If the id is known and the secret is not its own, or the token is not
                for one of its agents.
            InvalidParams, TooLarge: If what it says about its agents cannot be.
            NameTaken: If one of its agents, or a breaker that it names, is another user's.
            TooManyWorkers: If the user, or the gateway, has as many workers as may be.
        """
        measured(params.get("agents", []), field="agents", bytes_max=AGENTS_BYTES_MAX)
        for agent in agents_of(params):
            if not caller.may_serve(agent.name):
                raise NotPermitted(f"this token is not for the agent {agent.name}", field="agents")
        agent_id = await self._id_of(params)
        return await self.enrol(agent_id, params, caller)

    async def enrol(
        self, agent_id: str, params: Mapping[str, Any], caller: Caller
    ) -> dict[str, Any]:
        """Register a worker under an id that the gateway has made; see ``register``."""
        secret = params.get("agent_secret") or self._new_secret()
        agents = agents_of(params)
        draft = self._drafts.registered(agent_id, secret, params, agents, caller)

        def decide(lost: ExpectationFailed | None) -> Decision:
            known = self._state.workers.get(agent_id)
            self._require_own(agents, caller, named="agents" in params)
            if known is not None:
                # An operator needs no secret; a wrong secret is refused all the same.
                may = caller.operator and "agent_secret" not in params
                if not (may or known.proves(secret)):
                    raise NotPermitted("this agent_id is another worker's", field="agent_secret")
                return [draft], {draft.subject: known.last_offset}
            self._require_room(caller)
            # The folds drop a worker that is long gone; the log may still know of it.
            return [draft], {draft.subject: 0 if lost is None else lost.actual}

        self._presence.registering(agent_id)
        try:
            await self._intake.decide(decide, about=f"worker {agent_id}")
        finally:
            self._presence.not_registering(agent_id)
        try:
            self._require_own(agents, caller, named="agents" in params)
        except NameTaken:
            # Another user registered the name at the same moment, and was first.
            await self.remove(agent_id)
            raise
        await self._presence.came(agent_id, caller.session_id)
        return {
            "agent_id": agent_id,
            "agent_secret": secret,
            "handle": params["handle"],
            "heartbeat_interval": self.heartbeat_interval_s,
            "lease_ttl": self._settings.lease_ttl,
            # It may hold tasks that it does not know of: the answer to a claim was lost, or its
            # process has crashed since.
            "tasks": [
                {"task_id": task.task_id, "term": task.term}
                for task in self._state.held_by(agent_id)
            ],
        }

    async def _id_of(self, params: Mapping[str, Any]) -> str:
        """Give the id of a worker that comes back, else a new one."""
        wanted = params.get("agent_id")
        if wanted is not None:
            # The worker may have been taken in by another node just now.
            known = lambda: wanted in self._state.workers  # noqa: E731
            if await self._reach.until(known, within_s=self._lag_s):
                return str(wanted)
        return self._intake.ids.uuid7()

    def _require_own(self, agents: Sequence[AgentPolicy], caller: Caller, *, named: bool) -> None:
        """Refuse what is another user's; an agent that is not named has its worker's handle."""
        if caller.operator or caller.played:
            return
        ours = (None, caller.user_id)
        for place, policy in enumerate(agents):
            owner = self._policies.owner(policy.name)
            if owner == GATEWAY.user_id:
                continue  # may be served by others, who change nothing about it
            if owner not in ours:
                raise NameTaken(
                    f"the agent {policy.name} is another user's; choose another name",
                    field=f"agents.{place}.name" if named else "handle",
                )
            if self._policies.owner_of_breaker(policy.breaker) not in ours:
                raise NameTaken(
                    f"the breaker {policy.breaker} is another user's; choose another name",
                    field=f"agents.{place}.breaker" if named else "handle",
                )

    def _require_room(self, caller: Caller) -> None:
        if self._state.workers.full_for(caller.user_id):
            raise TooManyWorkers(
                "as many workers are registered as may be; remove one, or let it fall silent",
                retry_after=self._settings.offline_after,
            )

    async def heartbeat(self, params: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """Hear a beat; the answer may ask the worker to leave."""
        worker = await self.proved(params, caller)
        live = self._presence.of(worker.agent_id)
        if live is not None:  # None: it has said goodbye meanwhile
            live.loop_lag_s = params.get("loop_lag", 0.0)
            live.draining = params.get("status") == "draining"
            blocked = params.get("status") == "blocked"
            await self._presence.says(worker.agent_id, blocked=blocked)
            if "health" in params:
                await self._quarantine.report(worker.agent_id, params["health"])
        grace_s = None if live is None else live.leaving
        return {
            "agent_id": worker.agent_id,
            "status": worker.status,
            "shutdown": None if grace_s is None else {"grace": grace_s},
        }

    async def remove(self, agent_id: str) -> Worker:
        """
        Let a worker say goodbye; the tasks that it holds are given back.

        Raises:
            NotFound: If there is no such worker.
        """
        self.known(agent_id)
        # With their terms: each takes an append, and a task may have another holder by its turn.
        held = [(task.task_id, task.term) for task in self._state.held_by(agent_id)]
        for task_id, term in held:
            with contextlib.suppress(StaleTerm):
                await self._leases.release(task_id, term)

        def decide(_: ExpectationFailed | None) -> Decision | None:
            worker = self.known(agent_id)
            if worker.removed:
                return None
            score = self._health.score(worker)
            return self._drafts.changed(worker, "offline", "goodbye", score=score, removed=True)

        await self._intake.decide(decide, about=f"worker {agent_id}")
        self._presence.went(agent_id)
        return self.known(agent_id)

    def ask_to_leave(self, agent_id: str, grace_s: float) -> Worker:
        """
        Ask a worker to finish and leave; the answer to its next beat says so, on any node.

        Raises:
            NotFound: If there is no such worker.
        """
        worker = self.known(agent_id)
        self._presence.ask_to_leave(agent_id, grace_s)
        return worker

    def known(self, agent_id: str) -> Worker:
        """
        Give a worker.

        Raises:
            NotFound: If there is no worker of that id.
        """
        worker = self._state.workers.get(agent_id)
        if worker is None:
            raise NotFound(f"there is no worker {agent_id}; register it", field="agent_id")
        return worker

    async def proved(self, params: Mapping[str, Any], caller: Caller) -> Worker:
        """
        Give the worker that makes a call, which counts as a sign of life.

        Raises:
            NotFound: If it is not registered, or has said goodbye.
            NotPermitted: If it does not prove itself.
        """
        worker = self.known(params["agent_id"])
        if not caller.operator or "agent_secret" in params:
            secret = params.get("agent_secret")
            if secret is None or not worker.proves(secret):
                raise NotPermitted(
                    "agent_secret has to be the one that agent.register gave for this agent_id",
                    field="agent_secret",
                )
        if worker.removed:
            raise NotFound(
                f"worker {worker.agent_id} has said goodbye; register it again", field="agent_id"
            )
        await self._presence.heard(worker, caller.session_id)
        return worker

    def held(self) -> dict[str, list[Task]]:
        """Give the tasks that are held now, by holder."""
        held: dict[str, list[Task]] = {}
        for task in self._state.live.values():
            if task.holder is not None:
                held.setdefault(task.holder, []).append(task)
        return held

    def view(
        self, worker: Worker, caller: Caller, held: Mapping[str, Sequence[Task]] | None = None
    ) -> dict[str, Any]:
        """
        Give a worker as it stands on the wire; of its tasks those that the caller may see.

        Args:
            held: As ``held`` gives it, for many views; None: for one.
        """
        agent_id = worker.agent_id
        mine = self._state.held_by(agent_id) if held is None else held.get(agent_id, ())
        shown = [task.task_id for task in mine if caller.may_see_user(task.user_id)]
        view = workers.view(
            worker,
            beat_at=self._presence.beat_at(agent_id),
            tasks=shown,
            health_score=self._health.score(worker, mine),
        )
        return view | {"recovery_times": self._state.recoveries.shown(worker.agents)}

    def _new_secret(self) -> str:
        # A UUID of version 7 has 74 random bits (RFC 9562, section 5.7); two of them are enough
        # for a secret.
        return "".join(self._intake.ids.uuid7() for _ in range(2)).replace("-", "")
