"""
The agent ``writer``, which ``gateway demo`` runs in worker processes that may be killed.

It writes part by part. Text is kept as it comes, and each finished part again as a step, so that
the next attempt goes on in the middle of a sentence. DEMO_MODEL_URL names the model's base URL.
"""

from __future__ import annotations

import os

from openai import AsyncOpenAI

from gateway import Gateway, Task
from gateway.app.demo.agents import conversation, tell
from gateway.app.demo.clients import async_client
from gateway.app.demo.library import find
from gateway.domain.errors import ConfigurationError

__all__ = ["MODEL_URL_VARIABLE", "gateway"]

MODEL_URL_VARIABLE = "DEMO_MODEL_URL"
# It has no schedule of faults: this agent fails because its process is killed.
MODEL = "writing"

OUTLINE = "outline"
# The parts of an article → what the model is asked for.
PARTS = {"story": "Answer the question.", "summary": "Summarise the text."}
BETWEEN_PARTS = "\n\n"

# The limit of one attempt, in seconds; an article takes about ten.
ATTEMPT_S = 40.0

gateway = Gateway()


@gateway.agent("writer", timeout=ATTEMPT_S, max_attempts=6, upstream="model", features=["articles"])
async def write(task: Task, question: str) -> str:
    """Write a short article on one of the texts."""
    task.plan(OUTLINE, *PARTS)
    text = find(question)
    async with _model() as model:
        if OUTLINE not in task.preserved.steps:
            task.progress(0.05, "Making an outline")
            asked = conversation("Name the keywords, as JSON.", question, text.body)
            outline = await model.chat.completions.create(model=MODEL, messages=asked)
            task.preserve(OUTLINE, outline.choices[0].message.content)
        kept = task.preserved.text
        article = ""
        for number, (step, asked_for) in enumerate(PARTS.items()):
            part = task.preserved.steps.get(step)
            if part is None:
                task.progress(0.1 + 0.9 * number / len(PARTS), f"Writing the {step}")
                if article:
                    article += BETWEEN_PARTS
                    if not kept.startswith(article):
                        task.append(BETWEEN_PARTS)
                part = await tell(
                    model,
                    task,
                    MODEL,
                    conversation(asked_for, question, text.body),
                    begun=kept.removeprefix(article) if kept.startswith(article) else "",
                )
                task.preserve(step, part)
            elif article:
                article += BETWEEN_PARTS
            article += part
    return article


def _model() -> AsyncOpenAI:
    base_url = os.environ.get(MODEL_URL_VARIABLE)
    if not base_url:
        raise ConfigurationError(
            f"{MODEL_URL_VARIABLE} is not set: the writer is run by `gateway demo`"
        )
    return async_client(base_url)
