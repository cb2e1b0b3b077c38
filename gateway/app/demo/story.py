"""
The story: asks the agents by itself while a browser shows the page.

It asks as any user does; agents and upstream decide how the tasks go. When a person has chosen
what the upstream does, the same story takes another course.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from gateway import Gateway
from gateway.app.demo.agents import PROMPTS
from gateway.app.demo.faults import BY_SCHEDULE, Plan
from gateway.app.demo.pauses import Pauses
from gateway.app.gateway import Handle
from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import ConfigurationError, Rejected, TaskFailed

__all__ = ["USER", "Story"]

logger = logger_of(__name__)

# The user that the story asks for; the page shows everybody's tasks, and so its.
USER = "demo"

# Pauses, in seconds, so that a person can follow.
LOOK_S = 0.25
OPENING_S = 1.5
BREATH_S = 1.0
BETWEEN_ACTS_S = 2.0
BETWEEN_ROUNDS_S = 15.0

# The limit of each task of the story, in seconds.
PATIENCE_S = 60.0
# How many times the story asks when it is refused; then it goes on without.
ASKS_MAX = 6
# How many calls close a breaker (breaker_permits); the task that waited is the first of them.
PROBES = 3

_ASKED = {prompt.name: prompt.prompt for prompt in PROMPTS}


class Story:
    """
    Plays round after round while the page is watched.

    Args:
        gateway: The gateway with the agents.
        plan: What the upstream does.
        pauses: How long it waits between its steps.
        watched: Whether a browser follows events now.
        calm: Whether all breakers are closed.
    """

    def __init__(
        self,
        gateway: Gateway,
        plan: Plan,
        pauses: Pauses,
        *,
        watched: Callable[[], bool],
        calm: Callable[[], bool],
    ) -> None:
        self._gateway = gateway
        self._plan = plan
        self._watched = watched
        self._calm = calm
        self._pause = pauses.pause
        self._sleep = gateway.engine.clock.sleep
        self._ask_again_s = 0.0

    async def play(self) -> None:
        """Play round after round while watched, until the gateway ends or until cancelled."""
        while True:
            while not self._watched():
                await self._pause(LOOK_S)
            try:
                await self._round()
            except ConfigurationError:
                return  # The gateway has ended.
            except Exception:
                logger.exception("the story broke off; it begins anew")
            left_s = BETWEEN_ROUNDS_S
            while self._watched() and left_s > 0:
                await self._pause(LOOK_S)
                left_s -= LOOK_S

    async def _round(self) -> None:
        """Play every act; an act that has begun is finished, even if the page is closed."""
        if self._plan.mode == BY_SCHEDULE and not self._calm():
            await self._recover()
        self._plan.rewind()
        acts: tuple[Callable[[], Awaitable[None]], ...] = (
            self._cut_off,
            self._outage,
            self._all_is_well,
        )
        pause_s = OPENING_S
        for act in acts:
            await self._pause(pause_s)
            if not self._watched():
                return
            await act()
            pause_s = BETWEEN_ACTS_S

    async def _recover(self) -> None:
        """
        Close the breakers that a person's choice has left open.

        By schedule the reader fails twice in each task, and its breaker would never close.
        """
        self._plan.rest()
        for agent in ("reader", "keywords"):
            for _ in range(PROBES):
                if not self._calm():
                    await self._end_of(await self._insist(agent))

    # --- the acts ---------------------------------------------------------------------------

    async def _cut_off(self) -> None:
        """One task is told to wait, is cut off in mid-sentence, and is finished from there."""
        await self._end_of(await self._ask("reader"))

    async def _outage(self) -> None:
        """The general model is down: a fallback answers, a task is refused, a breaker tests it."""
        waiting = await self._ask("keywords")
        await self._end_of(await self._ask("summarizer"))
        await self._second_failure_of(waiting)
        await self._pause(BREATH_S)
        await self._ask("keywords")
        await self._pause(BREATH_S)
        await self._end_of(await self._ask("summarizer"))
        await self._end_of(waiting)
        for _ in range(PROBES - 1):
            await self._pause(BREATH_S)
            await self._end_of(await self._insist("keywords"))

    async def _all_is_well(self) -> None:
        """Two tasks succeed; the writer takes long enough for a person to kill its process."""
        writing = await self._ask("writer")
        await self._end_of(await self._ask("summarizer"))
        await self._end_of(writing)

    # --- how it asks ------------------------------------------------------------------------

    async def _ask(self, agent: str) -> Handle | None:
        """Ask an agent; None: it was refused."""
        try:
            return await self._gateway.submit(
                agent, {"question": _ASKED[agent]}, user_id=USER, timeout=PATIENCE_S
            )
        except Rejected as refused:
            self._ask_again_s = refused.retry_after or BREATH_S
            return None

    async def _insist(self, agent: str) -> Handle | None:
        """Ask until accepted, with the pauses that the refusals name; None: refused every time."""
        for _ in range(ASKS_MAX):
            if (handle := await self._ask(agent)) is not None:
                return handle
            await self._sleep(self._ask_again_s)
        return None

    async def _end_of(self, handle: Handle | None) -> None:
        if handle is not None:
            with contextlib.suppress(TaskFailed):
                await handle.result()

    async def _second_failure_of(self, handle: Handle | None) -> None:
        """Wait until two attempts of a task have failed, or the task has ended."""
        while handle is not None:
            task = await handle.status()
            failed = sum("error" in attempt for attempt in task["attempts"])
            if task["status"] not in ("pending", "running", "waiting") or failed >= 2:
                return
            await self._pause(LOOK_S)
