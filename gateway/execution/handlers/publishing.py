"""
Publishing: notifications, and the reports of a backend about its own work.

A report is completed from what is known. Type and code of a failure choose its sentences and
advice, unless the report has a ``user_message`` of its own; other text that the reporter wrote goes
to operators only (decision 6). A failure report that is refused still tells the user that something
failed: silence is the one thing not allowed.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import orjson

import event_schemas
from gateway.domain import messages, own_failures
from gateway.domain.access import Caller
from gateway.domain.agent import AgentPolicy
from gateway.domain.announcements import sentence
from gateway.domain.errors import (
    Conflict,
    InvalidEvent,
    NotFound,
    NotPermitted,
    RateLimitedRequest,
    RequestError,
    TooLarge,
)
from gateway.domain.events import BOOKKEEPING, LIFECYCLE, PUBLISHABLE_BY_AGENTS
from gateway.domain.names import is_name, is_user_id
from gateway.domain.preserved import Preserved
from gateway.domain.rates import Buckets
from gateway.domain.redaction import Redacted, clip, quoted, redact_text, redacted
from gateway.domain.settings import Settings
from gateway.domain.thread import THREAD_MAX, may_see
from gateway.domain.timestamps import rfc3339, seconds_of
from gateway.execution.handlers.once import Once, subject_of
from gateway.execution.handlers.params import Handler
from gateway.execution.handlers.reporters import Reporters
from gateway.execution.handlers.task_reports import TaskReports
from gateway.execution.record.failure_fields import Fields, recovered
from gateway.execution.record.intake import Intake, require_valid
from gateway.execution.record.policies import Policies
from gateway.execution.record.state import State
from gateway.execution.record.task_drafts import TaskDrafts
from gateway.ports import Draft
from gateway.values import EVENT_BYTES_MAX, measured, require_size

__all__ = ["Publishing"]

Report = Mapping[str, Any]

# Of a notification, as JSON.
PAYLOAD_BYTES_MAX = 64 * 1024
# What a user may publish at once, in bytes, before the rate of its bytes counts.
BURST_BYTES = 1024**2
# How much of a refused report operators are shown, in bytes.
REPORTED_BYTES_MAX = 16 * 1024
# How much of the names of its fields, where it cannot be shown itself.
REPORTED_NAMES_CHARS_MAX = 1_000
# Fields of ``recovered`` that the report's own sentence gives.
SAID = ("message", "user_message", "error_id")
# Parameters that are no part of any event.
NO_PART = ("agent_secret", "idempotency_key")
# Fields of a report that it does not have as its type's own.
NOT_OWN = ("type", "user_id", "agent_name", "message", "user_message", "error_id", "detail")
# A longer delay, in seconds, gives no time that RFC 3339 can write down.
DELAY_MAX_S = 1e9


class Publishing:
    """The operation ``event.publish``."""

    def __init__(
        self,
        *,
        state: State,
        intake: Intake,
        drafts: TaskDrafts,
        policies: Policies,
        tasks: TaskReports,
        reporters: Reporters,
        settings: Settings,
    ) -> None:
        self._once = Once(intake)
        self._state = state
        self._intake = intake
        self._clock = intake.clock
        self._drafts = drafts
        self._policies = policies
        self._tasks = tasks
        self._reporters = reporters
        self._settings = settings
        rate = settings.publish_bytes
        self._bytes = Buckets(rate=rate, burst=max(BURST_BYTES, rate)) if rate else None
        self.by_name: dict[str, Handler] = {"event.publish": self.publish}

    async def publish(self, params: Report, caller: Caller) -> Any:
        """
        Publish one event, and give its id and position.

        Raises:
            Conflict: If the thread that it answers in is full.
            Unavailable: If the log cannot say what was published under the same key.
            InvalidEvent: If it does not comply; with field and rule.
            InvalidParams: If it is no JSON.
            NameTaken: If it reports in the name of another user's agent.
            NotFound: If it ends a failure that is not open for this user, or answers what is not
                there.
            NotPermitted: If this caller may not publish that.
            RateLimitedRequest: If this user has published too many bytes.
            TooLarge: If it is over 256 KiB.
        """
        type = params["type"]
        if params.get("user_id") == "*":
            raise NotPermitted('only the gateway itself tells everybody ("*")', field="user_id")
        if type in LIFECYCLE or type in BOOKKEEPING:
            raise NotPermitted(f"only the gateway itself says {type}", field="type")
        event_id = self._intake.ids.uuid7()
        # Every call of a worker may carry its secret. It is no part of any event.
        said = {name: value for name, value in params.items() if name not in NO_PART}
        subject = subject_of(params.get("idempotency_key"), said, caller)
        if type == "notification":
            caller.require("events:write")
            if (answer := await self._once.answered(subject)) is not None:
                return answer
            draft, error_id = self._notification(said, caller, event_id), None
        elif type in PUBLISHABLE_BY_AGENTS:
            caller.require("agent")
            if params.get("task_id") is not None:
                _bounded(params)
                # Its term says which attempt it is about: it needs no key.
                own = {name: params[name] for name in params if name != "idempotency_key"}
                return await self._tasks.take(own, caller)
            self._reporters.require_names(params, caller)
            if (answer := await self._once.answered(subject)) is not None:
                return answer
            draft, error_id = await self._report(type, said, caller, event_id)
        else:
            raise InvalidEvent(f"there is no event type {quoted(type)}; see /schemas", field="type")
        self._take_bytes(draft, caller)
        return await self._once.append(draft, subject, event_id=event_id, error_id=error_id)

    def _take_bytes(self, draft: Draft, caller: Caller) -> None:
        """
        Count what is published against the caller's rate; operators are exempt.

        Raises:
            RateLimitedRequest: If it is too much now.
        """
        if self._bytes is None or caller.operator:
            return
        size = len(draft.body) + len(draft.detail or b"")
        wait_s = self._bytes.take(caller.user_id, self._clock.monotonic(), size)
        if wait_s:
            raise RateLimitedRequest(
                f"this user has published too much: {self._settings.publish_bytes} bytes a second, "
                f"and {BURST_BYTES} at once",
                retry_after=wait_s,
            )

    # --- notifications ----------------------------------------------------------------------

    def _notification(self, params: Report, caller: Caller, event_id: str) -> Draft:
        fields = self._checked(params)
        user_id = fields.pop("user_id", None)
        if user_id not in (None, caller.user_id) and not caller.operator:
            raise NotPermitted("user_id may be your own, or absent", field="user_id")
        channel = fields.get("channel")
        if isinstance(channel, str) and not caller.may_use(channel):
            raise NotPermitted("this token is not for that channel", field="channel")
        # The whole was measured, so its payload is JSON.
        size = len(orjson.dumps(fields["payload"]))
        require_size(size, field="payload", bytes_max=PAYLOAD_BYTES_MAX)
        self._may_answer(fields.get("parent_event_id"), caller)
        return self._intake.draft(
            fields.pop("type"),
            "notifications",
            event_id=event_id,
            user_id=user_id,
            message="notification",
            sender=caller.user_id,
            complies=True,
            **fields,
        )

    def _may_answer(self, parent: Any, caller: Caller) -> None:
        """
        Let a notification answer another one; None: it answers none.

        Raises:
            NotFound: If there is no such notification, or none that the caller may see.
            Conflict: If the thread is full.
        """
        if parent is None:
            return
        threads = self._state.threads
        note = threads.of_id(parent) if isinstance(parent, str) else None
        if note is None or not may_see(caller, note, owner_of=self._state.owner_of):
            raise NotFound(
                "parent_event_id is no notification that you can answer: name one that was sent "
                "before, by or to you, or leave it out to begin a thread",
                field="parent_event_id",
            )
        if threads.size(note) >= THREAD_MAX:
            raise Conflict(
                f"the thread of {note.root} has {THREAD_MAX} notifications, the most that it may "
                "have; begin a new one, without parent_event_id",
                code="thread_full",
                field="parent_event_id",
            )

    # --- reports ----------------------------------------------------------------------------

    async def _report(
        self, type: str, params: Report, caller: Caller, event_id: str
    ) -> tuple[Draft, str | None]:
        try:
            fields = self._checked(params)
            error_id = fields.get("error_id") or self._intake.ids.uuid7()
            self._reporters.require_failure(error_id, fields["user_id"], caller)
            draft = self._completed(type, fields, error_id, event_id)
        except RequestError as error:
            if type == "agent_error":
                await self._in_its_place(params, caller, error)
            raise
        return draft, error_id

    def _completed(self, type: str, fields: dict[str, Any], error_id: str, event_id: str) -> Draft:
        policy = self._policies.of(fields["agent_name"])
        own: dict[str, Any] = {name: fields[name] for name in fields if name not in NOT_OWN}
        if type == "partial_result":
            return self._intake.draft(
                type,
                "reports",
                event_id=event_id,
                user_id=fields["user_id"],
                agent_name=policy.name,
                message="partial result",
                **({"piece": 1} | own),
            )
        failure = own_failures.reported(
            error_type=fields.get("error_type"),
            error_code=fields.get("error_code"),
            retry_after_s=None,
        )
        completion = COMPLETIONS[type]
        own = completion.defaults(self, Reported(own, error_id, policy)) | own
        if completion.told_by is None:
            message = messages.developer_message(failure, agent_name=policy.name)
            # A type alone is worded as such: its first code would be a guess at the cause.
            said = messages.user_message(
                fields.get("error_code") or failure.error_type,
                failure.error_type,
                will_retry=own["will_retry"] is True,
                delay_s=None,
            )
        else:
            message, said = sentence(type, **{name: own[name] for name in completion.told_by})
        said = redact_text(fields.get("user_message", "")).strip() or said
        return self._intake.draft(
            type,
            "reports",
            event_id=event_id,
            severity=completion.severity,
            user_id=fields["user_id"],
            agent_name=policy.name,
            message=message,
            detail=_said_by_reporter(fields),
            **(self._drafts.about(failure, error_id, policy, said) | own),
        )

    # --- what a report need not say ---------------------------------------------------------

    def _failed(self, reported: Reported) -> Fields:
        return {"will_retry": False, "max_attempts": 1, "cause": "reported"}

    def _preserved(self, reported: Reported) -> Fields:
        kept = Preserved(bytes_max=self._settings.partial_bytes_task)
        data = reported.own.get("preserved_data", {})
        text = reported.own.get("preserved_text", "")
        if isinstance(data, dict):
            for name, value in data.items():
                kept.add_step(name, value)
        if isinstance(text, str):
            kept.add_text(text)
        return {
            "preserved_data": data,
            "preserved_text": text,
            "lost_data": [],
            "progress": 0,
            "confidence_reduced": True,
            "size": kept.size,
            "sha256": kept.sha256(),
            "truncated": False,
            "expires_at": rfc3339(self._clock.wall() + self._settings.partial_ttl),
            "url": "/api/events?type=partial_result_preserved",
        }

    def _recovering(self, reported: Reported) -> Fields:
        delay_s = _number(reported.own.get("backoff_delay", 0))
        return {
            "strategy": "exponential_backoff",
            "attempt_number": 1,
            "max_attempts": reported.policy.max_attempts,
            "backoff_delay": 0,
            "next_attempt_at": rfc3339(self._clock.wall() + delay_s),
        }

    def _cleaned(self, reported: Reported) -> Fields:
        return {"memory_freed": 0, "cleanup_status": "success", "leftovers": []}

    def _recovered(self, reported: Reported) -> Fields:
        opened = self._state.failures.get(reported.error_id)
        if opened is None:
            raise NotFound("no failure with this error_id is open", field="error_id")
        took_s = self._clock.wall() - seconds_of(opened.event["timestamp"])
        fields = recovered("agent", opened.event, reported.error_id, took_s=took_s, attempts=1)
        return {name: fields[name] for name in fields if name not in SAID}

    async def _in_its_place(
        self, fields: Mapping[str, Any], caller: Caller, error: RequestError
    ) -> None:
        """Tell the user that an agent failed, although its report was refused."""
        user_id = fields.get("user_id")
        agent_name = fields.get("agent_name")
        policy = self._policies.of(agent_name if is_name(agent_name) else "unknown")
        failure = own_failures.noncompliant_event(error.field or "event", "schema")
        draft = self._intake.draft(
            "agent_error",
            "reports",
            severity="error",
            user_id=user_id if is_user_id(user_id) else "local",
            agent_name=policy.name,
            message=messages.developer_message(failure, agent_name=policy.name),
            detail=redacted({"reported": _reported(fields), "refused": error.message}),
            will_retry=False,
            max_attempts=1,
            cause="reported",
            **self._drafts.about(
                failure,
                self._intake.ids.uuid7(),
                policy,
                messages.user_message(
                    failure.error_code, failure.error_type, will_retry=False, delay_s=None
                ),
            ),
        )
        self._take_bytes(draft, caller)
        await self._intake.append([draft])

    def _checked(self, params: Report) -> dict[str, Any]:
        _bounded(params)
        for name in event_schemas.FILLED_IN:
            if name in params and (name, params["type"]) != ("detail", "agent_error"):
                raise InvalidEvent(f"{name} is filled in by the gateway, leave it out", field=name)
        require_valid(_published(params["type"]), params["type"], params)
        return dict(params)


@dataclasses.dataclass(frozen=True, slots=True)
class Reported:
    """
    What a report says itself.

    Attributes:
        own: The fields of its type.
        error_id: Of its failure.
        policy: Of the agent that it is about.
    """

    own: Mapping[str, Any]
    error_id: str
    policy: AgentPolicy


@dataclasses.dataclass(frozen=True, slots=True)
class Completion:
    """
    How a report of one type is completed.

    Attributes:
        severity: Of its event.
        defaults: Gives the fields that the report need not have.
        told_by: The fields that choose the sentence; None: the failure does.
    """

    severity: str
    defaults: Callable[[Publishing, Reported], Fields]
    told_by: tuple[str, ...] | None


COMPLETIONS: Mapping[str, Completion] = {
    "agent_error": Completion("error", Publishing._failed, None),
    "partial_result_preserved": Completion("warning", Publishing._preserved, ("progress",)),
    "recovery_attempt": Completion("warning", Publishing._recovering, ("strategy",)),
    "resource_cleanup": Completion("info", Publishing._cleaned, ("cleanup_status",)),
    "system_recovered": Completion("info", Publishing._recovered, ("scope",)),
}


@functools.cache
def _published(type: str) -> event_schemas.Validator:
    return event_schemas.Validator(event_schemas.publication(type))


def _bounded(params: Report) -> None:
    """
    Refuse an event that is larger than the log takes.

    Raises:
        TooLarge: With the field that takes most of it.
    """
    try:
        measured(dict(params), field="event", bytes_max=EVENT_BYTES_MAX)
    except TooLarge as error:
        longest = max(params, key=lambda name: len(orjson.dumps({name: params[name]})))
        raise TooLarge(error.message, field=event_schemas.field_name(longest)) from None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value <= DELAY_MAX_S else 0.0


def _reported(fields: Report) -> Any:
    """What was reported, for operators: whole if that is possible, else the names of its fields."""
    try:
        measured(dict(fields), field="event", bytes_max=REPORTED_BYTES_MAX)
    except RequestError:
        names = ", ".join(sorted(map(ascii, fields)))
        return clip(f"not readable; fields: {names}", REPORTED_NAMES_CHARS_MAX)
    return dict(fields)


def _said_by_reporter(fields: Mapping[str, Any]) -> Redacted | None:
    said = dict(fields.get("detail", {}))
    if "message" in fields:
        said["reported_message"] = fields["message"]
    return redacted(said) if said else None
