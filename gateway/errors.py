"""The public errors: what agents raise to be exact about a failure, and what callers catch."""

from gateway.domain.agent_failures import (
    AgentFailure,
    AuthFailed,
    ConnectionLost,
    ContentRefused,
    DatabaseLost,
    InvalidInput,
    InvalidResponse,
    NotRetryable,
    RateLimited,
    ResourceExhausted,
    ServiceUnavailable,
    UpstreamTimeout,
)
from gateway.domain.errors import (
    AttemptOver,
    ConfigurationError,
    GatewayError,
    Rejected,
    RequestError,
    TaskFailed,
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
    "Rejected",
    "RequestError",
    "ResourceExhausted",
    "ServiceUnavailable",
    "TaskFailed",
    "UpstreamTimeout",
]
