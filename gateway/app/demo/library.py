"""The texts that the agents read. They come with the package, and each names its source."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources

from gateway.app.demo.reading import stems

__all__ = ["Text", "find", "texts"]


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """
    One text.

    Attributes:
        title: The first paragraph of its file.
        source: The second: where the text is from.
        body: The rest.
    """

    title: str
    source: str
    body: str


@functools.cache
def texts() -> tuple[Text, ...]:
    """Read all texts, in the order of their file names."""
    folder = importlib.resources.files("gateway.app.demo") / "texts"
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".txt")), key=lambda f: f.name
    )
    return tuple(
        Text(*file.read_text(encoding="utf-8").strip().split("\n\n", maxsplit=2)) for file in files
    )


def find(question: str) -> Text:
    """Find the text with most of a question's words; the first one when no text has any."""
    asked = stems(question)

    def hits(text: Text) -> int:
        titled, told = set(stems(text.title)), stems(text.body)
        return sum(told.count(word) + 10 * (word in titled) for word in asked)

    return max(texts(), key=hits)
