"""
Audit: who has cancelled, retried, shut down or discarded what, and which sign-ins were refused.

The rule: a record says what has happened, so it follows the action; the log names it as well when
the store is away just then. Refused sign-ins are many or none: the first for a reason is recorded
at once, those of the next minute together in one record.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import Unavailable
from gateway.execution.monitor import Monitor
from gateway.execution.record.audit_drafts import AuditDrafts
from gateway.execution.record.intake import Intake
from gateway.ports import Draft
from gateway.protocol.operations import Operation

__all__ = ["TOGETHER_S", "Audit"]

# For how long refused sign-ins are counted together, in seconds.
TOGETHER_S = 60.0

logger = logger_of(__name__)


class Audit:
    """
    Writes audit records.

    Args:
        drafts: Makes them.
        monitor: Calls when the next record of refused sign-ins is due.
    """

    def __init__(self, intake: Intake, drafts: AuditDrafts, monitor: Monitor) -> None:
        self._intake = intake
        self._drafts = drafts
        self._monitor = monitor
        # How many sign-ins were refused since the last record, by reason; the reasons are few,
        # and ours.
        self._refused: dict[str, int] = {}

    async def taken(self, operation: Operation, params: Mapping[str, Any], *, by: str) -> None:
        """Record that the user ``by`` has carried out an operation."""
        named = re.search(r"{(\w+)}", operation.path)
        target = params.get(named[1]) if named else None
        is_task = named is not None and named[1] == "task_id"
        await self._append(
            self._drafts.taken(
                operation.name, by=by, target=target, task_id=target if is_task else None
            ),
            f"{by} did {operation.name} {target or ''}",
        )

    async def hold_lifted(self, upstream: str) -> None:
        """
        Let an upstream be called again at once: the record of it is what ends the hold.

        Raises:
            Unavailable: If the store does not take it.
        """
        await self._intake.append([self._drafts.hold_lifted(upstream)])

    def sign_in_refused(self, reason: str) -> None:
        """Count a refused sign-in; ``reason`` is one of a few sentences."""
        if reason in self._refused:
            self._refused[reason] += 1
        else:
            self._refused[reason] = 1
            self._monitor.soon(functools.partial(self._tell, reason))

    def clear(self) -> None:
        """Forget what was counted: the log is another one."""
        self._refused.clear()

    async def _tell(self, reason: str) -> None:
        if count := self._refused.pop(reason, 0):
            self._refused[reason] = 0
            self._monitor.at(self._monitor.now + TOGETHER_S, functools.partial(self._tell, reason))
            await self._append(
                self._drafts.sign_in_refused(reason, count), f"{count} sign-ins refused: {reason}"
            )

    async def _append(self, draft: Draft, told: str) -> None:
        try:
            await self._intake.append([draft])
        except Unavailable:
            logger.warning("not in the log, since the store is away: %s", told)
