"""
Once: what is published under an idempotency key is in the log once, however often it is sent.

The same event of the same caller under the same key has a log subject of its own, of which the log
takes one entry: also when it is sent to two nodes at the same moment, or again after an append that
got no answer. The key counts for as long as the log keeps the entry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.domain.access import Caller
from gateway.domain.errors import ExpectationFailed, Unavailable
from gateway.domain.stream import Position
from gateway.execution.record.intake import Intake
from gateway.ports import Draft

__all__ = ["Once", "subject_of"]

# When the same event may be sent again, in seconds, after one that cannot be read yet.
AGAIN_AFTER_S = 1.0


def subject_of(key: str | None, said: Mapping[str, Any], caller: Caller) -> str | None:
    """Name the log subject of what a caller publishes under a key; None: there is no key."""
    if key is None:
        return None
    asked = orjson.dumps((caller.user_id, key, said), option=orjson.OPT_SORT_KEYS)
    return f"published/{hashlib.sha256(asked).hexdigest()}"


class Once:
    """Appends what is published, and answers with what was appended."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._log = intake.log

    async def answered(self, subject: str | None) -> dict[str, Any] | None:
        """Give the answer that there was before; None: there was none, or there is no key."""
        offset = 0 if subject is None else self._log.last_offset(subject)
        return await self._answer_at(offset) if offset else None

    async def append(
        self, draft: Draft, subject: str | None, *, event_id: str, error_id: str | None
    ) -> dict[str, Any]:
        """
        Append an event, or find that it is there.

        Args:
            subject: As ``subject_of`` names it.
            event_id: The event's, for the answer, as ``error_id``.

        Raises:
            Unavailable: If the log does not answer, or cannot say yet what is there.
        """
        if subject is None:
            return self._answer(await self._intake.append([draft]), event_id, error_id)
        only = [draft._replace(subject=subject)]
        try:
            offset = await self._intake.append(only, expected={subject: 0})
        except ExpectationFailed as lost:
            if (answer := await self._answer_at(lost.actual)) is None:
                message = "this is being published already; ask again under the same key"
                raise Unavailable(message, retry_after=AGAIN_AFTER_S) from lost
            return answer
        return self._answer(offset, event_id, error_id)

    async def _answer_at(self, offset: int) -> dict[str, Any] | None:
        entries = await self._log.read(after=offset - 1, topics=None, limit=1, until=offset)
        if not entries:
            return None  # this node has not read it yet, or the log does not keep it any more
        event = orjson.loads(entries[0].public)
        return self._answer(offset, event["event_id"], event.get("error_id"))

    def _answer(self, offset: int, event_id: str, error_id: str | None) -> dict[str, Any]:
        position = Position(self._log.epoch, offset).as_dict()
        return {"event_id": event_id, "position": position, "error_id": error_id}
