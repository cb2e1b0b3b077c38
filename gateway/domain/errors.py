"""
Every error that the gateway raises, in one tree, split by what the reader can do about it.

    GatewayError
    ├── AgentFailure        raised by an agent's code (agent_failures.py)
    ├── RequestError        answered to a caller, by WebSocket or HTTP
    │   ├── Repair it: InvalidParams, InvalidEvent, TooLarge, UnsupportedMedia
    │   ├── Ask for rights: NotFound, NotPermitted, Unauthenticated
    │   ├── Decide again: Conflict, NameTaken, StaleTerm, LockHeld
    │   └── Come back later: Rejected, RateLimitedRequest, TooManyWorkers, TooManyConnections,
    │       Unavailable
    ├── LogError            what the log answers to a writer
    │   └── ExpectationFailed, StoreUnavailable
    ├── TaskFailed          a task that the caller waited for did not succeed
    ├── AttemptOver         an agent's code speaks for an attempt that has ended
    ├── AddressUnavailable  the program cannot listen where it should
    └── ConfigurationError  the program cannot start as it is configured
        └── StoreNotThere   its store does not answer

Facts are attributes; messages are made from them.
"""

from __future__ import annotations

from typing import Any, ClassVar

from gateway.domain.rates import wait_told
from gateway.domain.redaction import redact_text

__all__ = [
    "AddressUnavailable",
    "AttemptOver",
    "ConfigurationError",
    "Conflict",
    "ExpectationFailed",
    "GatewayError",
    "InvalidEvent",
    "InvalidParams",
    "LockHeld",
    "LogError",
    "NameTaken",
    "NotFound",
    "NotPermitted",
    "RateLimitedRequest",
    "Rejected",
    "RequestError",
    "StaleTerm",
    "StoreNotThere",
    "StoreUnavailable",
    "TaskFailed",
    "TooLarge",
    "TooManyConnections",
    "TooManyWorkers",
    "Unauthenticated",
    "Unavailable",
    "UnsupportedMedia",
]


class GatewayError(Exception):
    """The root; catch it only to tell the gateway's errors from all others."""


# --- about tasks ----------------------------------------------------------------------------


class TaskFailed(GatewayError):
    """
    A task that the caller waited for has ended without success.

    Attributes:
        task_id: The task.
        status: failed, cancelled or dead_lettered.
        error: The failure fields of the task's last error; None: it had none.
    """

    def __init__(self, task_id: str, status: str, error: dict[str, Any] | None) -> None:
        kind = f": {error['error_code']}" if error else ""
        super().__init__(f"task {task_id} {status}{kind}")
        self.task_id = task_id
        self.status = status
        self.error = error


class AttemptOver(GatewayError):
    """
    The attempt that this code works for has ended, so what the code reports is refused.

    Raised in a thread that runs on past its limit. A thread cannot be stopped, but nothing that
    it reports gets into the log.
    """

    def __init__(self, task_id: str, attempt: int) -> None:
        super().__init__(f"task {task_id}: attempt {attempt} is over, stop working on it")
        self.task_id = task_id
        self.attempt = attempt


# --- answered to callers --------------------------------------------------------------------


class RequestError(GatewayError):
    """
    A request is refused; state is unchanged.

    What it repeats of the request is redacted: it goes on into logs, and to operators.

    Attributes:
        message: For the caller's developers.
        code: The text code, the same over WebSocket and HTTP.
        field: The parameter that is at fault; None when no single one is.
        retry_after: Seconds after which the caller may try again; None when waiting is no help.
    """

    code: str = "internal_error"
    http_status: ClassVar[int] = 500
    jsonrpc_code: ClassVar[int] = -32603

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.message = redact_text(message)
        super().__init__(self.message)
        self.code = code or self.code
        self.field = None if field is None else redact_text(field)
        self.retry_after = retry_after

    def data(self) -> dict[str, Any]:
        """Give the machine-readable part: ``code``; ``field`` and ``retry_after`` where known."""
        data: dict[str, Any] = {"code": self.code}
        if self.field is not None:
            data["field"] = self.field
        if self.retry_after is not None:
            data["retry_after"] = wait_told(self.retry_after)
        return data


class InvalidParams(RequestError):
    """A parameter is missing, unknown, of the wrong type or out of bounds."""

    code = "invalid_params"
    http_status = 400
    jsonrpc_code = -32602


