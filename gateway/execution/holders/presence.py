"""
Presence: which workers this node hears, and what follows when one falls silent.

Beats are not in the log; a change of status is. A worker on a socket that turns unhealthy loses
its tasks at once; a worker that calls over HTTP loses each task when its lease ends. Every timer
looks at what was heard when it is due, so that a beat that came meanwhile undoes it.

A worker that is heard may do its tasks badly: its status is the worse of what its silence and its
health (``guards/health.py``) make of it.

Silence is counted in monotonic seconds: a wall clock that is set makes no worker silent.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.domain import worker as workers
from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import ExpectationFailed, RequestError, StaleTerm, Unavailable
from gateway.domain.own_failures import agent_lost
from gateway.domain.settings import Settings
from gateway.domain.worker import ORDER, UNWELL, Liveness, Status, Worker
from gateway.execution.guards.health import REASON, Health
from gateway.execution.holders.leases import Leases
from gateway.execution.monitor import Monitor
from gateway.execution.record.intake import Decision, Intake
from gateway.execution.record.state import State
from gateway.execution.record.worker_drafts import WorkerDrafts

__all__ = ["Presence"]

logger = logger_of(__name__)

# Silence is counted on the monotonic clock, timers run on the wall clock. A look that their
# rounding makes too early finds nothing and plans the next one for at once, again and again; so
# each look comes this much late, in seconds.
LOOK_LATE_S = 0.001
# How long workers that are gone are still listed, in seconds.
GONE_KEPT_S = 86_400.0
# How long it is remembered that a connection has closed, in seconds. A call that came over it may
# still be under way, though never for so long.
CLOSED_KEPT_S = 10.0


class Presence:
    """
    Hears the beats of workers, and tells when a worker is worse or better.

    Args:
        leases: Takes tasks from workers that are lost.
        health: Says what each worker is for the way in which it does its tasks.
        monitor: Calls when a silence has become too long.
    """

    def __init__(
        self,
        *,
        state: State,
        intake: Intake,
        drafts: WorkerDrafts,
        leases: Leases,
        health: Health,
        monitor: Monitor,
        settings: Settings,
    ) -> None:
        self._state = state
        self._intake = intake
        self._clock = intake.clock
        self._drafts = drafts
        self._leases = leases
        self._health = health
        self._monitor = monitor
        self._settings = settings
        self._live: dict[str, Liveness] = {}
        # Workers whose registration here is being appended.
        self._registering: set[str] = set()
        # Connections that were closed lately, and when; oldest first.
        self._closed: dict[str, float] = {}
        # Of each connection that is there, the workers that have used it.
        self._of_session: dict[str, set[str]] = {}
        # Workers that were heard since the other nodes were told, and those that were asked to
        # leave, with their grace in seconds.
        self._heard: set[str] = set()
        self._asked: dict[str, float] = {}
        monitor.when_late(self.forgive)

    # --- coming and going -------------------------------------------------------------------

    def registering(self, agent_id: str) -> None:
        """Note that a worker registers here, and its entry is being appended."""
        self._registering.add(agent_id)

    def not_registering(self, agent_id: str) -> None:
        """Note that this is over, whatever came of it."""
        self._registering.discard(agent_id)

    async def came(self, agent_id: str, session_id: str | None) -> None:
        """
        Begin to hear a worker that has just registered here.

        Args:
            session_id: The connection over which it registered; None: it calls over HTTP.
        """
        connected = session_id not in self._closed
        live = self._begin_to_hear(agent_id)
        self._uses(agent_id, live, session_id)
        live.connected = connected
        self._watch(agent_id)
        if not connected:
            await self._look(agent_id)  # the connection was lost before the registration was in
        else:
            await self._is_well(agent_id, "registered")

    def registered(self, agent_id: str) -> None:
        """
        Take in that the log tells of a registration; at another node, unless it was made here.

        A worker that has gone to another node does not hear what it asked for over its connection
        to this one, though from here that may look open for long.
        """
        if agent_id not in self._registering:
            self._begin_to_hear(agent_id)
            self._watch(agent_id)

    def went(self, agent_id: str) -> None:
        """Hear a worker no more: it has said goodbye."""
        live = self._live.pop(agent_id, None)
        if live is not None and live.session_id in self._of_session:
            self._of_session[live.session_id].discard(agent_id)
        self._heard.discard(agent_id)
        self._asked.pop(agent_id, None)
        self._health.forget(agent_id)

    def ask_to_leave(self, agent_id: str, grace_s: float, *, tell: bool = True) -> None:
        """
        Ask a worker to finish and leave; the answer to its next beat says so.

        Args:
            grace_s: How long it has to finish, in seconds.
            tell: Whether the other nodes are told, since it may beat there.
        """
        if (live := self._live.get(agent_id)) is not None:
            live.leaving = grace_s
        if tell:
            self._asked[agent_id] = grace_s

    # --- signs of life ----------------------------------------------------------------------

    async def heard(self, worker: Worker, session_id: str | None) -> None:
        """Take a sign of life, over a connection or by a single request (``session_id`` None)."""
        self._heard.add(worker.agent_id)
        live = self._live.get(worker.agent_id)
        if live is None:
            live = self._live[worker.agent_id] = Liveness(self._now())
        live.beat_at = self._now()
        if session_id is not None and session_id not in self._closed:
            self._uses(worker.agent_id, live, session_id)
            live.connected = True
        elif session_id is None and live.session_id is None:
            # It has no connection that could be lost; after a restart its first sign may be this.
            live.connected = True
        self._watch(worker.agent_id)
        if worker.status != "healthy" and self._status(live)[0] == "healthy":
            await self._is_well(worker.agent_id, "heartbeat")

    async def says(self, agent_id: str, *, blocked: bool) -> None:
        """Take what a beat says of the loop of a worker's agents."""
        live = self._live.get(agent_id)
        if live is None or live.blocked == blocked:
            return
        live.blocked = blocked
        if blocked:
            await self._look(agent_id)
        elif self.beats(agent_id):
            await self._is_well(agent_id, "heartbeat")

    def heard_elsewhere(self, agent_id: str) -> None:
        """Take a sign of life that another node has heard."""
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

    async def session_closed(self, session_id: str) -> None:
        """Take in that a connection is gone: its workers are suspect at once."""
        now = self._now()
        while self._closed and next(iter(self._closed.values())) < now - CLOSED_KEPT_S:
            del self._closed[next(iter(self._closed))]
        self._closed.setdefault(session_id, now)
        for agent_id in self._of_session.pop(session_id, ()):
            live = self._live.get(agent_id)
            if live is not None and live.session_id == session_id:
                live.connected = False
                await self._look(agent_id)
                await self._clock.sleep(0)  # a connection may have a thousand workers

    async def judge(self, agent_id: str) -> None:
        """Tell when a worker's health makes it another one than it was."""
        await self._look(agent_id)
        # One that is not heard here is told to be better by the node that hears it.
        if self.beats(agent_id):
            await self._is_well(agent_id, REASON)

    def forgive(self) -> None:
        """Count every silence from now: this node did not run, and could hear no worker."""
        for live in self._live.values():
            live.beat_at = self._now()

    # --- questions --------------------------------------------------------------------------

    def of(self, agent_id: str) -> Liveness | None:
        """Give what was heard of a worker; None: nothing was heard here."""
        return self._live.get(agent_id)

    def beat_at(self, agent_id: str) -> float | None:
        """Tell when a worker was last heard, in seconds since the Unix epoch; None: never here."""
        live = self._live.get(agent_id)
        return None if live is None else self._clock.wall() - (self._now() - live.beat_at)

    def beats(self, agent_id: str) -> bool:
        """Whether a worker is heard: no beat is missed, and its connection is there."""
        live = self._live.get(agent_id)
        return live is not None and self._status(live)[0] == "healthy"

    def lost_at(self, agent_id: str) -> float | None:
        """Tell when a worker that is not heard is given up unless it is; None: it is heard."""
        live = self._live.get(agent_id)
        if live is None or self._status(live)[0] == "healthy":
            return None
        return self._clock.wall() + live.beat_at + self._settings.heartbeat_timeout - self._now()

    def there(self, agent_id: str, session_id: str | None) -> Callable[[], bool]:
        """
        Give a question about a claim, for now and later: can its worker still be told?

        It can while its connection is there, if it has one, and while it does not drain. A worker
        that has registered anew over another connection does not hear the old one, though from
        here that may look open for long.

        Args:
            session_id: The connection over which it asks; None: it asks over HTTP.
        """
        asked = self._live.get(agent_id)

        def there() -> bool:
            live = self._live.get(agent_id)
            if live is None or not live.connected or live.draining or live.blocked:
                return False
            if session_id in self._closed:
                return False
            return live is asked or session_id in (None, live.session_id)

        return there

    # --- for the other nodes ----------------------------------------------------------------

    def take_heard(self) -> list[str]:
        """Give the workers that were heard here since the last call."""
        heard, self._heard = sorted(self._heard), set()
        return heard

    def take_asked(self) -> dict[str, float]:
        """Give the workers that were asked to leave since the last call, with their grace."""
        asked, self._asked = self._asked, {}
        return asked

    # --- its life ---------------------------------------------------------------------------

    def resume(self) -> None:
        """Begin to wait for each worker that the log tells of and that was not heard here yet."""
        for agent_id, worker in self._state.workers.items():
            if not worker.removed and worker.status != "offline" and agent_id not in self._live:
                self._live[agent_id] = Liveness(self._now(), connected=False)
                self._watch(agent_id)

    def clear(self) -> None:
        """Drop all that was heard: the log is another one, or is read anew."""
        self._live.clear()
        self._of_session.clear()
        self._heard.clear()
        self._asked.clear()

    def expire(self, now: float) -> None:
        """Drop workers that have been gone for a day; ``now`` in seconds since the Unix epoch."""
        for agent_id, worker in list(self._state.workers.items()):
            if worker.gone and (worker.worse_since or now) < now - GONE_KEPT_S:
                self._state.workers.drop(agent_id)
                self.went(agent_id)

    # --- liveness ---------------------------------------------------------------------------

    def _begin_to_hear(self, agent_id: str) -> Liveness:
        """Hear a worker anew; one that was asked to leave is still asked."""
        before = self._live.get(agent_id)
        live = Liveness(self._now(), leaving=None if before is None else before.leaving)
        self._live[agent_id] = live
        return live

    def _uses(self, agent_id: str, live: Liveness, session_id: str | None) -> None:
        """Note the connection that a worker uses; None: it calls over HTTP."""
        over = session_id in self._closed
        if session_id is not None and session_id != live.session_id and not over:
            self._of_session.setdefault(session_id, set()).add(agent_id)
        live.session_id = session_id

    def _watch(self, agent_id: str) -> None:
        """See to it that a silence is looked at when it has become too long."""
        live = self._live.get(agent_id)
        if live is None:
            return
        _, again_at = self._status(live)
        # A worker that is offline cannot become worse; it is watched again with its next beat.
        # A timer that is planned earlier finds out itself when the next look is due; one that is
        # planned later, for the end of an earlier silence, would come too late for this one.
        if again_at is None or (live.look_at is not None and live.look_at <= again_at):
            return
        live.look_at = again_at
        wait_s = max(0.0, again_at - self._now()) + LOOK_LATE_S
        self._monitor.at(
            self._monitor.now + wait_s, lambda: self._watched(agent_id, live, again_at)
        )

    async def _watched(self, agent_id: str, live: Liveness, due: float) -> None:
        if self._live.get(agent_id) is not live or live.look_at != due:
            return  # it registered again, or is looked at earlier: there is another timer
        again = True
        try:
            await self._look(agent_id)
        except Unavailable:
            again = False  # the monitor calls this very timer again
            raise
        finally:
            if again:
                live.look_at = None
                self._watch(agent_id)

    async def _look(self, agent_id: str) -> None:
        """Tell when a worker is worse than it was, and take its tasks when it is lost."""

        def decide(_: ExpectationFailed | None) -> Decision | None:
            worker, live = self._state.workers.get(agent_id), self._live.get(agent_id)
            if worker is None or live is None or worker.removed:
                return None
            status, _again_at = self._status(live)
            reason = workers.reason_of(status, live)
            by_health = self._health.standing(worker)
            if ORDER.index(by_health) > ORDER.index(status):
                status, reason = by_health, REASON
            if ORDER.index(status) <= ORDER.index(worker.status):
                return None
            return self._changed(worker, status, reason)

        await self._intake.decide(decide, about=f"worker {agent_id}")
        worker, live = self._state.workers.get(agent_id), self._live.get(agent_id)
        if worker is None or live is None or worker.removed or not worker.by_socket:
            return
        if self._status(live)[0] in ("unhealthy", "offline"):
            await self._take_all(agent_id)

    async def _is_well(self, agent_id: str, reason: str) -> None:
        """Tell when a worker is well again."""

        def decide(_: ExpectationFailed | None) -> Decision | None:
            worker = self._state.workers.get(agent_id)
            if worker is None or worker.removed or worker.status == "healthy":
                return None
            # One that is heard is as well as its health lets it be.
            status = self._health.standing(worker)
            # One that was suspect for its silence may be so for its health now: that is a warning.
            warns = status == worker.status == "suspect" and worker.error_code != UNWELL
            if ORDER.index(status) >= ORDER.index(worker.status) and not warns:
                return None
            return self._changed(worker, status, reason if status == "healthy" else REASON)

        if await self._intake.decide(decide, about=f"worker {agent_id}"):
            await self._look(agent_id)  # it may have been lost again meanwhile

    def _changed(self, worker: Worker, status: Status, reason: str) -> Decision:
        return self._drafts.changed(
            worker,
            status,
            reason,
            score=self._health.score(worker),
            heals_in_s=(self._health.heals_in_s(worker) or 0.0) if reason == REASON else None,
        )

    async def _take_all(self, agent_id: str) -> None:
        # With their terms: each takes an append, and a task may have another holder by its turn.
        held = [(task.task_id, task.term) for task in self._state.held_by(agent_id)]
        for task_id, term in held:
            self._leases.detected(task_id, term)  # now, whenever its turn comes
        for task_id, term in held:
            try:
                await self._leases.lose(task_id, term, agent_lost("heartbeat_lost"))
            except StaleTerm:
                continue
            except RequestError:
                # ``Orphans`` finds it.
                logger.exception("task %s could not be taken back", task_id)

    def _status(self, live: Liveness) -> tuple[Status, float | None]:
        return workers.status_by_beat(
            live,
            now=self._now(),
            timeout_s=self._settings.heartbeat_timeout,
            offline_after_s=self._settings.offline_after,
        )

    def _now(self) -> float:
        return self._clock.monotonic()
