"""
Refusals: a request is not taken, and its user is told why, without a flood of its own.

The request itself is answered each time. The event is for everyone else who shows that user's
work: the first refusal is told at once, those of the next second together in one event.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools

from gateway.domain.agent import AgentPolicy
from gateway.domain.errors import RequestError, Unavailable
from gateway.domain.meters import Meters
from gateway.execution.monitor import Monitor
from gateway.execution.record.intake import Intake
from gateway.execution.record.refusal_drafts import RefusalDrafts

__all__ = ["TOLD_EVERY_S", "TOLD_MAX", "Refusals"]

# A user is told of one reason at most this often, in seconds.
TOLD_EVERY_S = 1.0
# So many pairs of user and reason are remembered; at the bound further ones are answered only.
TOLD_MAX = 10_000


@dataclasses.dataclass(slots=True)
class _Untold:
    """Refusals since the last event: how many, and what the newest one was."""

    count: int = 0
    policy: AgentPolicy | None = None
    retry_after_s: float = 0.0
    error_id: str | None = None


class Refusals:
    """
    Tells users of requests that are not taken.

    Args:
        drafts: Makes the event of a refusal.
        monitor: Calls when the next event about a user and reason may be told.
        meters: Count every refusal, told or not.
    """

    def __init__(
        self, intake: Intake, drafts: RefusalDrafts, monitor: Monitor, meters: Meters
    ) -> None:
        self._intake = intake
        self._drafts = drafts
        self._monitor = monitor
        self._meters = meters
        self._untold: dict[tuple[str, str], _Untold] = {}

    async def told(
        self,
        error: RequestError,
        *,
        reason: str,
        user_id: str,
        policy: AgentPolicy,
        error_id: str | None = None,
    ) -> RequestError:
        """
        Tell a user that a request is not taken, and give the error to raise.

        Args:
            error: Says when it is worth asking again.
            reason: As ``request_rejected`` has it.
            policy: Of the agent that was asked for.
            error_id: Of the breaker's failure; None: no failure is the reason.
        """
        self._meters.refused[reason] += 1
        key = (user_id, reason)
        known = self._untold.get(key)
        retry_after_s = error.retry_after or 0.0
        if known is None and len(self._untold) < TOLD_MAX:
            self._untold[key] = _Untold()
            self._monitor.at(self._monitor.now + TOLD_EVERY_S, functools.partial(self._tell, key))
            draft = self._drafts.rejected(
                reason=reason,
                user_id=user_id,
                policy=policy,
                retry_after_s=retry_after_s,
                error_id=error_id,
                count=1,
            )
            # Without the store nobody else can be told, and the request is refused all the same.
            with contextlib.suppress(Unavailable):
                await self._intake.append([draft])
        elif known is not None:
            known.count += 1
            known.policy, known.retry_after_s, known.error_id = policy, retry_after_s, error_id
        return error

    def clear(self) -> None:
        """Forget what was told: the log is another one."""
        self._untold.clear()

    async def _tell(self, key: tuple[str, str]) -> None:
        untold = self._untold.pop(key, None)
        if untold is None or untold.policy is None:
            return
        user_id, reason = key
        self._untold[key] = _Untold()
        self._monitor.at(self._monitor.now + TOLD_EVERY_S, functools.partial(self._tell, key))
        draft = self._drafts.rejected(
            reason=reason,
            user_id=user_id,
            policy=untold.policy,
            retry_after_s=untold.retry_after_s,
            error_id=untold.error_id,
            count=untold.count,
        )
        with contextlib.suppress(Unavailable):
            await self._intake.append([draft])
