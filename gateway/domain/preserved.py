"""
What an attempt has finished so far: steps and streamed text, kept for the next attempt and for
the user who waits.

One task keeps at most ``bytes_max``. What no longer fits is not kept, and the loss is visible:
text is cut at the bound (``truncated``) and ends there, a step that does not fit is named in
``evicted``. What is already kept stays, since a user may have seen it.

Sizes are those in the JSON of an event, escapes included: quotes and newlines take two bytes
there, and an event has a bound.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["EVICTED_MAX", "Kept", "Preserved", "beginning"]

# So many steps that did not fit are named; that something is missing, ``truncated`` says anyway.
EVICTED_MAX = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """
    What an agent reads of earlier attempts, as ``task.preserved``.

    Attributes:
        steps: Finished steps by name.
        text: Text streamed so far.
    """

    steps: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    text: str = ""

    def __bool__(self) -> bool:
        return bool(self.steps or self.text)


@dataclasses.dataclass(slots=True, kw_only=True, eq=False)
class Preserved:
    """
    The preserved part of one task.

    Attributes:
        bytes_max: How many bytes are kept at most, steps and text together, as JSON.
        steps: Finished steps by name.
        sizes: Bytes of each step, by name.
        evicted: Names of steps that did not fit, at most ``EVICTED_MAX``.
        truncated: Whether anything did not fit.
        pieces: Number of the newest ``partial_result``.
        size: Bytes kept now.
        chunks: The text, in the parts in which it came.
        text_ended: Whether the text was cut, so that later text is not kept.
    """

    bytes_max: int
    steps: dict[str, Any] = dataclasses.field(default_factory=dict)
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    evicted: list[str] = dataclasses.field(default_factory=list)
    truncated: bool = False
    pieces: int = 0
    size: int = 0
    chunks: list[str] = dataclasses.field(default_factory=list)
    text_ended: bool = False

    def __bool__(self) -> bool:
        return bool(self.steps or self.text or self.evicted)

    @property
    def text(self) -> str:
        """All text that is kept."""
        if len(self.chunks) > 1:
            self.chunks = ["".join(self.chunks)]
        return self.chunks[0] if self.chunks else ""

    def kept(self) -> Kept:
        """Give a copy for an attempt to hold."""
        return Kept(dict(self.steps), self.text)

    def add_text(self, text: str) -> None:
        """Keep streamed text, as much of it as fits."""
        if self.text_ended:
            return
        room = self.bytes_max - self.size
        size = _text_size(text)
        if size > room:
            # The text ends here: later text would follow a gap that no reader can see.
            self.truncated = self.text_ended = True
            text = _cut(text, room)
            size = _text_size(text)
        if text:
            self.chunks.append(text)
            self.size += size

    def drop_text(self) -> None:
        """Keep no text that came before now: it begins anew."""
        self.size -= _text_size(self.text)
        self.chunks, self.text_ended = [], False
        # What was missing of the text is void as well.
        self.truncated = bool(self.evicted)

    def add_step(self, name: str, data: Any) -> None:
        """Keep a finished step; a step of the same name is replaced, if the new one fits."""
        # The name's quotes, a colon and a comma.
        size = _text_size(name) + 4 + len(json.dumps(data, ensure_ascii=False).encode())
        room = self.bytes_max - self.size + self.sizes.get(name, 0)
        if size > room:
            self.truncated = True
            self._miss(name)
            return
        self.size += size - self.sizes.get(name, 0)
        self.steps[name] = data
        self.sizes[name] = size
        if name in self.evicted:
            self.evicted.remove(name)

    def copy(self) -> Preserved:
        """Copy this part, so that what is added to one is not in the other."""
        twin = Preserved(bytes_max=self.bytes_max)
        twin.steps, twin.sizes = dict(self.steps), dict(self.sizes)
        twin.evicted, twin.truncated = list(self.evicted), self.truncated
        twin.pieces, twin.size, twin.chunks = self.pieces, self.size, [self.text]
        twin.text_ended = self.text_ended
        return twin

    def progress(self, reported: float | None, plan: tuple[str, ...]) -> float:
        """Tell how far the work is, 0 to 1: as reported, else the share of planned steps kept."""
        if reported is not None:
            return reported
        return (len(plan) - len(self.lost(plan))) / len(plan) if plan else 0.0

    def evict(self) -> int:
        """
        Drop everything that is kept, for a bound over all tasks.

        Returns:
            The bytes that were freed.
        """
        freed, self.size = self.size, 0
        self.truncated = self.truncated or freed > 0
        self.text_ended = self.text_ended or bool(self.chunks)
        for name in self.steps:
            self._miss(name)
        self.steps, self.sizes, self.chunks = {}, {}, []
        return freed

    def lost(self, plan: tuple[str, ...]) -> list[str]:
        """List the planned steps that are not kept."""
        return [step for step in plan if step not in self.steps]

    def sha256(self) -> str:
        """Give a checksum of what is kept: over the canonical JSON of steps and text."""
        canonical = json.dumps(
            {"data": self.steps, "text": self.text},
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=True,
        )
        return hashlib.sha256(canonical.encode()).hexdigest()

    def _miss(self, name: str) -> None:
        if name not in self.evicted and len(self.evicted) < EVICTED_MAX:
            self.evicted.append(name)


def beginning(text: str, *, bytes_max: int) -> str:
    """
    Give as much of a text as a task that keeps ``bytes_max`` can have a use for.

    That is one character more than fits, by which ``add_text`` sees that there was more.
    """
    if _text_size(text) <= bytes_max:
        return text
    return text[: len(_cut(text, bytes_max)) + 1]


def _text_size(text: str) -> int:
    """Count the bytes of a text inside JSON, without its quotes."""
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2


def _cut(text: str, room: int) -> str:
    """Give the longest beginning of a text that takes at most ``room`` bytes."""
    fits, over = 0, len(text) + 1
    while over - fits > 1:
        middle = (fits + over) // 2
        if _text_size(text[:middle]) <= room:
            fits = middle
        else:
            over = middle
    return text[:fits]
