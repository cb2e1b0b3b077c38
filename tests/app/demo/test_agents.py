"""The demonstration's agents in a real gateway, with the real SDK, on an upstream that fails."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from gateway import Gateway
from gateway.app.demo import library, reading
from gateway.app.demo.agents import GENERAL_MODEL, PROMPTS, READING_MODEL, SCHEDULES, declare
from gateway.app.demo.clients import async_client, plain_client
from gateway.app.demo.faults import FAULTS
from gateway.domain.errors import TaskFailed
from gateway.domain.settings import Settings
from tests.app.demo.upstreams import upstream

FAST = Settings(retry_base=0.001, retry_max=0.002, drain_grace=0.1)
ASKED = {prompt.name: prompt.prompt for prompt in PROMPTS}


@contextlib.asynccontextmanager
async def agents(schedules: Mapping[str, Sequence[str]]) -> AsyncIterator[Gateway]:
    gateway = Gateway(FAST)
    async with upstream(schedules) as server, async_client(server.base_url) as model:
        with plain_client(server.base_url) as plain_model:
            declare(gateway, model=model, plain_model=plain_model)
            async with gateway.lifespan():
                yield gateway


async def ask(gateway: Gateway, agent: str) -> tuple[str, int]:
    """Ask the agent its own prompt; the result, and the attempt that gave it."""
    handle = await gateway.submit(agent, {"question": ASKED[agent]})
    return str(await handle.result()), (await handle.status())["attempt"]


async def test_a_reader_that_is_cut_off_gives_the_answer_of_one_that_is_not() -> None:
    """By its schedule it is refused once and cut off once; nothing is lost or said twice."""
    async with agents({READING_MODEL: SCHEDULES[READING_MODEL]}) as gateway:
        failed, attempt = await ask(gateway, "reader")
    async with agents({}) as gateway:
        whole, first = await ask(gateway, "reader")
    assert (attempt, first) == (3, 1)
    assert failed == whole
    assert library.find(ASKED["reader"]).title in whole


async def test_a_summarizer_whose_model_is_down_answers_without_it() -> None:
    """Its fallback is the attempt after the one that failed."""
    text = library.find(ASKED["summarizer"]).body
    async with agents({GENERAL_MODEL: ("500", "fine")}) as gateway:
        assert await ask(gateway, "summarizer") == (reading.first_sentences(text), 2)
        assert await ask(gateway, "summarizer") == (reading.summary(text), 1)


async def test_keywords_are_asked_for_again_and_come_as_a_line() -> None:
    text = library.find(ASKED["keywords"]).body
    async with agents({GENERAL_MODEL: ("500", "broken", "429", "fine")}) as gateway:
        assert await ask(gateway, "keywords") == (", ".join(reading.keywords(text)), 4)


async def test_keywords_without_a_model_fail_after_their_attempts() -> None:
    async with agents({GENERAL_MODEL: ("500",)}) as gateway:
        with pytest.raises(TaskFailed):
            await ask(gateway, "keywords")


def test_schedules_name_faults_and_prompts_name_agents() -> None:
    names = {fault.name for fault in FAULTS}
    assert all(set(schedule) <= names for schedule in SCHEDULES.values())
    assert list(ASKED) == ["reader", "summarizer", "keywords", "writer"]
