"""
What others publish: notifications, and a backend's reports about its own work.

A report is completed from what is known: class and kind of a failure give its sentences and
advice; what the reporter wrote as text goes to operators. A failure report that does not
comply still tells the user that something failed: silence is the one thing not allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.domain import messages, own_failures
from gateway.domain.access import Caller
from gateway.domain.announcements import sentence
from gateway.domain.errors import (
    InvalidEvent,
    NotFound,
    NotPermitted,
    RequestError,
)
from gateway.domain.events import BOOKKEEPING, LIFECYCLE, PUBLISHABLE_BY_AGENTS
from gateway.domain.preserved import Preserved
from gateway.domain.redaction import redact
from gateway.domain.stream import Position
from gateway.domain.timestamps import rfc3339, seconds_of
from gateway.execution.handlers.task_reports import TaskReports
from gateway.execution.record.reach import Core
from gateway.ports import Draft
from gateway.values import EVENT_BYTES_MAX, measured

__all__ = ["Publishing"]

Report = Mapping[str, Any]

# Stamped or decided by the gateway; a publisher that sends them is told so.
OURS = (
    "schema_version",
    "event_id",
    "epoch",
    "offset",
    "timestamp",
    "severity",
    "detail",
    "state",
)
# Of a report, beside its event; more would not be read.
REPORTED_BYTES_MAX = 16 * 1024
# Longer delays are no times that can be written down.
DELAY_MAX_S = 1e9


class Publishing:
    """The operation ``event.publish``."""

    def __init__(self, core: Core, tasks: TaskReports) -> None:
        self._core = core
        self._tasks = tasks

    async def publish(self, params: Report, caller: Caller) -> Any:
        """
        Publish one event.

        Raises:
            InvalidEvent: With field and rule.
            InvalidParams: If it is no JSON.
            NotPermitted: If this caller may not say that.
            TooLarge: If it is over 256 KiB.
        """
        type = params["type"]
        if params.get("user_id") == "*":
            raise NotPermitted('only the gateway itself tells everybody ("*")', field="user_id")
        if type in LIFECYCLE or type in BOOKKEEPING:
            raise NotPermitted(f"only the gateway itself says {type}", field="type")
        if type == "notification":
            caller.require("events:write")
            draft, error_id = self._notification(params, caller), None
        elif type in PUBLISHABLE_BY_AGENTS:
            caller.require("agent")
            if params.get("task_id") is not None:
                measured(dict(params), field="event", bytes_max=EVENT_BYTES_MAX)
                return await self._tasks.take(params, caller)
            draft, error_id = await self._report(type, params)
        else:
            raise InvalidEvent(f"there is no event type {type[:64]!r}; see /schemas", field="type")
        offset = await self._core.intake.append([draft])
        return {
            "event_id": orjson.loads(draft.body)["event_id"],
            "position": Position(self._core.log.epoch, offset).as_dict(),
            "error_id": error_id,
        }

    # --- notifications ----------------------------------------------------------------------

    def _notification(self, params: Report, caller: Caller) -> Draft:
        fields = self._checked(params)
        user_id = fields.pop("user_id", None)
        if user_id not in (None, caller.user_id) and not caller.operator:
            raise NotPermitted("user_id may be your own, or absent", field="user_id")
        return self._core.intake.draft(
            fields.pop("type"),
            "notifications",
            user_id=user_id,
            message=str(fields.pop("message", "notification")),
            **fields,
        )

    # --- reports ----------------------------------------------------------------------------

    async def _report(self, type: str, params: Report) -> tuple[Draft, str | None]:
        try:
            fields = self._checked(params)
            error_id = _text(fields, "error_id") or self._core.ids.uuid7()
            for name in ("user_id", "agent_name"):
                if not isinstance(fields.get(name), str):
                    raise InvalidEvent(
                        f"{type} needs {name}, as text: whom or what it is about", field=name
                    )
            self._own_failure(error_id, fields["user_id"])
            draft = self._completed(type, fields, error_id)
        except RequestError as error:
            if type == "agent_error":
                await self._in_its_place(params, error)
            raise
        return draft, error_id

    def _own_failure(self, error_id: str, user_id: str) -> None:
        """Refuse to speak of a failure that is a task's, a breaker's or another user's."""
        opened = self._core.state.failures.get(error_id)
        if opened and (opened[0]["user_id"] != user_id or opened[0]["task_id"] is not None):
            raise NotFound(
                "no failure with this error_id was reported for this user", field="error_id"
            )

    def _completed(self, type: str, fields: dict[str, Any], error_id: str) -> Draft:
        now = self._core.clock.wall()
        failure = own_failures.reported(
            error_type=_text(fields, "error_type"),
            error_code=_text(fields, "error_code"),
            retry_after_s=None,
        )
        own: dict[str, Any] = {
            name: fields[name]
            for name in fields
            if name not in ("type", "user_id", "agent_name", "message", "user_message", "error_id")
        }
        severity, message = "warning", type.replace("_", " ")
        policy = self._core.agents.policy(fields["agent_name"])
        said = messages.user_message(
            failure.error_code, failure.error_type, will_retry=False, delay_s=None
        )
        match type:
            case "agent_error":
                severity = "error"
                message = messages.developer_message(failure, agent_name=policy.name)
                own = {"will_retry": False, "max_attempts": 1, "cause": "reported"} | own
                said = messages.user_message(
                    failure.error_code,
                    failure.error_type,
                    will_retry=own["will_retry"] is True,
                    delay_s=None,
                )
            case "partial_result":
                return self._core.intake.draft(
                    type,
                    "reports",
                    user_id=fields["user_id"],
                    agent_name=policy.name,
                    message=message,
                    **({"piece": 1} | own),
                )
            case "partial_result_preserved":
                own = self._preserved(own, now)
                message, said = sentence(type, progress=own["progress"])
            case "recovery_attempt":
                own = {
                    "strategy": "exponential_backoff",
                    "attempt_number": 1,
                    "max_attempts": policy.max_attempts,
                    "backoff_delay": 0,
                } | own
                own.setdefault("next_attempt_at", rfc3339(now + _number(own["backoff_delay"])))
                message, said = sentence(type, strategy=own["strategy"])
            case "resource_cleanup":
                severity = "info"
                own = {"memory_freed": 0, "cleanup_status": "success", "leftovers": []} | own
                message, said = sentence(type, cleanup_status=own["cleanup_status"])
            case "system_recovered":
                severity = "info"
                own = self._recovered(own, error_id, now)
                message, said = sentence(type, scope="agent")
        return self._core.intake.draft(
            type,
            "reports",
            severity=severity,
            user_id=fields["user_id"],
            agent_name=policy.name,
            message=message,
            detail=_said_by_reporter(fields),
            **(self._core.telling.about(failure, error_id, policy, said) | own),
        )

    def _preserved(self, own: dict[str, Any], now: float) -> dict[str, Any]:
        kept = Preserved(bytes_max=self._core.settings.partial_bytes_task)
        data, text = own.get("preserved_data", {}), own.get("preserved_text", "")
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
            "expires_at": rfc3339(now + self._core.settings.partial_ttl),
            "url": "/api/events?type=partial_result_preserved",
        } | own

    def _recovered(self, own: dict[str, Any], error_id: str, now: float) -> dict[str, Any]:
        opened = self._core.state.failures.get(error_id)
        if opened is None:
            raise NotFound("no failure with this error_id is open", field="error_id")
        for name, only in (("scope", "agent"), ("degradation_id", None)):
            if own.get(name, only) != only:
                # Breakers, modes and domains recover when the gateway says so.
                raise InvalidEvent(f"{name} of a reported recovery is {only!r}", field=name)
        return {
            "scope": "agent",
            "recovery_successful": True,
            "recovery_time": round(max(0.0, now - seconds_of(opened[0]["timestamp"])), 3),
            "attempts_made": 1,
            "degradation_id": None,
            "error_type": opened[0]["error_type"],
            "error_code": opened[0]["error_code"],
            "is_recoverable": True,
            "retry_possible": False,
            "suggested_action": "none",
            "estimated_recovery_time": None,
            "recovery_estimate_source": None,
        } | own

    async def _in_its_place(self, fields: Mapping[str, Any], error: RequestError) -> None:
        """Tell the user that an agent failed, though its report could not be understood."""
        user_id = fields.get("user_id")
        agent_name = fields.get("agent_name")
        policy = self._core.agents.policy(_name(agent_name) or "unknown")
        failure = own_failures.noncompliant_event(error.field or "event", "schema")
        draft = self._core.intake.draft(
            "agent_error",
            "reports",
            severity="error",
            user_id=_name(user_id) or "local",
            agent_name=policy.name,
            message=messages.developer_message(failure, agent_name=policy.name),
            detail={"reported": _reported(fields), "refused": error.message},
            will_retry=False,
            max_attempts=1,
            cause="reported",
            **self._core.telling.about(
                failure,
                self._core.ids.uuid7(),
                policy,
                messages.user_message(
                    failure.error_code, failure.error_type, will_retry=False, delay_s=None
                ),
            ),
        )
        await self._core.intake.append([draft])

    def _checked(self, params: Report) -> dict[str, Any]:
        measured(dict(params), field="event", bytes_max=EVENT_BYTES_MAX)
        for name in OURS:
            if name in params:
                raise InvalidEvent(f"{name} is filled in by the gateway, leave it out", field=name)
        return dict(params)


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidEvent(f"{name} has to be text", field=name)
    return value


def _name(value: Any) -> str | None:
    """A value as a name, when it can be one."""
    if isinstance(value, str) and 0 < len(value) <= 128 and value.isascii():
        allowed = "._~@:-"
        return value if all(c.isalnum() or c in allowed for c in value) else None
    return None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value <= DELAY_MAX_S else 0.0


def _reported(fields: Report) -> Any:
    """What was reported, for operators, when it is short enough and JSON at all."""
    try:
        measured(dict(fields), field="event", bytes_max=REPORTED_BYTES_MAX)
    except RequestError:
        return f"not readable; fields: {', '.join(sorted(map(ascii, fields)))}"[:1000]
    return redact(dict(fields))


def _said_by_reporter(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    said = {
        f"reported_{name}": fields[name] for name in ("message", "user_message") if name in fields
    }
    return redact(said) if said else None
