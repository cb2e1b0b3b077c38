"""
Workers that are killed, stopped, cut off and come back, in time that passes by lot.

Ten thousand steps, each any of these or a word, under a term in force or long over, while the
wall clock is set forward and back. Each run has a seed, which stands in its name; the same seed
is the same run. What must hold always is asked all the time and in the end: the rules over
time, that every lease and every silence is acted on when it is over, and of each word that it
is in the log exactly when it was accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.domain.errors import RequestError
from gateway.ports import EventLog
from tests.execution.world import VirtualLoop, World, consistent, world
from tests.simulation.crews import FarLog, Hand, Words, settle
from tests.simulation.rules import broken_locks, broken_rules, lives_of
from tests.soak import SOAK

# Odd ones have a log that is far away, every other pair a clock that is set.
SEEDS = range(60) if SOAK else (0, 3)
STEPS = 2_500

HANDS = 6
LIVE_MAX = 20
TIMEOUT_S, OFFLINE_S = 5.0, 15.0
MISSED_S = TIMEOUT_S * 2 / 3
# In the end every task has ended after this: its own limit is shorter.
END_S = 1000.0
# Expiry is acted on within this, the slow store's own time included.
ACTED_S = 0.25
AGENTS = [
    {"name": "writer", "timeout": 12, "max_attempts": 4},
    {"name": "editor", "timeout": 40, "max_attempts": 100, "fallback": True},
]


class Run:
    """
    One run: what exists outside the gateway, and what may happen to it.

    Attributes:
        jobs: Calls that have not been answered.
        clock_set: Whether the wall clock is set in this run; then nothing has to be in time.
    """

    def __init__(self, here: World, chance: random.Random, *, clock_set: bool) -> None:
        self.here = here
        self.chance = chance
        self.words = Words()
        self.hands: list[Hand] = []
        self.dead: list[Hand] = []
        self.jobs: set[asyncio.Task[None]] = set()
        self.asked: list[str] = []
        self.clock_set = clock_set
        self._sessions = 0

    @property
    def now(self) -> float:
        return self.here.engine.clock.monotonic()

    def session(self) -> str | None:
        """A connection, or none."""
        self._sessions += 1
        return f"session {self._sessions}" if self.chance.random() < 0.6 else None

    def any_hand(self) -> Hand | None:
        """A worker that can speak now."""
        able = [hand for hand in self.hands if hand.speaks]
        return self.chance.choice(able) if able else None

    # --- what may happen --------------------------------------------------------------------

    async def ask(self) -> None:
        """A user asks for a task."""
        if len(self.here.state.live) >= LIVE_MAX:
            return
        with contextlib.suppress(RequestError):
            agent = self.chance.choice(("writer", "editor"))
            limit_s = self.chance.choice((60.0, 300.0))
            self.asked.append(await self.here.submit(agent, user_id="ann", timeout=limit_s))

    async def hire(self) -> None:
        """A worker comes; one that is dead may come back as itself."""
        if len(self.hands) >= HANDS:
            return
        if self.dead and self.chance.random() < 0.4:
            again = self.dead.pop(self.chance.randrange(len(self.dead)))
            again.silent_until = 0.0
            self.hands.append(again)
            await again.come_back(self.session(), handle="hand", agents=AGENTS)
            return
        session = self.session()
        new = await Hand.register(
            self.here, self.words, session=session, handle="hand", agents=AGENTS
        )
        self.hands.append(new)

    async def beat(self, by: Hand | None = None) -> None:
        if hand := by or self.any_hand():
            await hand.call("agent.heartbeat", loop_lag=self.chance.random())

    async def claim(self, by: Hand | None = None) -> None:
        if hand := by or self.any_hand():
            session_id, waits = hand.caller.session_id, self.chance.choice((0, 0, 1, 5))
            ttl_s = self.chance.choice((2, 6, 20))
            claim = await hand.claim(wait=waits, lease_ttl=ttl_s, **self.lock())
            if claim is not None and session_id in hand.closed_at:
                late_s = self.now - hand.closed_at[session_id]
                assert late_s < ACTED_S, f"{claim} was given over a connection long lost"

    async def claim_one(self) -> None:
        hand = self.any_hand()
        if hand is not None and self.asked:
            await hand.claim(task_id=self.chance.choice(self.asked[-LIVE_MAX:]), **self.lock())

    def lock(self) -> dict[str, str]:
        """What is to be locked with a claim, if anything."""
        key = self.chance.choice((None, None, "a", "b", "c"))
        return {} if key is None else {"resource_key": key}

    async def say(self, by: Hand | None = None) -> None:
        """A word about the worker's newest claim, in force or not."""
        hand = by or self.any_hand()
        if hand is not None and hand.claims:
            await hand.say(self.chance.choice(hand.claims[-3:]), self.chance)

    async def say_much(self) -> None:
        """Several words at once; any of them may end it or give it back before the others."""
        hand = self.any_hand()
        if hand is not None and hand.claims:
            claim = hand.claims[-1]
            await asyncio.gather(*(hand.say(claim, self.chance) for _ in range(5)))

    async def say_late(self) -> None:
        """A word about any claim that the worker ever had."""
        hand = self.any_hand()
        if hand is not None and hand.claims:
            await hand.say(self.chance.choice(hand.claims), self.chance)

    async def say_of_others(self) -> None:
        """A word about what another worker holds, or under a term that is still to come."""
        hand, other = self.any_hand(), self.chance.choice(self.hands or [None])
        if hand is None or other is None or not other.claims:
            return
        claim = other.claims[-1]
        if hand is not other:
            await hand.say(claim, self.chance)
            return
        mark = self.words.new()
        lease = {"task_id": claim.task_id, "term": claim.term + 50}
        answer = await hand.call("task.update", **lease, text=mark)
        assert isinstance(answer, RequestError)
        self.words.refused(mark)

    async def renew(self) -> None:
        hand = self.any_hand()
        if hand is not None and hand.claims:
            await hand.renew(self.chance.choice(hand.claims[-3:]), self.chance)

    async def kill(self) -> None:
        """Nothing more comes of it; its connection is lost, if it has one."""
        if self.hands:
            hand = self.hands.pop(self.chance.randrange(len(self.hands)))
            hand.silent_until = math.inf
            self.dead.append(hand)
            await self.lose(hand)

    async def stop(self) -> None:
        """It hangs, and its connection stays open; later it speaks as if nothing had been."""
        if hand := self.any_hand():
            hand.silent_until = self.now + self.chance.choice((1.0, 4.0, 7.0, 20.0))

    async def cut(self) -> None:
        """Its connection breaks; what was on its way arrives all the same, a moment later."""
        if hand := self.any_hand():
            hand.silent_until = self.now + self.chance.choice((0.0, 0.0, 0.3, 3.0, 8.0))
            await self.lose(hand)

    async def come_back(self) -> None:
        """A worker that has lost its connection comes back over another one."""
        lost = [hand for hand in self.hands if hand.awake and not hand.connected]
        if lost:
            hand = self.chance.choice(lost)
            session = self.session()
            if self.chance.random() < 0.3:
                # It does not know that it was cut off: something on the way has a new connection.
                hand.caller = dataclasses.replace(hand.caller, session_id=session)
                await self.beat(hand)
            else:
                await hand.come_back(session, handle="hand", agents=AGENTS)

    async def lose(self, hand: Hand) -> None:
        """A connection is lost, with words on their way or without."""
        session_id = hand.caller.session_id
        await hand.lose_connection()
        if session_id is None or self.chance.random() < 0.5:
            return
        on_its_way = self.chance.choice((self.beat, self.claim, self.say))
        await on_its_way(hand)

    async def goodbye(self) -> None:
        if (hand := self.any_hand()) and self.chance.random() < 0.3:
            self.hands.remove(hand)
            await hand.call("agent.remove")
            hand.gone = True

    async def meddle(self) -> None:
        """A person cancels a task or wants it tried now."""
        if self.asked:
            operation = self.chance.choice(("task.cancel", "task.retry"))
            with contextlib.suppress(RequestError):
                await self.here.call(operation, task_id=self.chance.choice(self.asked[-LIVE_MAX:]))

    async def set_clock(self) -> None:
        """The wall clock is set, forward or back."""
        if self.clock_set and self.chance.random() < 0.2:
            self.here.engine.clock.ahead_s += self.chance.choice(  # type: ignore[attr-defined]
                (-30.0, -3.0, -0.4, 0.4, 3.0, 30.0)
            )

    # --- how it goes on ---------------------------------------------------------------------

    async def steps(self, count: int) -> None:
        """Let that many things happen, some of them at the same time."""
        actions = actions_of(self)
        for number in range(count):
            (action,) = self.chance.choices(list(actions), list(actions.values()))
            self.jobs.add(asyncio.ensure_future(action()))
            await self.here.passing(self.chance.choice((0, 0, 0, 0.001, 0.01, 0.1, 0.4)))
            for job in [job for job in self.jobs if job.done()]:
                self.jobs.discard(job)
                job.result()
            if number % 5 == 0:
                self.look()
            if number % 500 == 0:
                consistent(self.here)

    def look(self) -> None:
        """Nothing is overdue: no lease, no silence, and a lost worker holds nothing."""
        if self.clock_set:
            return
        state, wall = self.here.state, self.here.engine.clock.wall()
        for task in state.live.values():
            if task.status == "running" and task.lease_expires_at is not None:
                assert wall < task.lease_expires_at + ACTED_S, f"{task} is overdue"
        for hand in [*self.hands, *self.dead]:
            worker = state.workers.get(hand.agent_id)
            if worker is None or worker.removed or hand.gone:
                continue
            silent_s = self.now - hand.heard_at
            for limit_s, statuses in (
                (OFFLINE_S, ("offline",)),
                # A quarantined worker stays so until it is offline.
                (TIMEOUT_S, ("unhealthy", "quarantined", "offline")),
                (MISSED_S, ("suspect", "unhealthy", "quarantined", "offline")),
            ):
                if silent_s > limit_s + ACTED_S:
                    assert worker.status in statuses, f"silent for {silent_s:.2f} s: {worker}"
                    break
            lost_s = self.now - hand.closed_at.get(hand.caller.session_id or "", self.now)
            assert lost_s < ACTED_S or worker.status != "healthy", f"cut off for {lost_s:.2f} s"
            if silent_s > TIMEOUT_S + ACTED_S and worker.by_socket:
                assert state.held_by(hand.agent_id) == []

    async def to_the_end(self) -> None:
        """Let the workers that are left do what there is, until every task has ended."""
        await settle(self.jobs)
        for hand in self.hands:
            hand.silent_until = 0.0
        by = self.now + END_S
        while live := self.here.state.live:
            assert self.now < by, f"these do not end: {list(live.values())}"
            if not self.hands:
                await self.hire()
            for hand in self.hands:
                if not hand.connected:
                    await hand.come_back(self.session(), handle="hand", agents=AGENTS)
                await hand.call("agent.heartbeat")
                if (claim := await hand.claim(lease_ttl=20)) is not None:
                    await hand.call("task.complete", **claim.as_dict(), result="at last")
            await self.here.passing(1)
            self.look()


