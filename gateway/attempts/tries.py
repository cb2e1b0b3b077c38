"""Tries: the plain record of an event that is told until it is in the log, and is there once."""

from __future__ import annotations

import dataclasses

__all__ = ["Tries"]


@dataclasses.dataclass(slots=True, eq=False)
class Tries:
    """
    The tries of one event.

    A try that got no answer may have arrived all the same. The reporter gives the same record
    with each try; the side that appends sets ``landed`` when it sees that one of them did.

    Attributes:
        event_ids: Of the tries that may still turn up.
        landed: Whether one of them is in the log; then there is nothing left to tell.
    """

    event_ids: list[str] = dataclasses.field(default_factory=list)
    landed: bool = False
