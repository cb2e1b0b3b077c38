"""The writer: an article in parts, which another attempt goes on with in mid-sentence."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway import Gateway
from gateway.app.demo import writer
from gateway.app.demo.agents import PROMPTS
from gateway.app.demo.writer import BETWEEN_PARTS, MODEL, MODEL_URL_VARIABLE, write
from gateway.domain.errors import ConfigurationError
from gateway.domain.settings import Settings
from tests.app.demo.upstreams import upstream

FAST = Settings(retry_base=0.001, retry_max=0.002, drain_grace=0.1)
(QUESTION,) = [prompt.prompt for prompt in PROMPTS if prompt.name == "writer"]


async def article(
    monkeypatch: pytest.MonkeyPatch, schedule: Sequence[str], *, attempts: int = 6
) -> tuple[str, int]:
    """Let it write on a model with this schedule; the article, and the attempt that ended it."""
    gateway = Gateway(FAST)
    gateway.agent("writer", max_attempts=attempts)(write)
    async with upstream({MODEL: schedule}) as server:
        monkeypatch.setenv(MODEL_URL_VARIABLE, server.base_url)
        async with gateway.lifespan():
            handle = await gateway.submit("writer", {"question": QUESTION})
            return str(await handle.result()), (await handle.status())["attempt"]


@pytest.mark.parametrize(
    "schedule",
    [
        # Outline, story and summary are a call each; a cut one is asked for again.
        ("drop", "fine", "fine", "fine"),
        ("fine", "drop", "drop", "fine", "fine"),
        ("fine", "fine", "drop", "fine"),
    ],
    ids=["outline", "story, twice", "summary"],
)
async def test_an_article_that_was_cut_off_is_the_one_that_was_not(
    monkeypatch: pytest.MonkeyPatch, schedule: Sequence[str]
) -> None:
    whole, first = await article(monkeypatch, ("fine",))
    assert first == 1
    assert len(whole.split(BETWEEN_PARTS)) == 2
    assert await article(monkeypatch, schedule) == (whole, 1 + schedule.count("drop"))


def test_a_writer_outside_the_demonstration_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(MODEL_URL_VARIABLE, raising=False)
    with pytest.raises(ConfigurationError, match=MODEL_URL_VARIABLE):
        writer._model()