Action = Callable[[], Coroutine[Any, Any, None]]


def actions_of(run: Run) -> dict[Action, int]:
    """What may happen, and how often beside the others."""
    return {
        run.ask: 12,
        run.hire: 4,
        run.beat: 30,
        run.claim: 20,
        run.claim_one: 3,
        run.say: 20,
        run.say_much: 4,
        run.say_late: 5,
        run.say_of_others: 3,
        run.renew: 12,
        run.kill: 1,
        run.stop: 1,
        run.cut: 2,
        run.come_back: 5,
        run.goodbye: 1,
        run.meddle: 2,
        run.set_clock: 2,
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_whichever_worker_is_lost_each_task_ends_once_and_each_word_is_where_it_belongs(
    seed: int,
) -> None:
    chance = random.Random(seed)

    def wrap(log: EventLog) -> EventLog:
        return FarLog(log, chance) if seed % 2 else log

    async def live() -> None:
        settings: dict[str, Any] = {"retry_base": 0.1, "retry_max": 5.0, "breaker_cooldown": 5.0}
        async with world(seed=seed, wrap=wrap, **settings) as here:
            run = Run(here, chance, clock_set=seed % 4 >= 2)
            await run.steps(STEPS)
            await run.to_the_end()
            assert run.words.broken(here.entries) == []
            lives = lives_of(here.events)
            assert lives.keys() >= set(run.asked)
            assert broken_rules(lives) == []
            assert broken_locks(here.events) == []
            assert len(here.said("lock_changed", state="held")) > STEPS / 200
            lost = here.said("agent_error", cause="agent_lost")
            assert len(lost) > STEPS / 200, "hardly anything was lost"

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(live())
