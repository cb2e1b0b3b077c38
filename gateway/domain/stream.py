"""
Positions in the log, and whether a reader that was away can resume.

Offsets strictly grow within one epoch; an epoch names one log for its whole life. A reader
resumes only when its epoch is the log's and everything after its offset is still kept:
half a replay is worse than none, since the reader could not tell that it is half.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from gateway.domain.errors import InvalidParams

__all__ = ["OFFSET_MAX", "Position", "Since", "parse_position", "resume_after"]

# Offsets are signed 64-bit integers.
OFFSET_MAX = 2**63 - 1

Since = Literal["start"] | None


@dataclasses.dataclass(frozen=True, slots=True)
class Position:
    """A place in one log: the reader has seen everything up to and including ``offset``."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    def as_dict(self) -> dict[str, object]:
        """Give the position as it stands on the wire."""
        return {"epoch": self.epoch, "offset": self.offset}


def parse_position(text: str, *, epoch: str, field: str) -> Position:
    """
    Read ``EPOCH:OFFSET``, or a bare offset in the log named ``epoch``.

    Args:
        text: What the caller sent.
        epoch: The log that a bare offset belongs to.
        field: Name of the parameter, for the error.

    Raises:
        InvalidParams: If it is neither, or the offset is not within 0 and 2**63 - 1.
    """
    name, colon, digits = text.rpartition(":")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):
        raise InvalidParams(f"{field} has to be EPOCH:OFFSET or an offset", field=field)
    offset = int(digits)
    if offset > OFFSET_MAX:
        raise InvalidParams(f"{field} has an offset over {OFFSET_MAX}", field=field)
    return Position(name if colon else epoch, offset)


def resume_after(since: Position, *, epoch: str, oldest: int, head: int) -> bool:
    """
    Tell whether a reader at ``since`` can resume without missing an entry.

    Args:
        since: The last position the reader has seen.
        epoch: The log's epoch.
        oldest: The smallest offset still kept; ``head + 1`` when nothing is.
        head: The newest offset.
    """
    return since.epoch == epoch and oldest - 1 <= since.offset <= head
