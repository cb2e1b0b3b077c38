"""
The registry: which workers there are, what each proves itself with, and how one leaves.

The rule: every call of a worker passes here. It proves itself with its secret, of which the log
keeps a digest, and the call counts as a sign of life.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from gateway.domain import worker as workers
from gateway.domain.access import Caller
from gateway.domain.errors import ExpectationFailed, NotFound, NotPermitted, StaleTerm
from gateway.domain.settings import Settings
from gateway.domain.worker import Worker
from gateway.execution.holders.leases import Leases
from gateway.execution.holders.presence import Presence
from gateway.execution.record.intake import Decision, Intake
from gateway.execution.record.state import State
from gateway.execution.record.worker_drafts import WorkerDrafts

__all__ = ["Registry"]

# How many beats are due within the timeout; so one may be lost.
BEATS_PER_TIMEOUT = 3


class Registry:
    """
    Registers workers, and knows each by its secret.

    Args:
        leases: Gives back what a worker holds when it leaves.
        presence: Hears the workers.
    """

    def __init__(
        self,
        *,
        state: State,
        intake: Intake,
        drafts: WorkerDrafts,
        leases: Leases,
        presence: Presence,
        settings: Settings,
    ) -> None:
        self._state = state
        self._intake = intake
        self._drafts = drafts
        self._leases = leases
        self._presence = presence
        self._settings = settings

    @property
    def heartbeat_interval_s(self) -> float:
        """Seconds between beats that a worker is asked for."""
        return self._settings.heartbeat_timeout / BEATS_PER_TIMEOUT

    async def register(self, params: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """
        Register a worker, or let a worker come back that proves itself.

        Args:
            params: Of ``agent.register``; without ``agent_id`` the worker is a new one.
            caller: Over which connection, and with which rights.

        Returns:
            The worker's id and secret, what it is asked for, and the tasks that it holds.

        Raises:
            NotPermitted: If the id is known and the secret is not its own.
            InvalidParams: If what it says about its agents cannot be.
        """
        agent_id = params.get("agent_id") or self._intake.ids.uuid7()
        secret = params.get("agent_secret") or self._new_secret()
        draft = self._drafts.registered(agent_id, secret, params, caller)

        def decide(lost: ExpectationFailed | None) -> Decision:
            known = self._state.workers.get(agent_id)
            if known is not None:
                # An operator needs no secret; a wrong secret is refused all the same.
                may = caller.operator and "agent_secret" not in params
                if not (may or known.proves(secret)):
                    raise NotPermitted("this agent_id is another worker's", field="agent_secret")
                return [draft], {draft.subject: known.last_offset}
            # The folds drop a worker that is long gone; the log may still know of it.
            return [draft], {draft.subject: 0 if lost is None else lost.actual}

        self._presence.registering(agent_id)
        try:
            await self._intake.decide(decide, about=f"worker {agent_id}")
        finally:
            self._presence.not_registering(agent_id)
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

    async def heartbeat(self, params: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """Hear a beat; the answer may ask the worker to leave."""
        worker = await self.proved(params, caller)
        live = self._presence.of(worker.agent_id)
        if live is not None:  # None: it has said goodbye meanwhile
            live.loop_lag_s = params.get("loop_lag", 0.0)
            live.draining = params.get("status") == "draining"
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
            return self._drafts.changed(worker, "offline", "goodbye", removed=True)

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

    def view(self, worker: Worker, caller: Caller) -> dict[str, Any]:
        """Give a worker as it stands on the wire; of its tasks those that the caller may see."""
        held = [
            task.task_id
            for task in self._state.held_by(worker.agent_id)
            if caller.may_see_user(task.user_id)
        ]
        return workers.view(worker, beat_at=self._presence.beat_at(worker.agent_id), tasks=held)

    def _new_secret(self) -> str:
        # A UUID of version 7 has 74 random bits (RFC 9562, section 5.7); two of them are enough
        # for a secret.
        return "".join(self._intake.ids.uuid7() for _ in range(2)).replace("-", "")
