"""What agents may raise to be exact about a failure, and what callers may catch."""

from gateway.domain.errors import (
    AgentFailure,
    AttemptOver,
    AuthFailed,
    ConfigurationError,
    ConnectionLost,
    ContentRefused,
    DatabaseLost,
    GatewayError,
    InvalidInput,
    InvalidResponse,
    NotRetryable,
    RateLimited,
    RequestError,
    ResourceExhausted,
    ServiceUnavailable,
    UpstreamTimeout,
)

__all__ = [
    "AgentFailure",
    "AttemptOver",
    "AuthFailed",
    "ConfigurationError",
    "ConnectionLost",
    "ContentRefused",
    "DatabaseLost",
    "GatewayError",
    "InvalidInput",
    "InvalidResponse",
    "NotRetryable",
    "RateLimited",
    "RequestError",
    "ResourceExhausted",
    "ServiceUnavailable",
    "UpstreamTimeout",
]
