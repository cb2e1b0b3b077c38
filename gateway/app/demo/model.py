"""
The model: answers a conversation from the text that it contains.

It is no language model. The system message says which of four things it does with the text. The
same conversation gets the same answer, so that a retried call can be compared with the failed one.
If the conversation ends with the assistant's words, the answer continues after them, as providers
do it with a prefilled answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.app.demo import reading

__all__ = ["TEXT_MARK", "reply", "words_of"]

# Separates the question from the text in the user's message.
TEXT_MARK = "\n\nText:\n\n"


def reply(messages: Sequence[Mapping[str, Any]]) -> str:
    """Answer a conversation; ``messages`` are those of OpenAI's chat completions, at least one."""
    asked = "".join(_content(m) for m in messages if m.get("role") == "user")
    task = " ".join(_content(m) for m in messages if m.get("role") == "system").lower()
    whole = _whole(task, asked)
    last = messages[-1]
    return _after(_content(last), whole) if last.get("role") == "assistant" else whole


def words_of(text: str) -> list[str]:
    """Cut a text into the pieces that are streamed: each a word and the space after it."""
    pieces = text.split(" ")
    return [f"{piece} " for piece in pieces[:-1]] + [pieces[-1]] if text else []


def _whole(task: str, asked: str) -> str:
    question, _, text = asked.rpartition(TEXT_MARK)
    if "keywords" in task:
        return orjson.dumps({"keywords": reading.keywords(text)}).decode()
    if "summar" in task:
        return reading.summary(text)
    if "quote" in task:
        return reading.quote(question, text)
    return reading.answer(question, text)


def _after(begun: str, whole: str) -> str:
    if whole.startswith(begun):
        return whole[len(begun) :]
    # Another model's beginning: answer with the sentences that it does not contain.
    rest = [sentence for sentence in reading.sentences(whole) if sentence not in begun]
    return " ".join(["", *rest]) if rest else ""


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content if isinstance(part, dict))
