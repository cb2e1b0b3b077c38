"""Tries: the record of an event that is told until it is in the log, and is to be there once."""

from __future__ import annotations

import dataclasses

__all__ = ["Tries"]


@dataclasses.dataclass(slots=True, eq=False)
class Tries:
    """
    The tries of one event. Two records are never equal: each stands for an event of its own.

    A try that got no answer may have arrived all the same. So the reporter gives the same record
    with each try, and the side that appends sets ``landed`` when it sees that a try has arrived.

    Attributes:
        event_ids: Ids of the tries that may still turn up.
        landed: Whether a try is in the log; then there is nothing left to tell.
    """

    event_ids: list[str] = dataclasses.field(default_factory=list)
    landed: bool = False
