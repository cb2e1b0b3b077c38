"""
Agents for the scenarios: they call a real upstream through the real openai SDK.

Run by ``gateway serve tests.scenarios.agents:gateway`` in a process of its own. Where the
upstream is, and each agent's limits, come from the environment, so that one module serves all
scenarios.
"""

from __future__ import annotations

import os
from typing import Any

from openai import AsyncOpenAI, OpenAI

from gateway import Gateway, Task
from gateway.errors import InvalidResponse

UPSTREAM = os.environ.get("UPSTREAM_URL", "http://127.0.0.1:9/v1")
LIMIT_S = float(os.environ.get("AGENT_LIMIT_S", "5"))
ATTEMPTS = int(os.environ.get("AGENT_ATTEMPTS", "3"))

gateway = Gateway()
# The gateway retries, visibly; the SDK's own retries would only hide a failure, as its own limit
# would hide the attempt's.
client = AsyncOpenAI(
    base_url=UPSTREAM, api_key="sk-test-not-a-key", max_retries=0, timeout=LIMIT_S + 5
)
blocking = OpenAI(
    base_url=UPSTREAM, api_key="sk-test-not-a-key", max_retries=0, timeout=LIMIT_S + 5
)


async def _asked(question: str) -> str:
    answer = await client.chat.completions.create(
        model="test", messages=[{"role": "user", "content": question}]
    )
    text = answer.choices[0].message.content
    if not text:
        raise InvalidResponse("an answer without text")
    return text


@gateway.agent("asker", timeout=LIMIT_S, max_attempts=ATTEMPTS, upstream="model")
async def ask(task: Task, question: str) -> str:
    """Ask once."""
    return await _asked(question)


@gateway.agent("once", timeout=LIMIT_S, max_attempts=1, upstream="model")
async def ask_once(task: Task, question: str) -> str:
    """Ask once, and give up when it fails."""
    return await _asked(question)


@gateway.agent("other", timeout=LIMIT_S, max_attempts=1, upstream="model")
async def ask_other(task: Task, question: str) -> str:
    """The same as another agent, with a breaker of its own."""
    return await _asked(question)


async def offline_answer(task: Task, question: str) -> str:
    """What answers when the agent cannot."""
    return f"offline: {question}"


@gateway.agent("careful", timeout=LIMIT_S, max_attempts=ATTEMPTS, fallback=offline_answer)
async def careful(task: Task, question: str) -> str:
    """Raise an error of its own after asking."""
    text = await _asked(question)
    if question == "explode":
        raise ValueError("the agent's own mistake, password=hunter2 in /srv/secret/place")
    return text


@gateway.agent("hoarder", timeout=LIMIT_S, max_attempts=1)
async def hoard(task: Task, question: str) -> str:
    """Keep much more at once than one entry may have, and end."""
    for number in range(8):
        task.preserve(f"step{number}", "x" * 200_000)
    if question == "fail":
        raise InvalidResponse("an answer without text")
    return "y" * 200_000


class ShopClosed(Exception):
    """Of a library that the gateway does not know."""


class TillEmpty(Exception):
    """Of the same library, and of no rule."""


gateway.classify(ShopClosed, error_code="shop_closed", retryable=True, retry_after=0.01)


@gateway.agent("shopper", timeout=LIMIT_S, max_attempts=2)
async def shop(task: Task, question: str) -> None:
    """Fail as a library does that the gateway does not know."""
    try:
        raise ShopClosed if question == "closed" else TillEmpty
    except Exception as error:
        raise RuntimeError("the tool failed") from error


@gateway.agent("stepper", timeout=LIMIT_S, max_attempts=ATTEMPTS, upstream="model")
async def step_by_step(task: Task, question: str) -> dict[str, Any]:
    """Three steps, each kept; finished ones are not done again."""
    task.plan("step1", "step2", "step3")
    steps: dict[str, Any] = dict(task.preserved.steps)
    for number, name in enumerate(("step1", "step2", "step3"), 1):
        if name not in steps:
            steps[name] = await _asked(f"{question} {name}")
            task.preserve(name, steps[name])
        task.progress(number / 3, step=name)
    return steps


@gateway.agent("streamer", timeout=LIMIT_S, max_attempts=ATTEMPTS, upstream="model")
async def stream(task: Task, question: str) -> str:
    """Stream an answer, kept as it comes; what an earlier attempt streamed is at 60 %."""
    task.progress(0.6)
    chunks = await client.chat.completions.create(
        model="test", messages=[{"role": "user", "content": question}], stream=True
    )
    text = ""
    finished = False
    async for chunk in chunks:
        if chunk.choices:
            piece = chunk.choices[0].delta.content or ""
            finished = finished or chunk.choices[0].finish_reason is not None
            text += piece
            task.append(piece)
    if not finished:
        raise InvalidResponse("the stream ended early")
    return text


@gateway.agent("thread", timeout=LIMIT_S, max_attempts=1, upstream="model")
def ask_in_thread(task: Task, question: str) -> str:
    """A plain function with the blocking client."""
    answer = blocking.chat.completions.create(
        model="test", messages=[{"role": "user", "content": question}]
    )
    return answer.choices[0].message.content or ""
