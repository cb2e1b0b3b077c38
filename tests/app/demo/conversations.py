"""Conversations as the demonstration's agents have them with the model."""

from __future__ import annotations

from typing import Any

from gateway.app.demo import library
from gateway.app.demo.model import TEXT_MARK


def conversation(task: str, question: str = "", begun: str | None = None) -> list[dict[str, Any]]:
    """
    Ask for ``task`` on the text that the question is about.

    ``begun`` is the beginning of the assistant's answer; None: it has not begun.
    """
    text = library.find(question).body
    messages = [
        {"role": "system", "content": task},
        {"role": "user", "content": f"{question}{TEXT_MARK}{text}"},
    ]
    return messages if begun is None else [*messages, {"role": "assistant", "content": begun}]
