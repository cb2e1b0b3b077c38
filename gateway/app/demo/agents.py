"""
The agents of the demonstration: ordinary code with the openai SDK, run by the gateway.

They fail in three ways. ``reader`` goes on where its last attempt was cut off. ``summarizer`` has a
fallback that needs no model. ``keywords``, a plain function in a thread, has no fallback. The last
two share a breaker: while it is open, the fallback answers for the one, and the other is refused.
``writer``, the fourth agent, runs in processes of its own; see ``writer.py``.

The SDK's own retries are off, because no user would see them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from gateway import Gateway, Task
from gateway.app.demo import reading
from gateway.app.demo.library import find
from gateway.app.demo.model import TEXT_MARK
from gateway.errors import InvalidResponse

__all__ = ["PROMPTS", "SCHEDULES", "Prompt", "conversation", "declare", "tell"]

READING_MODEL, GENERAL_MODEL = "reading", "general"

# What the upstream does to the calls of each model. A reader's task makes four: the quotation is
# refused once, the answer is cut off once. The general model is down for three calls, which opens
# its breaker; then it works for the three calls that test it, and for two more.
SCHEDULES = {
    READING_MODEL: ("429", "fine", "drop", "fine"),
    GENERAL_MODEL: ("500", "500", "500", "fine", "fine", "fine", "fine", "fine"),
}

# The limit of one attempt, in seconds; an answer takes about five.
ATTEMPT_S = 10.0
# A thread cannot be stopped, so the call in it ends before the attempt does, in seconds.
CALL_S = 8.0


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """
    An agent, and a question for it.

    Attributes:
        name: The agent.
        title: The question in two or three words.
        prompt: The question.
        description: What a person will see, by schedule.
    """

    name: str
    title: str
    prompt: str
    description: str


PROMPTS = (
    Prompt(
        "reader",
        "Ask the reader",
        "Why did the cable of 1858 fail, and what became of the lost cable of 1865?",
        "Is told to wait, is cut off in mid-sentence, and goes on from what was saved.",
    ),
    Prompt(
        "summarizer",
        "Summarise",
        "Summarise the lights of Eddystone.",
        "Shares the general model; while that is down, a stand-in without a model answers.",
    ),
    Prompt(
        "keywords",
        "Find keywords",
        "Which words matter in the text on circuit breakers?",
        "Shares the general model, and has no stand-in: while that is down, it is refused.",
    ),
    Prompt(
        "writer",
        "Write an article",
        "Write about the Eddystone towers of Winstanley, Rudyerd and Smeaton.",
        "Works in a process of its own; kill it, and another one goes on from what was saved.",
    ),
)


def declare(gateway: Gateway, *, model: AsyncOpenAI, plain_model: OpenAI) -> None:
    """
    Declare the agents.

    Args:
        gateway: Where they are declared.
        model: The client for agents that are coroutines.
        plain_model: The client for the agent that is a plain function.
    """

    @gateway.agent(
        "reader",
        timeout=ATTEMPT_S,
        max_attempts=3,
        upstream="model",
        features=["answers from the library"],
    )
    async def reader(task: Task, question: str) -> str:
        """Answer a question about one of the texts, with a quotation."""
        task.plan("find", "quote", "answer")
        text = find(question)
        found = task.preserved.steps.get("find")
        if found is None:
            task.progress(0.1, "Looking for the place")
            found = reading.passages(question, text.body, 3)
            task.preserve("find", found)
        quotation = task.preserved.steps.get("quote")
        if quotation is None:
            task.progress(0.2, "Choosing a quotation")
            completion = await model.chat.completions.create(
                model=READING_MODEL,
                messages=conversation("Quote one sentence.", question, " ".join(found)),
            )
            quotation = completion.choices[0].message.content
            task.preserve("quote", quotation)
        task.progress(0.4, "Answering")
        answer = await tell(
            model, task, READING_MODEL, conversation("Answer the question.", question, text.body)
        )
        return f"{answer}\n\n“{quotation}” ({text.title})"

    def first_sentences(task: Task, question: str) -> str:
        """Answer for the summarizer, without any model."""
        return reading.first_sentences(find(question).body)

    @gateway.agent(
        "summarizer",
        timeout=ATTEMPT_S,
        max_attempts=1,  # A simple answer now is better than a good one later.
        fallback=first_sentences,
        upstream="model",
        breaker="model",
        features=["summaries"],
    )
    async def summarizer(task: Task, question: str) -> str:
        """Summarise one of the texts."""
        return await tell(
            model,
            task,
            GENERAL_MODEL,
            conversation("Summarise the text.", question, find(question).body),
        )

    @gateway.agent(
        "keywords",
        timeout=ATTEMPT_S,
        max_attempts=4,
        upstream="model",
        breaker="model",
        features=["keywords"],
    )
    def keywords(task: Task, question: str) -> str:
        """Name the words that matter in one of the texts."""
        completion = plain_model.chat.completions.create(
            model=GENERAL_MODEL,
            messages=conversation("Name the keywords, as JSON.", question, find(question).body),
            timeout=CALL_S,
        )
        return ", ".join(_words(completion.choices[0].message.content or ""))


async def tell(
    model: AsyncOpenAI,
    task: Task,
    model_name: str,
    asked: list[ChatCompletionMessageParam],
    *,
    begun: str | None = None,
) -> str:
    """
    Stream an answer to the user, after the part that an earlier attempt has streamed.

    Args:
        model: The client.
        task: The task that the answer is for.
        model_name: The model to call.
        asked: The conversation so far.
        begun: The part of this answer that exists; None: all text that the task has preserved.

    Returns:
        The whole answer, its beginning included.
    """
    text = task.preserved.text if begun is None else begun
    if text:
        asked = [*asked, {"role": "assistant", "content": text}]
    stream = await model.chat.completions.create(model=model_name, messages=asked, stream=True)
    async for chunk in stream:
        word = chunk.choices[0].delta.content or ""
        task.append(word)
        text += word
    return text


def conversation(asked: str, question: str, text: str) -> list[ChatCompletionMessageParam]:
    """Make a conversation: what to do, the question, and the text that the question is about."""
    return [
        {"role": "system", "content": asked},
        {"role": "user", "content": f"{question}{TEXT_MARK}{text}"},
    ]


def _words(answer: str) -> Sequence[str]:
    try:
        return [str(word) for word in json.loads(answer)["keywords"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidResponse("the model was asked for keywords as JSON") from error