class InvalidEvent(RequestError):
    """An event does not comply with its schema."""

    code = "invalid_event"
    http_status = 400
    jsonrpc_code = -32602


class TooLarge(RequestError):
    """A payload is over its bound."""

    code = "too_large"
    http_status = 413
    jsonrpc_code = -32008


class UnsupportedMedia(RequestError):
    """A body is of a kind that is not read here."""

    code = "unsupported_media_type"
    http_status = 415
    jsonrpc_code = -32600


class Unauthenticated(RequestError):
    """No token, or one that is not accepted."""

    code = "unauthenticated"
    http_status = 401
    jsonrpc_code = -32003


class NotPermitted(RequestError):
    """The token does not give the right to do this."""

    code = "not_permitted"
    http_status = 403
    jsonrpc_code = -32002


class NotFound(RequestError):
    """There is no such thing, or none that this caller may see."""

    code = "not_found"
    http_status = 404
    jsonrpc_code = -32001


class Conflict(RequestError):
    """The thing is in a state that does not allow this."""

    code = "conflict"
    http_status = 409
    jsonrpc_code = -32004


class NameTaken(Conflict):
    """The name belongs to another user, whose worker registered it first."""

    code = "name_taken"


class StaleTerm(Conflict):
    """The lease has passed to another holder; what an older term says is refused."""

    code = "stale_term"
    jsonrpc_code = -32005


class LockHeld(Conflict):
    """
    Another holder has the lock.

    Attributes:
        holder: The name of that holder.
        field: What the caller has named of it: the resource; or the holder or the term, when the
            lock was named by its id.
    """

    code = "lock_held"
    jsonrpc_code = -32006

    def __init__(
        self,
        message: str,
        *,
        holder: str,
        retry_after: float | None,
        field: str = "resource_key",
    ) -> None:
        super().__init__(message, field=field, retry_after=retry_after)
        self.holder = holder

    def data(self) -> dict[str, Any]:
        return {**super().data(), "holder": self.holder}


class Rejected(RequestError):
    """
    The gateway takes no such work now; ``code`` is the reason.

    Reasons: circuit_breaker_open, priority_load_shedding, degraded_mode, read_only, draining,
    quarantined.
    """

    code = "rejected"
    http_status = 503
    jsonrpc_code = -32010


class RateLimitedRequest(RequestError):
    """This caller asks too often."""

    code = "rate_limited"
    http_status = 429
    jsonrpc_code = -32011


class TooManyWorkers(RateLimitedRequest):
    """As many workers of this user, or of all, are registered as may be."""

    code = "too_many_workers"


class TooManyConnections(RateLimitedRequest):
    """As many connections of this user, or from this address, are open as may be."""

    code = "too_many_connections"


class Unavailable(RequestError):
    """The gateway cannot answer now (store away, node behind); it may be tried again."""

    code = "unavailable"
    http_status = 503
    jsonrpc_code = -32012


# --- answered by the log --------------------------------------------------------------------


class LogError(GatewayError):
    """
    The log did not take what was appended; nothing of it is in the log.

    The one exception to this is ``StoreUnavailable.in_doubt``.
    """


class ExpectationFailed(LogError):
    """
    Another writer appended to the subject first: read again, decide again.

    Attributes:
        subject: The log subject.
        expected: The offset that the decision was based on.
        actual: The subject's newest offset.
    """

    def __init__(self, subject: str, *, expected: int, actual: int) -> None:
        super().__init__(f"subject {subject}: expected last offset {expected}, it is {actual}")
        self.subject = subject
        self.expected = expected
        self.actual = actual


class StoreUnavailable(LogError):
    """
    The store did not answer in time.

    Attributes:
        retry_after: Seconds after which it is worth trying again.
        in_doubt: Whether the entries were sent and no answer came. They may be in the log, or
            may still get there.
    """

    def __init__(self, message: str, *, retry_after: float = 1.0, in_doubt: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.in_doubt = in_doubt


class ConfigurationError(GatewayError):
    """The program cannot start as it is configured; the message names the setting and a remedy."""


class StoreNotThere(ConfigurationError):
    """The store does not answer: the configuration may be right, and the store down."""


class AddressUnavailable(GatewayError):
    """The program cannot listen where it should; the message says why, and what else to try."""
