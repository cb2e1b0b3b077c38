"""
What an attempt has finished so far: steps and streamed text, kept for the next attempt and for
the people who wait.

One task keeps at most ``bytes_max``. What no longer fits is not kept, and says so: text is cut
at the bound (``truncated``), a step that does not fit is named in ``evicted``. What is already
kept stays, since somebody may be looking at it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["Kept", "Preserved"]


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


class Preserved:
    """
    The preserved part of one task.

    Args:
        bytes_max: Bytes kept at the most, steps as JSON and text as UTF-8 together.
    """

    __slots__ = ("_chunks", "bytes_max", "evicted", "pieces", "size", "sizes", "steps", "truncated")

    def __init__(self, *, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.steps: dict[str, Any] = {}
        self.sizes: dict[str, int] = {}
        self.evicted: list[str] = []
        self.truncated = False
        self.pieces = 0
        self.size = 0
        self._chunks: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.steps or self.text or self.evicted)

    @property
    def text(self) -> str:
        """All text kept."""
        if len(self._chunks) > 1:
            self._chunks = ["".join(self._chunks)]
        return self._chunks[0] if self._chunks else ""

    def kept(self) -> Kept:
        """A copy that an attempt may hold."""
        return Kept(dict(self.steps), self.text)

    def add_text(self, text: str) -> None:
        """Keep streamed text, as far as it fits."""
        encoded = text.encode("utf-8", "surrogatepass")
        room = self.bytes_max - self.size
        if len(encoded) > room:
            self.truncated = True
            # Cut between characters: what does not decode at the end is half of one.
            encoded = encoded[: max(room, 0)]
            text = encoded.decode("utf-8", "ignore")
        if text:
            self._chunks.append(text)
            self.size += len(encoded)

    def add_step(self, name: str, data: Any) -> None:
        """Keep a finished step; the same name again replaces it."""
        size = len(name.encode()) + len(json.dumps(data, ensure_ascii=False).encode())
        room = self.bytes_max - self.size + self.sizes.get(name, 0)
        if size > room:
            self.truncated = True
            if name not in self.evicted:
                self.evicted.append(name)
            return
        self.size += size - self.sizes.get(name, 0)
        self.steps[name] = data
        self.sizes[name] = size
        if name in self.evicted:
            self.evicted.remove(name)

    def copy(self) -> Preserved:
        """A copy that grows apart from this one."""
        twin = Preserved(bytes_max=self.bytes_max)
        twin.steps, twin.sizes = dict(self.steps), dict(self.sizes)
        twin.evicted, twin.truncated = list(self.evicted), self.truncated
        twin.pieces, twin.size, twin._chunks = self.pieces, self.size, [self.text]
        return twin

    def progress(self, reported: float | None, plan: tuple[str, ...]) -> float:
        """How far the work is, 0 to 1: as reported, else the share of planned steps kept."""
        if reported is not None:
            return reported
        return (len(plan) - len(self.lost(plan))) / len(plan) if plan else 0.0

    def evict(self) -> int:
        """Let everything go, for a bound over all tasks; returns the bytes freed."""
        freed, self.size = self.size, 0
        self.truncated = self.truncated or freed > 0
        self.evicted.extend(name for name in self.steps if name not in self.evicted)
        self.steps, self.sizes, self._chunks = {}, {}, []
        return freed

    def lost(self, plan: tuple[str, ...]) -> list[str]:
        """The planned steps that are not kept."""
        return [step for step in plan if step not in self.steps]

    def sha256(self) -> str:
        """A checksum over what is kept: canonical JSON of steps and text."""
        canonical = json.dumps(
            {"data": self.steps, "text": self.text},
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=True,
        )
        return hashlib.sha256(canonical.encode()).hexdigest()
