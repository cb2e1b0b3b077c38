"""
The mode: what the gateway takes on now, folded from the log.

    normal      everything
    degraded    no tasks of priority 6 to 10; when there is too much to do, or by an operator
    read_only   no new tasks; what was accepted goes on; by an operator
    draining    the same, before a restart; by an operator

A gateway that is told to end is draining as well, whatever the log says: that is its own affair.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gateway.domain.facts import ModeChanged

__all__ = ["DEGRADED_PRIORITY_MAX", "Mode", "refusal"]

# The least urgent tasks that a degraded gateway takes.
DEGRADED_PRIORITY_MAX = 5


@dataclasses.dataclass(slots=True)
class Mode:
    """
    The mode as of now.

    Attributes:
        name: ``normal``, ``degraded``, ``read_only`` or ``draining``.
        reason: ``start``, ``overload``, or ``operator``.
        by: The agent_id of the node that has measured the overload; None: nobody did.
        since: When it began, in seconds since the Unix epoch; 0: with the log.
        degradation_id: Of the degradation that it is; None: the mode is normal.
        error_id: Of the failure that it is; None: the mode is normal.
        last_offset: Of its newest entry; 0: there is none.
        note: Why, in the words of the operator who set it, for operators; None: none were given.
    """

    name: str = "normal"
    reason: str = "start"
    by: str | None = None
    since: float = 0.0
    degradation_id: str | None = None
    error_id: str | None = None
    last_offset: int = 0
    note: str | None = None

    def apply(self, event: Mapping[str, Any], fact: object, *, at: float, offset: int) -> None:
        """Fold one entry about the mode."""
        self.last_offset = offset
        if event["type"] == "mode_changed":
            self.name, self.reason, self.since = event["mode"], event["reason"], at
            changed = fact if isinstance(fact, ModeChanged) else ModeChanged()
            self.by, self.note = changed.by, changed.note
            self.degradation_id = self.error_id = None
        elif event["type"] == "graceful_degradation":
            self.degradation_id, self.error_id = event["degradation_id"], event["error_id"]


def refusal(mode: str, priority: int) -> str | None:
    """Tell why a new task of this priority is not taken in this mode; None: it is."""
    if mode == "degraded":
        return "degraded_mode" if priority > DEGRADED_PRIORITY_MAX else None
    return None if mode == "normal" else mode
