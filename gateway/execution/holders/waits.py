"""
Waits: why an accepted task does not move, told to its owner once for each change.

The rule: a reason follows from the folds and the time, on every node alike; the expectation on the
task's subject lets one node tell it. Reasons are looked for when something happens that may make
one, never by a poll: a task is looked at when it is accepted or an attempt has ended, all that wait
when a breaker, a worker or an upstream changes. That is done in pieces, so that a breaker that
opens on a thousand tasks stops nobody, and at most ``SHARE`` of the loop's time.

That a wait is over is told by the task's next event. A wait that becomes longer or shorter by less
than ``MOVED_S`` is not told again while it lasts: a hundred calls that fail together move the end
of their upstream's hold a hundred times.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque

from gateway.domain.agent import AgentPolicy
from gateway.domain.errors import ExpectationFailed, NotFound, Unavailable
from gateway.domain.holds import RAMP_S, Hold
from gateway.domain.task import Task, subject_of
from gateway.domain.timestamps import seconds_of
from gateway.execution.holders.bell import Bell
from gateway.execution.holders.left_threads import LeftThreads
from gateway.execution.holders.limits import Limits
from gateway.execution.holders.presence import Presence
from gateway.execution.monitor import Monitor
from gateway.execution.record.intake import Decision, Intake
from gateway.execution.record.policies import Policies
from gateway.execution.record.state import State
from gateway.execution.record.task_drafts import TaskDrafts
from gateway.execution.record.waiting_drafts import Wait, WaitingDrafts

__all__ = ["Waits"]

# How many tasks are told of, and looked at, before others have their turn.
TOLD_AT_ONCE, LOOKED_AT_AT_ONCE = 8, 128
# Between two looks at all that wait, in seconds: at least this, and as long as makes the looks this
# share of the time.
LOOK_EVERY_S = 0.1
SHARE = 0.1
# What is no change of a wait's end, in seconds.
MOVED_S = 1.0
# How often the ramp after a hold lets the next calls begin, in seconds.
RAMP_STEP_S = 0.1


class Waits:
    """
    Tells why tasks do not move.

    More than eight arguments: each thing that a task may wait for is known to another part.

    Args:
        policies: Know which upstream is held, and which agents are served.
        limits: Tell when a task that nobody takes is given up.
        presence: Tells which worker is silent, and when it is given up.
        left_threads: Tell which task's last attempt still runs.
        bell: Rung when a hold is over.
    """

    def __init__(
        self,
        *,
        state: State,
        intake: Intake,
        policies: Policies,
        limits: Limits,
        presence: Presence,
        left_threads: LeftThreads,
        monitor: Monitor,
        bell: Bell,
    ) -> None:
        self._state = state
        self._intake = intake
        self._clock = intake.clock
        self._drafts = WaitingDrafts(TaskDrafts(intake, state))
        self._policies = policies
        self._limits = limits
        self._presence = presence
        self._left_threads = left_threads
        self._monitor = monitor
        self._bell = bell
        # Tasks of which something has to be told, in the order in which that was found.
        self._to_tell: dict[str, None] = {}
        self._telling = False
        # Tasks that are looked at, and whether all have to be once more.
        self._to_look_at: deque[str] = deque()
        self._looking = self._again = False
        self._took_s = 0.0
        # By upstream: the end of the hold for which there is a timer.
        self._held: dict[str, float] = {}

    def clear(self) -> None:
        """Look at nothing; the timers are gone with the log."""
        self._to_tell.clear()
        self._to_look_at.clear()
        self._held.clear()
        self._telling = self._looking = self._again = False

    def begin(self) -> None:
        """Look at all that wait, and at the ends of holds."""
        self.holds_changed()
        self.look_at_all()

    # --- when something has happened --------------------------------------------------------

    def look_at(self, task: Task) -> None:
        """Look why a task does not move; if that is new, it is told soon."""
        if self._differs(task, self._wait_of(task)):
            self._to_tell[task.task_id] = None
            if not self._telling:
                self._telling = True
                self._monitor.soon(self._tell)

    async def nobody_serves(self, task: Task) -> list[str] | None:
        """
        Tell at once that nobody serves a task, and give similar names; None: somebody does.

        So that who has made the task is answered after it was told, and never before.
        """
        if self._policies.served(task):
            return None
        with contextlib.suppress(Unavailable):  # it is told later, like any other
            await self._told(task.task_id)
        return self._policies.similar(task)

    def look_at_all(self) -> None:
        """Look soon at all tasks that wait: what they wait for has changed."""
        if self._looking:
            self._again = True
            return
        self._looking = True
        self._to_look_at.extend(self._state.live)
        self._took_s = 0.0
        self._monitor.soon(self._look)

    def failed(self, task: Task) -> None:
        """Take in that an attempt at ``task`` has failed: its upstream may be held now."""
        if (hold := self._policies.hold(self._policies.of_task(task))) is not None:
            self._watch(hold)

    def worker_changed(self, agent_id: str) -> None:
        """Look at what a worker holds, whose status has changed, and at what it could take."""
        for task in self._state.held_by(agent_id):
            self.look_at(task)
        self.look_at_all()

    # --- holds ------------------------------------------------------------------------------

    def holds_changed(self) -> None:
        """Look at the ends of all holds: one may be over before its time."""
        for hold in self._state.holds:
            self._watch(hold)

    def _watch(self, hold: Hold) -> None:
        """See to it that calls begin when a hold is over, and tell those that wait for that."""
        upstream, until = hold.upstream, hold.until
        if self._held.get(upstream) == until:
            return
        self._held[upstream] = until
        self._monitor.at(until, lambda: self._over(upstream, until))
        self.look_at_all()

    async def _over(self, upstream: str, until: float) -> None:
        """Let the calls begin that the ramp allows by now."""
        if self._held.get(upstream) != until:
            return  # it was held for longer, and there is another timer
        self._bell.ring()
        now = self._monitor.now
        if now < until + RAMP_S:
            self._monitor.at(now + RAMP_STEP_S, lambda: self._over(upstream, until))
        else:
            del self._held[upstream]

    # --- in pieces --------------------------------------------------------------------------

    async def _look(self) -> None:
        began_at = self._clock.monotonic()
        for _ in range(min(LOOKED_AT_AT_ONCE, len(self._to_look_at))):
            task = self._state.live.get(self._to_look_at.popleft())
            if task is not None and task.status != "running":
                self.look_at(task)
        self._took_s += self._clock.monotonic() - began_at
        await self._clock.sleep(0)
        if self._to_look_at:
            self._monitor.soon(self._look)
            return
        self._monitor.at(self._monitor.now + max(LOOK_EVERY_S, self._took_s / SHARE), self._looked)

    async def _looked(self) -> None:
        self._looking = False
        if self._again:
            self._again = False
            self.look_at_all()

    async def _tell(self) -> None:
        for _ in range(min(TOLD_AT_ONCE, len(self._to_tell))):
            task_id = next(iter(self._to_tell))
            del self._to_tell[task_id]
            try:
                await self._told(task_id)
            except Unavailable:
                self._to_tell[task_id] = None  # the monitor calls again
                raise
        await self._clock.sleep(0)
        if self._to_tell:
            self._monitor.soon(self._tell)
        else:
            self._telling = False

    async def _told(self, task_id: str) -> None:
        def decide(_: ExpectationFailed | None) -> Decision | None:
            task = self._state.live.get(task_id)
            if task is None:
                return None
            wait = self._wait_of(task)
            if not self._differs(task, wait):
                return None  # another node has told it, or the task moves
            if wait is None:
                draft = self._drafts.heard_again(task)
            else:
                similar = self._policies.similar(task) if wait.waits_for == "worker" else []
                draft = self._drafts.waiting(task, wait, similar=similar)
            return [draft], {subject_of(task_id): task.last_offset}

        with contextlib.suppress(NotFound):
            await self._intake.decide(decide, about=f"task {task_id}")

    # --- reasons ----------------------------------------------------------------------------

    def _differs(self, task: Task, wait: Wait | None) -> bool:
        """Whether a reason is not the one that was told last."""
        told = task.waiting_for
        if wait is None:
            # Of any other wait the task's next event tells that it is over.
            return told is not None and told["waits_for"] == "worker_contact"
        if told is None or (told["waits_for"], told["name"]) != (wait.waits_for, wait.name):
            return True
        if wait.until is None:
            return False
        if told["until"] is None:
            return True
        until = seconds_of(told["until"])
        over = until <= self._monitor.now
        return abs(wait.until - until) > (0.001 if over else MOVED_S)

    def _wait_of(self, task: Task) -> Wait | None:
        """Tell what a task waits for; None: it moves, or only has to wait for its turn."""
        if task.reserved_for is not None:
            return None
        if task.status == "running":
            return self._silence(task)
        policy = self._policies.of_task(task)
        if self._left_threads.here(task):
            return Wait("thread", policy.name, None)
        waits = [wait for wait in (self._breaker(task, policy), self._hold(task, policy)) if wait]
        if waits:
            wait = max(waits, key=_end_of)
            # An attempt that is announced for later than that is not held back by it.
            return wait if _end_of(wait) > (task.next_attempt_at or 0.0) + MOVED_S else None
        if not self._policies.served(task):
            name = task.agent_name or task.capability or policy.name
            return Wait("worker", name, self._limits.given_up_at(task))
        return None

    def _silence(self, task: Task) -> Wait | None:
        worker = self._state.workers.get(task.holder or "")
        if worker is None or worker.status == "healthy":
            return None
        if (lost_at := self._presence.lost_at(worker.agent_id)) is None:
            return None
        ends_at = task.lease_expires_at
        if not worker.by_socket or (ends_at is not None and ends_at < lost_at):
            # Its beats promise nothing: it loses the task when its lease ends.
            lost_at = lost_at if ends_at is None else ends_at
        return Wait("worker_contact", worker.agent_id, lost_at)

    def _breaker(self, task: Task, policy: AgentPolicy) -> Wait | None:
        breaker = self._state.breakers.get(policy.breaker)
        if breaker is None or breaker.state == "closed" or policy.fallback is not None:
            return None
        if task.next_mode == "fallback" or task.probe in breaker.probes:
            return None
        if breaker.permits_left(self._monitor.now) > 0:
            return None  # it may be the probe itself, in its turn
        return Wait("breaker", breaker.name, breaker.probe_at if breaker.state == "open" else None)

    def _hold(self, task: Task, policy: AgentPolicy) -> Wait | None:
        hold = self._policies.hold(policy)
        if hold is None or hold.until <= self._monitor.now:
            return None
        if task.next_mode == "fallback" or task.hurried:
            return None
        if policy.fallback is not None and hold.until >= task.deadline_at:
            return None
        return Wait("upstream", policy.budget, hold.until)


def _end_of(wait: Wait) -> float:
    return math.inf if wait.until is None else wait.until
