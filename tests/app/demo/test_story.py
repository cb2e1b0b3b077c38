"""The story: which agents it asks, in which order, and when it plays at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from gateway import Gateway, Task
from gateway.app.demo.faults import Plan
from gateway.app.demo.pauses import Pauses
from gateway.app.demo.story import PROBES, USER, Story
from gateway.domain.settings import Settings
from gateway.errors import NotRetryable
from tests.app.demo.upstreams import CLOCK
from tests.transports.world import until

FAST = Settings(retry_base=0.001, retry_max=0.002, drain_grace=0.1)
ROUND = ["reader", "keywords", "summarizer", "keywords", "summarizer"]
ROUND += ["keywords"] * (PROBES - 1) + ["writer", "summarizer"]


class Stage:
    """
    A gateway with the story's agents, which answer at once.

    Attributes:
        asked: The agents, in the order in which they were asked.
        watched: Whether a browser follows events.
        calm: Whether all breakers are closed.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.watched = True
        self.calm = True
        self.failing = False
        self.plan = Plan({"any": ("drop", "fine")})
        self.gateway = Gateway(FAST)
        for name in ("reader", "summarizer", "keywords", "writer"):
            self.gateway.agent(name, max_attempts=1)(self.answer)

    async def answer(self, task: Task, question: str) -> str:
        assert task.user_id == USER
        self.asked.append(task.agent_name)
        if self.failing:
            raise NotRetryable
        return question

    @contextlib.asynccontextmanager
    async def playing(self) -> AsyncIterator[asyncio.Task[None]]:
        story = Story(
            self.gateway,
            self.plan,
            Pauses(CLOCK, pace=1000.0),
            watched=lambda: self.watched,
            calm=lambda: self.calm,
        )
        async with self.gateway.lifespan():
            playing = asyncio.create_task(story.play())
            try:
                yield playing
            finally:
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)


@pytest.mark.parametrize("failing", [False, True])
async def test_a_round_asks_the_agents_in_order_however_their_tasks_end(failing: bool) -> None:
    stage = Stage()
    stage.failing = failing
    async with stage.playing():
        await until(lambda: len(stage.asked) >= len(ROUND) + 1)
    assert stage.asked[: len(ROUND)] == ROUND
    assert stage.asked[len(ROUND)] == "reader"


async def test_no_agent_is_asked_while_no_browser_watches() -> None:
    stage = Stage()
    stage.watched = False
    async with stage.playing():
        await CLOCK.sleep(0.02)
        assert stage.asked == []
        stage.watched = True
        await until(lambda: stage.asked)


async def test_an_act_that_has_begun_is_finished_when_the_page_closes() -> None:
    stage = Stage()
    async with stage.playing():
        await until(lambda: len(stage.asked) >= 2)
        stage.watched = False
        await until(lambda: len(stage.asked) == len(ROUND) - 2)
        await CLOCK.sleep(0.02)
    assert stage.asked == ROUND[:-2]


async def test_open_breakers_are_closed_before_a_round_starts_its_schedules_anew() -> None:
    stage = Stage()
    stage.plan.next_fault("any")
    stage.calm = False
    async with stage.playing():
        await until(lambda: stage.asked)
        assert stage.plan.next_fault("any") == "fine"
        assert stage.plan.as_dict()["next"] == []
        await until(lambda: len(stage.asked) == 2 * PROBES)
        assert stage.asked == ["reader"] * PROBES + ["keywords"] * PROBES
        await until(lambda: len(stage.asked) > 2 * PROBES)
        assert stage.plan.as_dict()["next"] == [0]


async def test_the_story_ends_with_the_gateway() -> None:
    stage = Stage()
    async with stage.playing() as playing:
        await until(lambda: stage.asked)
        stage.gateway._running = False
        await until(playing.done)
        assert playing.exception() is None
