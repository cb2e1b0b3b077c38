"""
The one write path: an event is made here, checked, encoded once and appended.

An event that does not comply with its schema never enters the log. The writer is told which
field breaks which rule. For an event of our own that is a defect, and it is as loud.

An append has three ends: the event is in the log, it is not, or nothing is known (decision 13).
``in_doubt`` looks after the third.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

import event_schemas
from gateway.attempts.tries import Tries
from gateway.domain.errors import (
    ExpectationFailed,
    InvalidEvent,
    StoreUnavailable,
    TooLarge,
    Unavailable,
)
from gateway.domain.events import BOOKKEEPING, topics_of
from gateway.domain.facts import Fact, to_json
from gateway.domain.redaction import Redacted, shortened
from gateway.execution.record.alerts import Alerts
from gateway.execution.record.in_doubt import InDoubt
from gateway.execution.record.journal import Journal
from gateway.ports import Clock, Draft, EventLog, IdSource
from gateway.values import EVENT_BYTES_MAX

__all__ = ["DETAIL_BYTES_MAX", "RACES_MAX", "Decision", "Intake", "expected", "require_valid"]

# A result alone may take EVENT_BYTES_MAX; the rest of its event may add this much.
ENVELOPE_BYTES_MAX = 32 * 1024

# What operators alone see of an event. A longer one is cut: it was written by whoever reports.
DETAIL_BYTES_MAX = 32 * 1024

# When a caller may come back after the store has not answered, unless the store says.
STORE_RETRY_AFTER_S = 1.0

# Each lost race means that another writer moved the subject on; this many in a row mean that
# something is wrong.
RACES_MAX = 16

# Drafts, and the offsets of their subjects that they are based on.
Decision = tuple[Sequence[Draft], Mapping[str, int]]


class Intake:
    """
    Makes drafts, appends them, and decides.

    Args:
        log: Takes the drafts.
        clock: Tells those that make drafts the time.
        ids: Gives the ids of events.
        in_doubt: Remembers what was appended without an answer.
        journal: Says in this process's log what was appended.
        alerts: Tells outside of what was appended; None: nothing is told there.
    """

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        ids: IdSource,
        in_doubt: InDoubt,
        journal: Journal,
        alerts: Alerts | None = None,
    ) -> None:
        self.log = log
        self.clock = clock
        self.ids = ids
        self.in_doubt = in_doubt
        self._journal = journal
        self._alerts = alerts or Alerts(None)

    def draft(
        self,
        type: str,
        subject: str,
        /,  # a notification has a subject of its own
        *,
        message: str,
        event_id: str | None = None,
        severity: str = "info",
        user_id: str | None = None,
        agent_name: str | None = None,
        task_id: str | None = None,
        attempt: int | None = None,
        detail: Redacted | None = None,
        fact: Fact | None = None,
        complies: bool = False,
        **own: Any,
    ) -> Draft:
        """
        Make one event, checked and encoded; nothing is appended yet.

        Args:
            type: The event's type.
            subject: The subject on which decisions about it exclude each other.
            event_id: Its id, from ``ids``, for a writer that has to know it; None: a new one.
            detail: For operators only; at most ``DETAIL_BYTES_MAX`` of it.
            fact: The hidden half, for the folds; None: the event says it all.
            complies: Whether it is known to comply, and is not checked again: it is made of a
                publication that does, whose schema has every rule of the event's.
            **own: The type's own fields, failure fields, and optional envelope fields.

        Raises:
            InvalidEvent: If the event does not comply with the type's schema.
            TooLarge: If the event has more bytes than an event may have.
        """
        event: dict[str, Any] = {
            "type": type,
            "schema_version": event_schemas.SCHEMA_VERSION,
            "event_id": event_id or self.ids.uuid7(),
            "severity": severity,
            "user_id": user_id,
            "agent_name": agent_name,
            "task_id": task_id,
            "attempt": attempt,
            "message": message,
            **own,
        }
        if not complies:
            require_valid(event_schemas.validator(type, stamped=False), type, event)
        body = orjson.dumps(event)
        bytes_max = EVENT_BYTES_MAX + ENVELOPE_BYTES_MAX
        if len(body) > bytes_max:
            raise TooLarge(f"{type}: the event has {len(body)} bytes, it may have {bytes_max}")
        return Draft(
            subject=subject,
            type=type,
            topics=topics_of(event),
            operators_only=type in BOOKKEEPING,
            body=body,
            detail=None if detail is None else _encoded(detail),
            state=None if fact is None else _exact(orjson.dumps(to_json(fact))),
        )

    async def append(
        self,
        drafts: Sequence[Draft],
        *,
        expected: Mapping[str, int] | None = None,
        tries: Tries | None = None,
        begins: bool = False,
    ) -> int:
        """
        Append, all or nothing, and return the offset of the last draft.

        When it returns, the folds of this node have applied the entries. Cancelling it leaves
        the append in doubt.

        Args:
            expected: Subject → the offset of its last entry that the decision was based on.
            tries: The record that the writer gives with each try of these drafts; None: the
                writer does not try again.
            begins: Whether the last draft is a beginning; see ``in_doubt``.

        Raises:
            ExpectationFailed: If another writer has moved a subject on; nothing is appended.
            Unavailable: If the store does not answer. The message says whether the drafts may
                be in the log.
        """
        if tries is not None:
            self.in_doubt.trying(drafts, tries)
        self._alerts.making(drafts)
        try:
            offset = await self.log.append(drafts, expected=expected)
        except ExpectationFailed:
            self._alerts.refused(drafts)
            raise
        except (StoreUnavailable, asyncio.CancelledError) as error:
            if begins:
                self.in_doubt.beginning(drafts[-1])
            if isinstance(error, StoreUnavailable):
                raise _unavailable(error) from error
            raise
        if tries is not None:
            self.in_doubt.taken(tries)
        self._journal.wrote(drafts)
        return offset

    async def decide(
        self,
        decide: Callable[[ExpectationFailed | None], Decision | None],
        *,
        about: str,
        tries: Tries | None = None,
    ) -> bool:
        """
        Read the folds, decide, append; begin again when another writer was first.

        Args:
            decide: Makes the decision from the folds as they are now. It is given the race that
                was lost before; None: this is the first round. It returns None when nothing has
                to be done. What it raises ends the loop.
            about: The subject of the decision, for the error message.
            tries: As ``append`` takes it. Once one of the tries has landed nothing is decided.

        Returns:
            Whether anything was appended.

        Raises:
            Unavailable: After ``RACES_MAX`` lost races, or if the store does not answer.
        """
        lost: ExpectationFailed | None = None
        for _ in range(RACES_MAX):
            if tries is not None and tries.landed:
                return False
            decision = decide(lost)
            if decision is None:
                return False
            drafts, expected = decision
            try:
                await self.append(drafts, expected=expected, tries=tries)
            except ExpectationFailed as race:
                lost = race
                continue
            return True
        raise Unavailable(f"{about} changes faster than it can be decided", retry_after=1.0)


def expected(subject: str, known: int, lost: ExpectationFailed | None) -> Mapping[str, int]:
    """
    Expect a subject to be as the folds know it.

    They may have forgotten what it is about (``known`` is 0), and the log may still know: then the
    race that was lost has told at which offset.
    """
    return {subject: lost.actual if lost is not None and not known else known}


def require_valid(validator: event_schemas.Validator, type: str, event: Mapping[str, Any]) -> None:
    """
    Go on only with an event that complies.

    Raises:
        InvalidEvent: With field and rule.
    """
    if validator.is_valid(event):
        return
    violation = validator.violations(event, limit=1)[0]
    raise InvalidEvent(
        f"{type}: {violation.field or 'the event'}: {violation.message} "
        f"(rule {violation.rule}); see /schemas/{type}.json",
        field=violation.field or None,
    )


def _encoded(detail: Redacted) -> bytes:
    encoded = orjson.dumps(detail)
    if len(encoded) > DETAIL_BYTES_MAX:
        encoded = orjson.dumps(shortened(orjson.loads(encoded), bytes_max=DETAIL_BYTES_MAX))
    return encoded


def _unavailable(error: StoreUnavailable) -> Unavailable:
    written = (
        "whether this was written is not known: ask again under the same idempotency key"
        if error.in_doubt
        else "nothing was written"
    )
    return Unavailable(
        f"the store does not answer; {written}",
        retry_after=error.retry_after or STORE_RETRY_AFTER_S,
    )


def _exact(encoded: bytes) -> bytes:
    """Copy what is kept: what orjson gives holds 4 KB at least, and counts as what it says."""
    return bytes(memoryview(encoded))
