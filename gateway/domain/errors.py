"""
Every error that the gateway raises, in one tree, split by what the reader can do about it.

    GatewayError
    ├── AgentFailure        raised by an agent's code, to be exact about its own failure
    │   ├── RateLimited, ServiceUnavailable, UpstreamTimeout, ConnectionLost    try again
    │   ├── InvalidResponse, DatabaseLost                                        try again
    │   └── NotRetryable, InvalidInput, ContentRefused, AuthFailed, ResourceExhausted
    ├── RequestError        answered to a caller, by WebSocket or HTTP
    │   ├── Repair it: InvalidParams, InvalidEvent, TooLarge, UnsupportedMedia
    │   ├── Ask for rights: NotFound, NotPermitted, Unauthenticated
    │   ├── Decide again: Conflict, NameTaken, StaleTerm, LockHeld
    │   └── Come back later: Rejected, RateLimitedRequest, TooManyWorkers, Unavailable
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

from gateway.domain.redaction import redact_text

__all__ = [
    "AddressUnavailable",
    "AgentFailure",
    "AttemptOver",
    "AuthFailed",
    "ConfigurationError",
    "Conflict",
    "ConnectionLost",
    "ContentRefused",
    "DatabaseLost",
    "ExpectationFailed",
    "GatewayError",
    "InvalidEvent",
    "InvalidInput",
    "InvalidParams",
    "InvalidResponse",
    "LockHeld",
    "LogError",
    "NameTaken",
    "NotFound",
    "NotPermitted",
    "NotRetryable",
    "RateLimited",
    "RateLimitedRequest",
    "Rejected",
    "RequestError",
    "ResourceExhausted",
    "ServiceUnavailable",
    "StaleTerm",
    "StoreNotThere",
    "StoreUnavailable",
    "TaskFailed",
    "TooLarge",
    "TooManyWorkers",
    "Unauthenticated",
    "Unavailable",
    "UnsupportedMedia",
    "UpstreamTimeout",
]


class GatewayError(Exception):
    """The root; catch it only to tell the gateway's errors from all others."""


# --- raised by agents -----------------------------------------------------------------------


class AgentFailure(GatewayError):
    """
    An agent's own, exact account of why it failed.

    Args:
        message: For developers; goes to operators as detail, never to users.
        error_code: The exact kind, when it is more than the class's default.
        retry_after: Seconds after which the upstream wants to be asked again; None when it
            did not say.
    """

    error_type: ClassVar[str] = "processing_error"
    default_code: ClassVar[str] = "agent_exception"

    def __init__(
        self,
        message: str = "",
        *,
        error_code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message or type(self).__name__)
        self.error_code = error_code or self.default_code
        self.retry_after = retry_after


class RateLimited(AgentFailure):
    """The upstream asks for fewer requests."""

    error_type = "rate_limit"
    default_code = "llm_rate_limit"


class ServiceUnavailable(AgentFailure):
    """The upstream is down or overloaded."""

    error_type = "service_unavailable"
    default_code = "upstream_unavailable"


class UpstreamTimeout(AgentFailure):
    """The upstream did not answer in time."""

    error_type = "timeout"
    default_code = "llm_timeout"


class ConnectionLost(AgentFailure):
    """The connection to the upstream broke."""

    error_type = "network_error"
    default_code = "connection_interrupted"


class InvalidResponse(AgentFailure):
    """The upstream answered with something unusable: bad JSON, a stream that ended early."""

    error_type = "validation_error"
    default_code = "llm_invalid_response"


class DatabaseLost(AgentFailure):
    """A database the agent needs is away."""

    error_type = "database_error"
    default_code = "database_connection_lost"


class NotRetryable(AgentFailure):
    """The agent failed, and trying again would not help."""


class InvalidInput(AgentFailure):
    """What the user asked for cannot be worked on as it is."""

    error_type = "invalid_input"
    default_code = "invalid_input"


class ContentRefused(AgentFailure):
    """The upstream refuses to work on this content."""

    error_type = "content_refused"
    default_code = "llm_content_filtered"


class AuthFailed(AgentFailure):
    """The upstream does not accept the agent's credentials."""

    error_type = "auth_error"
    default_code = "llm_auth_failed"


class ResourceExhausted(AgentFailure):
    """Memory, disk, quota or capacity ran out."""

    error_type = "resource_limit"
    default_code = "capacity_exceeded"


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
            data["retry_after"] = round(self.retry_after, 3)
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
