"""Agents that really fail, each in its own way, for the tests of the page."""

from __future__ import annotations

import asyncio

from gateway import Gateway, Task
from gateway.errors import InvalidInput, RateLimited

gateway = Gateway()

FIRST_HALF = "A breaker watches calls. "
SECOND_HALF = "It opens when they fail."


@gateway.agent("writer", timeout=10.0)
async def write(task: Task, question: str) -> str:
    """Answer at once."""
    task.append(f"About {question}.")
    return f"About {question}."


@gateway.agent("stumbler", timeout=0.5, max_attempts=3)
async def stumble(task: Task, question: str) -> str:
    """Stall in the first attempt after half of the text; continue there in the second."""
    task.plan("outline", "review")
    if not task.preserved.text:
        task.preserve("outline", "what, when, how")
        task.append(FIRST_HALF)
        await asyncio.Event().wait()
    task.append(SECOND_HALF)
    return task.preserved.text + SECOND_HALF


@gateway.agent("limited", timeout=10.0, max_attempts=3)
async def limited(task: Task, question: str) -> str:
    """Be rate limited for a minute and a half in the first attempt."""
    if task.attempt == 1:
        raise RateLimited(retry_after=90)
    return "Answered after all."


@gateway.agent("busy", timeout=10.0, upstream="busy-model")
async def busy(task: Task, question: str) -> str:
    """Call a service that has too much to do for a minute."""
    raise RateLimited(retry_after=60)


@gateway.agent("picky", timeout=10.0)
async def refuse(task: Task, question: str) -> str:
    """Refuse the input. No user may see the text of the exception."""
    raise InvalidInput("<img src=x onerror=alert(1)> /etc/secret")


@gateway.agent("endless", timeout=120.0)
async def never(task: Task, question: str) -> str:
    """Never come to an end."""
    task.progress(0.25)
    task.append(question)
    await asyncio.Event().wait()
    raise AssertionError


async def stand_in(task: Task, question: str) -> str:
    return "A short answer from the notes."


@gateway.agent("broken", timeout=10.0, max_attempts=1, fallback=stand_in)
async def broken(task: Task, question: str) -> str:
    raise RuntimeError("nothing works today")


@gateway.agent("luckless", timeout=10.0, max_attempts=1)
@gateway.agent("unlucky", timeout=10.0, max_attempts=1)
async def unlucky(task: Task, question: str) -> str:
    """Fail in a way that is worth another try, and have none left."""
    raise ConnectionRefusedError("the far end is down")
