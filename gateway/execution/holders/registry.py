"""
Workers: who is there, and what follows when one is silent.

Beats are heard here and are not in the log; what they mean is, as a change of status. Every
timer looks at the folds when it is due, so that a beat that came meanwhile undoes it. A worker
on a socket that turns unhealthy loses its tasks at once; one that calls over HTTP loses each
when its lease ends.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from gateway.attempts.agents import Agents
from gateway.domain import worker as workers
from gateway.domain.access import Caller
from gateway.domain.errors import (
    ExpectationFailed,
    NotFound,
    NotPermitted,
    RequestError,
    StaleTerm,
    Unavailable,
)
from gateway.domain.own_failures import agent_lost
from gateway.domain.settings import Settings
from gateway.domain.worker import ORDER, Liveness, Status, Worker
from gateway.execution.holders.leases import Leases
from gateway.execution.monitor import Monitor
from gateway.execution.record.intake import Intake
from gateway.execution.record.state import State
from gateway.execution.record.worker_drafts import WorkerNews
from gateway.execution.tasks.lifecycle import RACES_MAX

__all__ = ["Workers"]

logger = logging.getLogger(__name__)

# A beat is due this often within the timeout, so that one may be lost.
BEATS_PER_TIMEOUT = 3
# A look that comes a rounding of two clocks too early would be for nothing, and come again at
# once, and again; so each comes this much after its time.
LOOK_LATE_S = 0.001
# Workers that are gone are listed this long, in seconds.
GONE_KEPT_S = 86_400.0
# What was asked for over a connection that has closed is still carried out, yet not for as long
# as this; until then it is known that the connection is gone, in seconds.
CLOSED_KEPT_S = 10.0


class Workers:
    """
    Registers workers, hears their beats, and tells when one is worse or better.

    Args:
        monitor: Timers.
        leases: Takes tasks from whoever is lost.

    Attributes:
        on_heard, on_leave: Called when a worker is heard here, and when one is asked to leave,
            for the other nodes to know.
    """

    def __init__(
        self,
        *,
        state: State,
        intake: Intake,
        agents: Agents,
        leases: Leases,
        monitor: Monitor,
        settings: Settings,
    ) -> None:
        self._state = state
        self._intake = intake
        self._agents = agents
        self._news = WorkerNews(intake, settings)
        self._leases = leases
        self._monitor = monitor
        self._settings = settings
        self._live: dict[str, Liveness] = {}
        self.on_heard: Callable[[str], object] = lambda agent_id: None
        self.on_leave: Callable[[str, float], object] = lambda agent_id, grace_s: None
        # Who registers here just now.
        self._registering: set[str] = set()
        # Connections that were closed lately and when, oldest first.
        self._closed: dict[str, float] = {}

    @property
    def heartbeat_interval_s(self) -> float:
        """Seconds between beats that a worker is asked for."""
        return self._settings.heartbeat_timeout / BEATS_PER_TIMEOUT

    # --- coming and going -------------------------------------------------------------------

    async def register(self, params: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """
        Register a worker, or let one come back that proves itself.

        Raises:
            NotPermitted: If the id is known and the secret is not its own.
            InvalidParams: If what it says about its agents cannot be.
        """
        agent_id = params.get("agent_id") or self._intake.ids.uuid7()
        secret = params.get("agent_secret") or self._new_secret()
        draft = self._news.registered(agent_id, secret, params, caller)
        known_at = 0
        for _ in range(RACES_MAX):
            known = self._state.workers.get(agent_id)
            if known is not None:
                # An operator may do without the secret, and not with another one.
                may = caller.operator and "agent_secret" not in params
                if not (may or known.proves(secret)):
                    raise NotPermitted("this agent_id is another worker's", field="agent_secret")
                known_at = known.last_offset
            self._registering.add(agent_id)
            try:
                await self._intake.append([draft], expected={draft.subject: known_at})
                break
            except ExpectationFailed as race:
                # Another process was first, or the log knows of one that we have let go of.
                known_at = race.actual
            finally:
                self._registering.discard(agent_id)
        else:
            raise Unavailable(f"worker {agent_id} changes too fast; ask again", retry_after=1.0)
        connected = caller.session_id not in self._closed
        live = self._begin_to_hear(agent_id)
        live.session_id, live.connected = caller.session_id, connected
        worker = self._state.workers[agent_id]
        self._watch(agent_id)
        if not connected:
            await self._look(agent_id)  # It was lost again before it was known.
        elif worker.status != "healthy":
            await self._change(worker, "healthy", "registered")
            await self._look(agent_id)
        return {
            "agent_id": agent_id,
            "agent_secret": secret,
            "handle": worker.handle,
            "heartbeat_interval": self.heartbeat_interval_s,
            "lease_ttl": self._settings.lease_ttl,
            # What never arrived when it was given, or was begun by who has crashed since.
            "tasks": [
                {"task_id": task.task_id, "term": task.term}
                for task in self._state.held_by(agent_id)
            ],
        }

    async def heartbeat(self, params: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
        """Hear a beat; the answer may ask the worker to leave."""
        worker = await self.proved(params, caller)
        live = self._live.get(worker.agent_id)
        if live is not None:  # it may have said goodbye meanwhile
            live.loop_lag_s = params.get("loop_lag", 0.0)
            live.draining = params.get("status") == "draining"
        grace_s = None if live is None else live.leaving
        return {
            "agent_id": worker.agent_id,
            "status": worker.status,
            "shutdown": None if grace_s is None else {"grace": grace_s},
        }

    async def remove(self, agent_id: str) -> Worker:
        """Let a worker say goodbye; what it holds is given back."""
        self.known(agent_id)
        for task_id, term in self._held(agent_id):
            with contextlib.suppress(StaleTerm):
                await self._leases.release(task_id, term)
        for _ in range(RACES_MAX):
            worker = self.known(agent_id)
            if worker.removed:
                break
            # Somebody else may be first, with something else: its lost connection, for one.
            await self._change(worker, "offline", "goodbye", removed=True)
        else:
            raise Unavailable(f"worker {agent_id} changes too fast; ask again", retry_after=1.0)
        self._live.pop(agent_id, None)
        return worker

    def ask_to_leave(self, agent_id: str, grace_s: float) -> Worker:
        """Ask a worker to finish and leave; it hears it with its next beat."""
        worker = self.known(agent_id)
        if (live := self._live.get(agent_id)) is not None:
            live.leaving = grace_s
        self.on_leave(agent_id, grace_s)
        return worker

    def asked_elsewhere(self, agent_id: str, grace_s: float) -> None:
        """Another node was asked to let a worker leave, which may beat here."""
        if (live := self._live.get(agent_id)) is not None:
            live.leaving = grace_s

    # --- questions --------------------------------------------------------------------------

    def known(self, agent_id: str) -> Worker:
        """
        Give a worker.

        Raises:
            NotFound: If there is none of that id.
        """
        worker = self._state.workers.get(agent_id)
        if worker is None:
            raise NotFound(f"there is no worker {agent_id}; register it", field="agent_id")
        return worker

    async def proved(self, params: Mapping[str, Any], caller: Caller) -> Worker:
        """
        Give the worker that a call is from; the call counts as a sign of life.

        Raises:
            NotFound: If it is not registered, or has said goodbye.
            NotPermitted: If it does not prove who it is.
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
        await self.heard(worker, caller.session_id)
        return worker

    def view(self, worker: Worker, caller: Caller) -> dict[str, Any]:
        """A worker as it stands on the wire; of its tasks those that the caller may see."""
        live = self._live.get(worker.agent_id)
        beat_at = None
        if live is not None:
            beat_at = self._intake.clock.wall() - (self._now() - live.beat_at)
        held = [
            task.task_id
            for task in self._state.held_by(worker.agent_id)
            if caller.may_see_user(task.user_id)
        ]
        return workers.view(worker, beat_at=beat_at, tasks=held)

    def presence(self, agent_id: str, session_id: str | None) -> Callable[[], bool]:
        """
        Tell of a claim, then and later, whether its worker can be told what it is given.

        Its connection, if any, has to be there. Who has registered anew over another one does
        not hear the one that it has lost, though that may look open from here for long; who
        drains takes nothing more.

        Args:
            session_id: The connection over which it asks; None: it asks over HTTP.
        """
        asked = self._live.get(agent_id)

        def there() -> bool:
            live = self._live.get(agent_id)
            if live is None or not live.connected or live.draining or session_id in self._closed:
                return False
            return live is asked or session_id in (None, live.session_id)

        return there

    def beats(self, agent_id: str) -> bool:
        """Whether a worker was heard of lately."""
        live = self._live.get(agent_id)
        return live is not None and self._status(live)[0] == "healthy"

    def forget(self, now: float) -> None:
        """Let go of workers that have been gone for long; ``now`` since the Unix epoch."""
        for agent_id, worker in list(self._state.workers.items()):
            gone = worker.removed or worker.status == "offline"
            if gone and (worker.worse_since or now) < now - GONE_KEPT_S:
                del self._state.workers[agent_id]
                self._live.pop(agent_id, None)

    def clear(self) -> None:
        """Have heard of nobody."""
        self._live.clear()

    def resume(self) -> None:
        """Wait for every worker that the log tells of: it was not heard here yet."""
        for agent_id, worker in self._state.workers.items():
            if not worker.removed and worker.status != "offline" and agent_id not in self._live:
                self._live[agent_id] = Liveness(self._now(), connected=False)
                self._watch(agent_id)

    def registered(self, agent_id: str) -> None:
        """
        The log tells of a worker; if it was not registered here, it has come to another node.

        What it has asked for over a connection to this one it does not hear any more, though that
        may look open from here for long.
        """
        if agent_id not in self._registering:
            self._begin_to_hear(agent_id)
            self._watch(agent_id)

    def _begin_to_hear(self, agent_id: str) -> Liveness:
        """Hear a worker anew; it is still to leave if it was asked to."""
        before = self._live.get(agent_id)
        live = Liveness(self._now(), leaving=None if before is None else before.leaving)
        self._live[agent_id] = live
        return live

    def heard_elsewhere(self, agent_id: str) -> None:
        """Another node has heard a worker, over a connection of its own."""
        live = self._live.get(agent_id)
        if live is None:
            if agent_id in self._state.workers:
                self._live[agent_id] = Liveness(self._now())
                self._watch(agent_id)
            return
        live.beat_at = self._now()
        if not live.connected:
            live.session_id, live.connected = None, True
        self._watch(agent_id)

    def forgive(self) -> None:
        """Take every worker to have been heard just now: this node did not run, and could not."""
        for live in self._live.values():
            live.beat_at = self._now()

    # --- liveness ---------------------------------------------------------------------------

    async def session_closed(self, session_id: str) -> None:
        """A connection is gone: its workers are suspect at once."""
        now = self._now()
        while self._closed and next(iter(self._closed.values())) < now - CLOSED_KEPT_S:
            del self._closed[next(iter(self._closed))]
        self._closed.setdefault(session_id, now)
        for agent_id, live in list(self._live.items()):
            if live.session_id == session_id:
                live.connected = False
                await self._look(agent_id)

    async def heard(self, worker: Worker, session_id: str | None) -> None:
        """Take a sign of life, over a connection or by a single request."""
        self.on_heard(worker.agent_id)
        live = self._live.get(worker.agent_id)
        if live is None:
            live = self._live[worker.agent_id] = Liveness(self._now())
        live.beat_at = self._now()
        if session_id is not None and session_id not in self._closed:
            live.session_id, live.connected = session_id, True
        elif session_id is None and live.session_id is None:
            # It has no connection that could be lost; after a restart it may be heard first so.
            live.connected = True
        self._watch(worker.agent_id)
        if worker.status != "healthy" and self._status(live)[0] == "healthy":
            await self._change(worker, "healthy", "heartbeat")
            await self._look(worker.agent_id)  # It may have been lost again meanwhile.

    def _watch(self, agent_id: str) -> None:
        """See to it that the next silence is looked at when it is too long."""
        live = self._live.get(agent_id)
        if live is None:
            return
        _, again_at = self._status(live)
        # Of one that is offline there is no worse news; it is watched again with its next beat.
        # A look that comes earlier finds out when the next is due; one that was planned for the
        # end of a silence that is over would come too late for the next.
        if again_at is None or (live.look_at is not None and live.look_at <= again_at):
            return
        live.look_at = again_at
        wait_s = max(0.0, again_at - self._now()) + LOOK_LATE_S
        self._monitor.at(
            self._intake.clock.wall() + wait_s, lambda: self._watched(agent_id, live, again_at)
        )

    async def _watched(self, agent_id: str, live: Liveness, due: float) -> None:
        if self._live.get(agent_id) is not live or live.look_at != due:
            return  # It registered again, or is looked at earlier: there is another timer.
        again = True
        try:
            await self._look(agent_id)
        except Unavailable:
            again = False  # this very timer is called again
            raise
        finally:
            if again:
                live.look_at = None
                self._watch(agent_id)

    async def _look(self, agent_id: str) -> None:
        for _ in range(RACES_MAX):
            worker, live = self._state.workers.get(agent_id), self._live.get(agent_id)
            if worker is None or live is None or worker.removed:
                return
            status, _again_at = self._status(live)
            if ORDER.index(status) <= ORDER.index(worker.status):
                if status in ("unhealthy", "offline") and worker.by_socket:
                    await self._take_all(worker)
                return
            # Somebody else may be first, with the same or with something else.
            await self._change(worker, status, workers.reason_of(status, connected=live.connected))

    async def _take_all(self, worker: Worker) -> None:
        for task_id, term in self._held(worker.agent_id):
            try:
                await self._leases.lose(task_id, term, agent_lost("heartbeat_lost"))
            except StaleTerm:
                continue
            except RequestError:
                # Found again later, see `Orphans`.
                logger.exception("task %s could not be taken back", task_id)

    def _held(self, agent_id: str) -> list[tuple[str, int]]:
        """What a worker holds now, with the terms: by the time it is looked at it may be lost."""
        return [(task.task_id, task.term) for task in self._state.held_by(agent_id)]

    def _status(self, live: Liveness) -> tuple[Status, float | None]:
        return workers.status_by_beat(
            live,
            now=self._now(),
            timeout_s=self._settings.heartbeat_timeout,
            offline_after_s=self._settings.offline_after,
        )

    async def _change(
        self, worker: Worker, status: Status, reason: str, *, removed: bool = False
    ) -> None:
        """Tell that a worker is worse or better; somebody else may have told it first."""
        drafts = self._news.changed(worker, status, reason, removed=removed)
        with contextlib.suppress(ExpectationFailed):
            await self._intake.append(drafts, expected={drafts[0].subject: worker.last_offset})

    def _now(self) -> float:
        return self._intake.clock.monotonic()

    def _new_secret(self) -> str:
        # Two of them have 148 bits of chance.
        return "".join(self._intake.ids.uuid7() for _ in range(2)).replace("-", "")
