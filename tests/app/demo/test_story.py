"""The story: which agents it asks, in which order, and when it plays at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

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
        looks: How many times the story has looked whether one does.
        calm: Whether all breakers are closed.
        on_asked: Called when an agent is asked.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.watched = True
        self.looks = 0
        self.calm = True
        self.on_asked: Callable[[], None] = lambda: None
        self.failing = False
        self.plan = Plan({"any": ("drop", "fine")})
        self.gateway = Gateway(FAST)
        for name in ("reader", "summarizer", "keywords", "writer"):
            self.gateway.agent(name, max_attempts=1)(self.answer)

    async def answer(self, task: Task, question: str) -> str:
        assert task.user_id == USER
        self.asked.append(task.agent_name)
        self.on_asked()
        if self.failing:
            raise NotRetryable
        return question

    def look(self) -> bool:
        self.looks += 1
        return self.watched

    @contextlib.asynccontextmanager
    async def playing(self) -> AsyncIterator[asyncio.Task[None]]:
        story = Story(
            self.gateway,
            self.plan,
            Pauses(CLOCK, pace=1000.0),
            watched=self.look,
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
        await until(lambda: stage.looks >= 3)
        assert stage.asked == []
        stage.watched = True
        await until(lambda: stage.asked)


async def test_an_act_that_has_begun_is_finished_when_the_page_closes() -> None:
    """The page closes at the first question of the second act; the third is not played."""
    stage = Stage()

    def close_the_page() -> None:
        stage.watched = len(stage.asked) < 2
        stage.looks = 0

    stage.on_asked = close_the_page
    async with stage.playing():
        await until(lambda: not stage.watched and stage.looks >= 3)
    assert stage.asked == ROUND[:-2]


async def test_open_breakers_are_closed_before_a_round_starts_its_schedules_anew() -> None:
    stage = Stage()
    stage.plan.next_fault("any")
    stage.calm = False
    turns: list[list[int]] = []
    stage.on_asked = lambda: turns.append(stage.plan.as_dict()["next"])
    async with stage.playing():
        await until(lambda: len(turns) > 2 * PROBES)
    probes = 2 * PROBES
    assert stage.asked[:probes] == ["reader"] * PROBES + ["keywords"] * PROBES
    # The plan rests, so that every call of a probe is answered well; then it is rewound.
    assert turns[: probes + 1] == [[]] * probes + [[0]]


async def test_the_story_ends_with_the_gateway() -> None:
    stage = Stage()
    async with stage.playing() as playing:
        await until(lambda: stage.asked)
        stage.gateway._running = False
        await until(playing.done)
        assert playing.exception() is None
