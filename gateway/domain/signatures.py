"""
Signatures: the names, statuses, words and sentences by which a failure is known.

Tables only; ``classification`` is the interpreter. They were measured against real SDKs, and
they also fit frameworks that wrap these and other vendors: the name of a class counts wherever
the class is defined, except where a package is given.

Codes ending in ``?`` depend on what the agent waits for: ``timeout?`` is ``llm_timeout`` for a
language model, else ``network_timeout``; ``limit?`` likewise, else ``task_timeout``.
``connection?`` and ``database?`` are codes that an exact cause may replace (``REFINED_BY``).
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping

__all__ = [
    "CANCELLED",
    "CONTROL_FLOW",
    "DATABASE_ERRORS",
    "DATABASE_PACKAGES",
    "ERRNO",
    "LLM_PATHS",
    "NAMES",
    "PACKAGED",
    "PHASES",
    "REFINED_BY",
    "SENTENCES",
    "SENTENCE_STATUSES",
    "SQLITE_CODES",
    "STATUS",
    "STRONG_WORDS",
    "TRANSIENT_SENTENCE",
    "WEAK_WORDS",
]

# --- not failures ---------------------------------------------------------------------------

CANCELLED = frozenset(
    {"CancelledError", "Cancelled", "KeyboardInterrupt", "GeneratorExit", "AttemptOver"}
)

# Interrupts, handoffs and the like: agent frameworks raise them to stop or to pass a task on.
CONTROL_FLOW = frozenset(
    {
        "ApprovalRequired",
        "CallDeferred",
        "ContinueAsNewError",
        "GraphBubbleUp",
        "GraphDelegate",
        "GraphInterrupt",
        "Handoff",
        "HandoffException",
        "Interrupt",
        "InterruptException",
        "NodeInterrupt",
        "ParentCommand",
    }
)

# --- HTTP -----------------------------------------------------------------------------------

# Words that say more than the status, which may be 200 for an error inside a stream.
STRONG_WORDS: Mapping[str, str] = {
    "context_length_exceeded": "llm_context_too_long",
    "context_window_exceeded": "llm_context_too_long",
    "contextwindowexceedederror": "llm_context_too_long",
    "request_too_large": "llm_context_too_long",
    "string_above_max_length": "llm_context_too_long",
    "content_filter": "llm_content_filtered",
    "content_policy_violation": "llm_content_filtered",
    "contentfilterfinishreasonerror": "llm_content_filtered",
    "contentpolicyviolationerror": "llm_content_filtered",
    "moderation_blocked": "llm_content_filtered",
    "responsibleaipolicyviolation": "llm_content_filtered",
    "billing": "quota_exhausted",
    "billing_error": "quota_exhausted",
    "billing_hard_limit_reached": "quota_exhausted",
    "billing_not_active": "quota_exhausted",
    "budgetexceedederror": "quota_exhausted",
    "credit_balance_too_low": "quota_exhausted",
    "insufficient_quota": "quota_exhausted",
    "quota_exceeded": "quota_exhausted",
    "rate_limit_exceeded": "llm_rate_limit",
    "engine_overloaded": "llm_overloaded",
    "engine_overloaded_error": "llm_overloaded",
    "overloaded": "llm_overloaded",
    "overloaded_error": "llm_overloaded",
}

STATUS: Mapping[int, str] = {
    400: "llm_bad_request",
    401: "llm_auth_failed",
    402: "quota_exhausted",
    403: "llm_permission_denied",
    404: "llm_model_not_found",
    408: "llm_timeout",
    409: "upstream_conflict",
    410: "llm_model_not_found",
    413: "llm_context_too_long",
    422: "llm_bad_request",
    425: "upstream_unavailable",
    429: "llm_rate_limit",
    451: "llm_content_filtered",
    503: "llm_overloaded",
    504: "llm_timeout",
    522: "network_timeout",
    524: "llm_timeout",
    529: "llm_overloaded",
    # for all other statuses of each hundred
    4: "llm_bad_request",
    5: "upstream_unavailable",
}

# Words that count only when no status decides.
WEAK_WORDS: Mapping[str, str] = {
    "authentication_error": "llm_auth_failed",
    "invalid_api_key": "llm_auth_failed",
    "accessdeniedexception": "llm_permission_denied",
    "permission_error": "llm_permission_denied",
    "model_not_found": "llm_model_not_found",
    "not_found_error": "llm_model_not_found",
    "rate_limit_error": "llm_rate_limit",
    "resource_exhausted": "llm_rate_limit",
    "throttlingexception": "llm_rate_limit",
    "toomanyrequestsexception": "llm_rate_limit",
    "deadline_exceeded": "llm_timeout",
    "modeltimeoutexception": "llm_timeout",
    "timeout_error": "llm_timeout",
    "service_unavailable": "llm_overloaded",
    "serviceunavailableexception": "llm_overloaded",
    "unavailable": "llm_overloaded",
    "api_error": "upstream_unavailable",
    "internal_error": "upstream_unavailable",
    "server_error": "upstream_unavailable",
    "invalid_request_error": "llm_bad_request",
}

# Some upstreams name the kind of error only in a sentence. It is searched in the upstream's own
# message, in lower case, and only where the status leaves the kind open.
SENTENCE_STATUSES = frozenset({400, 403, 413, 422, 429})
SENTENCES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"prompt is too long|input is too long|context (?:length|window|limit)"
            r"|maximum context|too many (?:input )?tokens"
        ),
        "llm_context_too_long",
    ),
    (
        re.compile(
            r"content.(?:filter|management policy|policy)|usage polic|safety (?:system|filter)"
            r"|blocked by .{0,20}policy|violat.{0,20}polic"
        ),
        "llm_content_filtered",
    ),
    (
        re.compile(
            r"credit balance|billing.(?:hard.)?limit|plan and billing|spend(?:ing)? limit"
            r"|api usage limits|(?:exceeded|insufficient|out of).{0,24}quota"
        ),
        "quota_exhausted",
    ),
)
# A quota that refills by itself is a rate limit, whatever it is called.
TRANSIENT_SENTENCE = re.compile(r"per (?:minute|second|hour)|(?:retry|try again|retry again) in")

# The ends of paths at which language models are asked, for agents without an SDK.
LLM_PATHS: Mapping[str, str] = {
    "/chat/completions": "chat",
    "/completions": "completion",
    "/messages": "chat",
    "/responses": "chat",
    "/embeddings": "embedding",
    ":generatecontent": "chat",
    ":streamgeneratecontent": "chat",
    "/api/chat": "chat",
    "/api/generate": "completion",
    "/converse": "chat",
    "/invoke": "chat",
}

# --- classes --------------------------------------------------------------------------------

# By (package, name). Databases and validators use names that mean other things elsewhere.
PACKAGED: Mapping[tuple[str, str], str] = {
    ("pydantic", "ValidationError"): "llm_invalid_response",
    ("pydantic_core", "ValidationError"): "llm_invalid_response",
    ("msgspec", "DecodeError"): "llm_invalid_response",
    ("msgspec", "ValidationError"): "llm_invalid_response",
    ("jsonschema", "ValidationError"): "llm_invalid_response",
    ("torch", "OutOfMemoryError"): "memory_limit_exceeded",
}
DATABASE_PACKAGES = frozenset(
    {
        "MySQLdb",
        "aiomysql",
        "aiosqlite",
        "asyncpg",
        "mysql",
        "oracledb",
        "psycopg",
        "psycopg2",
        "psycopg_pool",
        "pymongo",
        "pymysql",
        "redis",
        "sqlalchemy",
        "sqlite3",
        "valkey",
    }
)
# The errors of a database package that mean that the database is away; its others are mistakes.
DATABASE_ERRORS = frozenset(
    {
        "AdminShutdownError",
        "AutoReconnect",
        "BusyLoadingError",
        "CannotConnectNowError",
        "ConnectionDoesNotExistError",
        "ConnectionError",
        "ConnectionFailure",
        "ConnectionTimeout",
        "CrashShutdownError",
        "DisconnectionError",
        "InterfaceError",
        "NetworkTimeout",
        "OperationalError",
        "PoolClosed",
        "PoolTimeout",
        "PostgresConnectionError",
        "ServerSelectionTimeoutError",
        "TimeoutError",
        "TooManyConnectionsError",
    }
)
# sqlite3 raises OperationalError for mistakes in SQL as well. By primary result code
# (https://sqlite.org/rescode.html): SQLITE_ERROR, SQLITE_NOMEM, SQLITE_FULL.
SQLITE_CODES: Mapping[int, str] = {
    1: "agent_exception",
    7: "memory_limit_exceeded",
    13: "disk_full",
}

# By name, along the MRO, the most exact class first.
NAMES: Mapping[str, str] = {
    # timeout
    "APITimeoutError": "llm_timeout",
    "ConnectTimeout": "network_timeout",
    "ConnectTimeoutError": "network_timeout",
    "ConnectionTimeoutError": "network_timeout",
    "PoolTimeout": "timeout?",
    "ReadTimeout": "timeout?",
    "ReadTimeoutError": "timeout?",
    "ServerTimeoutError": "timeout?",
    "SocketTimeoutError": "timeout?",
    "Timeout": "timeout?",
    "TimeoutException": "timeout?",
    "WriteTimeout": "timeout?",
    "TimeoutError": "limit?",
    # the connection, where the class tells how far the request came
    "ClientConnectorError": "connection_failed",
    "ConnectError": "connection_failed",
    "ConnectionRefusedError": "connection_failed",
    "EndpointConnectionError": "connection_failed",
    "NameResolutionError": "connection_failed",
    "NewConnectionError": "connection_failed",
    "ProxyError": "connection_failed",
    "SSLError": "connection_failed",
    "gaierror": "connection_failed",
    "BrokenPipeError": "connection_interrupted",
    "BrokenResourceError": "connection_interrupted",
    "ChunkedEncodingError": "connection_interrupted",
    "ClientPayloadError": "connection_interrupted",
    "CloseError": "connection_interrupted",
    "ConnectionAbortedError": "connection_interrupted",
    "ConnectionClosed": "connection_interrupted",
    "ConnectionResetError": "connection_interrupted",
    "EndOfStream": "connection_interrupted",
    "IncompleteRead": "connection_interrupted",
    "IncompleteReadError": "connection_interrupted",
    "ProtocolError": "connection_interrupted",
    "ReadError": "connection_interrupted",
    "ServerDisconnectedError": "connection_interrupted",
    "WriteError": "connection_interrupted",
    # ... and where it does not
    "APIConnectionError": "connection?",
    "ClientConnectionError": "connection?",
    "ConnectionError": "connection?",
    "MaxRetryError": "connection?",
    "NetworkError": "connection?",
    "TransportError": "connection?",
    "URLError": "connection?",
    # the request was malformed, which is the agent's mistake
    "InvalidURL": "agent_exception",
    "LocalProtocolError": "agent_exception",
    "UnsupportedProtocol": "agent_exception",
    # the answer
    "APIResponseValidationError": "llm_invalid_response",
    "ContentTypeError": "llm_invalid_response",
    "DecodingError": "llm_invalid_response",
    "IncompleteOutputException": "llm_invalid_response",
    "JSONDecodeError": "llm_invalid_response",
    "LengthFinishReasonError": "llm_invalid_response",
    "OutputParserException": "llm_invalid_response",
    "SSEError": "llm_invalid_response",
    "UnexpectedModelBehavior": "llm_invalid_response",
    # errors by status whose exception does not carry the status
    "OverloadedError": "llm_overloaded",
    "RateLimitError": "llm_rate_limit",
    "ServiceUnavailableError": "llm_overloaded",
    "TooManyRequests": "llm_rate_limit",
    "APIError": "upstream_unavailable",
    # the machine
    "MemoryError": "memory_limit_exceeded",
}

# The codes that a deeper cause may replace, and by which types. A connection may fail because no
# file descriptor is left; a dropped connection may be a timeout.
REFINED_BY: Mapping[str, frozenset[str]] = {
    "connection?": frozenset({"network_error", "timeout", "resource_limit"}),
    "connection_failed": frozenset({"resource_limit"}),
    "database?": frozenset({"database_error", "resource_limit", "processing_error"}),
}

# The phase of a request in which it failed: one that failed to connect was not sent.
PHASES: Mapping[str, str] = {
    name: phase
    for phase, names in {
        "connect": (
            "ConnectError ConnectTimeout ConnectTimeoutError ConnectionTimeoutError gaierror"
            " ConnectionRefusedError NewConnectionError ClientConnectorError NameResolutionError"
        ),
        "pool": "PoolTimeout",
        "write": "WriteError WriteTimeout",
        "read": (
            "ReadError ReadTimeout ReadTimeoutError RemoteProtocolError ServerDisconnectedError"
            " SocketTimeoutError ClientPayloadError ChunkedEncodingError IncompleteRead"
        ),
    }.items()
    for name in names.split()
}

ERRNO: Mapping[int, str] = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EMFILE: "capacity_exceeded",
    errno.ENFILE: "capacity_exceeded",
    errno.ENOMEM: "memory_limit_exceeded",
    errno.ECONNREFUSED: "connection_failed",
    errno.EHOSTUNREACH: "connection_failed",
    errno.ENETUNREACH: "connection_failed",
    errno.ECONNRESET: "connection_interrupted",
    errno.ECONNABORTED: "connection_interrupted",
    errno.EPIPE: "connection_interrupted",
    errno.ETIMEDOUT: "network_timeout",
}
