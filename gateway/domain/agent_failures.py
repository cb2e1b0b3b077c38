"""
What an agent's code raises to be exact about its own failure.

    AgentFailure
    ├── RateLimited, ServiceUnavailable, UpstreamTimeout, ConnectionLost    try again
    ├── InvalidResponse, DatabaseLost                                       try again
    └── NotRetryable, InvalidInput, ContentRefused, AuthFailed, ResourceExhausted
"""

from __future__ import annotations

from typing import ClassVar

from gateway.domain.errors import GatewayError

__all__ = [
    "AgentFailure",
    "AuthFailed",
    "ConnectionLost",
    "ContentRefused",
    "DatabaseLost",
    "InvalidInput",
    "InvalidResponse",
    "NotRetryable",
    "RateLimited",
    "ResourceExhausted",
    "ServiceUnavailable",
    "UpstreamTimeout",
]


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
        # Without a code of its own, the class alone does not say that a language model was asked.
        self.exact = bool(error_code)
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
