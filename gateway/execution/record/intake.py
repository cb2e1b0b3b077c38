"""
The one write path: what happened is made an event here, checked, encoded once and appended.

An event that does not comply with its schema never enters the log. Whoever wrote it is told
which field breaks which rule; for our own events that is a defect, and it is as loud.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

import event_schemas
from gateway.domain.errors import InvalidEvent, StoreUnavailable, TooLarge, Unavailable
from gateway.domain.events import BOOKKEEPING, topics_of
from gateway.ports import Clock, Draft, EventLog, IdSource
from gateway.values import EVENT_BYTES_MAX

__all__ = ["SCHEMA_VERSION", "Intake"]

SCHEMA_VERSION = "1"

# A result may fill an event alone; this is what the rest of the event may add to it.
ENVELOPE_BYTES_MAX = 32 * 1024

# How soon a caller may come back when the store did not take what it gave.
STORE_RETRY_AFTER_S = 1.0


class Intake:
    """
    Makes drafts and appends them.

    Args:
        log: Where they go.
        clock: For ids and waiting.
        ids: For event ids.
    """

    def __init__(self, log: EventLog, clock: Clock, ids: IdSource) -> None:
        self.log = log
        self.clock = clock
        self.ids = ids

    def draft(
        self,
        type: str,
        subject: str,
        /,  # a notification has a subject of its own
        *,
        message: str,
        severity: str = "info",
        user_id: str | None = None,
        agent_name: str | None = None,
        task_id: str | None = None,
        attempt: int | None = None,
        detail: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
        **own: Any,
    ) -> Draft:
        """
        Make one event.

        Args:
            type: The event's type.
            subject: What it is about, for decisions.
            detail: For operators only, redacted already.
            state: What the folds need and nobody sees.
            **own: The type's own fields, failure fields, and optional envelope fields.

        Raises:
            InvalidEvent: If it does not comply with the type's schema.
            TooLarge: If it is over the bound.
        """
        event: dict[str, Any] = {
            "type": type,
            "schema_version": SCHEMA_VERSION,
            "event_id": self.ids.uuid7(),
            "severity": severity,
            "user_id": user_id,
            "agent_name": agent_name,
            "task_id": task_id,
            "attempt": attempt,
            "message": message,
            **own,
        }
        validator = event_schemas.validator(type, stamped=False)
        if not validator.is_valid(event):
            violation = validator.violations(event, limit=1)[0]
            raise InvalidEvent(
                f"{type}: {violation.field or 'the event'}: {violation.message} "
                f"(rule {violation.rule}); see /schemas/{type}.json",
                field=violation.field or None,
            )
        body = orjson.dumps(event)
        if len(body) > EVENT_BYTES_MAX + ENVELOPE_BYTES_MAX:
            raise TooLarge(
                f"{type}: the event has {len(body)} bytes, it may have {EVENT_BYTES_MAX}"
            )
        return Draft(
            subject=subject,
            type=type,
            topics=topics_of(event),
            operators_only=type in BOOKKEEPING,
            body=body,
            detail=None if detail is None else orjson.dumps(detail),
            state=None if state is None else orjson.dumps(state),
        )

    async def append(
        self, drafts: Sequence[Draft], *, expected: Mapping[str, int] | None = None
    ) -> int:
        """
        Append, all or nothing; returns the offset of the last one.

        Raises:
            ExpectationFailed: The decision was based on something that has changed.
            Unavailable: The store did not take it.
        """
        try:
            return await self.log.append(drafts, expected=expected)
        except StoreUnavailable as error:
            written = (
                "whether this was written is not known: ask again under the same idempotency key"
                if error.in_doubt
                else "nothing was written"
            )
            raise Unavailable(
                f"the store does not answer; {written}",
                retry_after=error.retry_after or STORE_RETRY_AFTER_S,
            ) from error
