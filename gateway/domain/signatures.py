"""
Signatures: the names, statuses and words by which a failure is known.

Tables only; ``classification`` is the interpreter. They were measured against real SDKs, and
they also fit frameworks that wrap these and other vendors: the name of a class counts wherever
the class is defined. Classes that count in their package only are in ``known_exceptions``,
sentences in ``sentences``.

Codes ending in ``?`` depend on what was asked: ``BY_UPSTREAM`` has the code for a language model
and the one for any other service. ``connection?``, ``database?`` and ``tool?`` may be replaced by
an exact cause (``REFINED_BY``).
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

__all__ = [
    "BY_UPSTREAM",
    "CANCELLED",
    "CONTROL_FLOW",
    "ERRNO",
    "GRPC",
    "INPUT_REQUIRED",
    "JSON_RPC",
    "NAMES",
    "PHASES",
    "REFINED_BY",
    "STATUS",
    "STRONG_WORDS",
    "THROTTLED",
    "WEAK_WORDS",
]

# --- what was asked -------------------------------------------------------------------------

# The code for a language model, and the one for any other service.
BY_UPSTREAM: Mapping[str, tuple[str, str]] = {
    "timeout?": ("llm_timeout", "network_timeout"),
    "limit?": ("llm_timeout", "task_timeout"),
    "rate?": ("llm_rate_limit", "upstream_rate_limit"),
    "auth?": ("llm_auth_failed", "upstream_auth_failed"),
    "permission?": ("llm_permission_denied", "upstream_permission_denied"),
    "missing?": ("llm_model_not_found", "upstream_not_found"),
    "bad?": ("llm_bad_request", "upstream_bad_request"),
    "long?": ("llm_context_too_long", "upstream_bad_request"),
    "refused?": ("llm_content_filtered", "content_refused"),
    "busy?": ("llm_overloaded", "upstream_unavailable"),
    "response?": ("llm_invalid_response", "upstream_invalid_response"),
    "connection?": ("connection_failed", "connection_failed"),
    "database?": ("database_connection_lost", "database_connection_lost"),
    "query?": ("query_rejected", "query_rejected"),
    "tool?": ("tool_failed", "tool_failed"),
}

# --- not failures ---------------------------------------------------------------------------

CANCELLED = frozenset(
    {"CancelledError", "Cancelled", "KeyboardInterrupt", "GeneratorExit", "AttemptOver"}
)

# A human has to answer first: agent frameworks raise these to wait for one.
INPUT_REQUIRED = frozenset(
    {
        *("ApprovalRequired", "CallDeferred"),  # pydantic-ai
        *("GraphInterrupt", "NodeInterrupt"),  # langgraph
        "HumanFeedbackPending",  # crewai
        "InterruptException",  # strands
        "UrlElicitationRequiredError",  # mcp
    }
)

# Handoffs and the like: agent frameworks raise them to stop or to pass a task on.
CONTROL_FLOW = frozenset(
    {
        "ContinueAsNewError",
        "GraphBubbleUp",
        "GraphDelegate",
        "Handoff",
        "HandoffException",
        "Interrupt",
        "ParentCommand",
    }
)

# --- HTTP -----------------------------------------------------------------------------------

# Codes that name throttling and nothing else: whatever the sentence says, waiting helps.
THROTTLED = frozenset(
    {
        *("rate_limit_exceeded", "ratelimitexceeded", "userratelimitexceeded"),
        *("throttling", "throttlingexception", "throttledexception", "requestthrottled"),
        *("requestthrottledexception", "requestlimitexceeded", "slowdown"),
        *("toomanyrequestsexception", "provisionedthroughputexceededexception"),
        *("bandwidthlimitexceeded", "too_many_requests", "rate_limited", "ratelimited"),
    }
)

# Words that say more than the status, which may be 200 for an error inside a stream.
STRONG_WORDS: Mapping[str, str] = {
    # the size of a request: OpenAI, LiteLLM, Anthropic, langchain, llama.cpp, Copilot
    "context_length_exceeded": "llm_context_too_long",
    "context_window_exceeded": "llm_context_too_long",
    "contextwindowexceedederror": "llm_context_too_long",
    "contextoverflowerror": "llm_context_too_long",
    "modelcontextwindowexceedederror": "llm_context_too_long",
    "exceed_context_size_error": "llm_context_too_long",
    "model_max_prompt_tokens_exceeded": "llm_context_too_long",
    "request_too_large": "long?",
    "string_above_max_length": "llm_context_too_long",
    # content: OpenAI, Azure, LiteLLM
    "content_filter": "llm_content_filtered",
    "content_policy_violation": "llm_content_filtered",
    "contentfilterfinishreasonerror": "llm_content_filtered",
    "contentpolicyviolationerror": "llm_content_filtered",
    "moderation_blocked": "llm_content_filtered",
    "responsibleaipolicyviolation": "llm_content_filtered",
    "blockedpiientityerror": "guardrail_tripped",
    "guardrailraisedexception": "guardrail_tripped",
    # money: OpenAI, Anthropic, LiteLLM, Google's JSON APIs, AWS
    "billing": "quota_exhausted",
    "billing_error": "quota_exhausted",
    "billing_hard_limit_reached": "quota_exhausted",
    "billing_not_active": "quota_exhausted",
    "budgetexceedederror": "quota_exhausted",
    "credit_balance_too_low": "quota_exhausted",
    "dailylimitexceeded": "quota_exhausted",
    "insufficient_quota": "quota_exhausted",
    "quota_exceeded": "quota_exhausted",
    "quotaexceeded": "quota_exhausted",
    "servicequotaexceededexception": "quota_exhausted",
    "modelquotaexceedederror": "quota_exhausted",
    "contractspendlimitreachederror": "quota_exhausted",
    "enforcedspendlimitreachederror": "quota_exhausted",
    # an answer that does not fit, which LiteLLM tells with 500
    "jsonschemavalidationerror": "llm_invalid_response",
    "apiresponsevalidationerror": "llm_invalid_response",
    # too much to do: OpenAI, Anthropic, Bedrock
    "engine_overloaded": "llm_overloaded",
    "engine_overloaded_error": "llm_overloaded",
    "modelnotreadyexception": "llm_overloaded",
    "overloaded": "busy?",
    "overloaded_error": "llm_overloaded",
    # keys and rights, which AWS and Google also tell with 400
    "accessdenied": "permission?",
    "accessdeniedexception": "permission?",
    "api_key_invalid": "auth?",
    "expiredtoken": "auth?",
    "expiredtokenexception": "auth?",
    "invalidaccesskeyid": "auth?",
    "invalidclienttokenid": "auth?",
    "invalidsignatureexception": "auth?",
    "missingauthenticationtokenexception": "auth?",
    "signaturedoesnotmatch": "auth?",
    "unrecognizedclientexception": "auth?",
    "resourcenotfoundexception": "missing?",
    **dict.fromkeys(THROTTLED, "rate?"),
}

STATUS: Mapping[int, str] = {
    400: "bad?",
    401: "auth?",
    402: "quota_exhausted",
    403: "permission?",
    404: "missing?",
    408: "timeout?",
    409: "upstream_conflict",
    410: "missing?",
    413: "long?",
    422: "bad?",
    424: "upstream_unavailable",
    425: "upstream_unavailable",
    429: "rate?",
    451: "refused?",
    503: "busy?",
    504: "timeout?",
    522: "network_timeout",
    524: "timeout?",
    529: "busy?",
    # for all other statuses of each hundred
    4: "bad?",
    5: "upstream_unavailable",
}

# Words that count only when no status decides.
WEAK_WORDS: Mapping[str, str] = {
    "authentication_error": "auth?",
    "invalid_api_key": "auth?",
    "permission_error": "permission?",
    "model_not_found": "llm_model_not_found",
    "not_found_error": "missing?",
    "rate_limit_error": "rate?",
    "resource_exhausted": "rate?",
    "deadline_exceeded": "timeout?",
    "modeltimeoutexception": "llm_timeout",
    "timeout_error": "timeout?",
    "service_unavailable": "busy?",
    "serviceunavailableexception": "busy?",
    "unavailable": "busy?",
    "api_error": "upstream_unavailable",
    "internal_error": "upstream_unavailable",
    "internalserverexception": "upstream_unavailable",
    "modelerrorexception": "upstream_unavailable",
    "modelstreamerrorexception": "upstream_unavailable",
    "server_error": "upstream_unavailable",
    "invalid_request_error": "bad?",
    "validationexception": "bad?",
}

# The names of grpc.StatusCode; elsewhere these words mean many things.
GRPC: Mapping[str, str] = {
    "CANCELLED": "connection_interrupted",
    "UNKNOWN": "upstream_unavailable",
    "INVALID_ARGUMENT": "bad?",
    "DEADLINE_EXCEEDED": "timeout?",
    "NOT_FOUND": "missing?",
    "ALREADY_EXISTS": "upstream_conflict",
    "PERMISSION_DENIED": "permission?",
    "RESOURCE_EXHAUSTED": "rate?",
    "FAILED_PRECONDITION": "bad?",
    "ABORTED": "upstream_conflict",
    "OUT_OF_RANGE": "bad?",
    "UNIMPLEMENTED": "bad?",
    "INTERNAL": "upstream_unavailable",
    "UNAVAILABLE": "busy?",
    "DATA_LOSS": "upstream_unavailable",
    "UNAUTHENTICATED": "auth?",
}

# The codes of JSON-RPC and of MCP (2.3 of its Python SDK, and 408 of version 1).
JSON_RPC: Mapping[int, str] = {
    -32700: "upstream_invalid_response",
    -32600: "upstream_bad_request",
    -32601: "upstream_not_found",
    -32602: "upstream_bad_request",
    -32603: "upstream_unavailable",
    -32000: "connection_interrupted",
    -32001: "network_timeout",
    -32002: "upstream_not_found",
    -32042: "input_required",
    408: "network_timeout",
}

# --- classes --------------------------------------------------------------------------------

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
    # the address was malformed, and nothing was sent
    "InvalidURL": "configuration_error",
    "MissingSchema": "configuration_error",
    "InvalidSchema": "configuration_error",
    "NonHttpUrlClientError": "configuration_error",
    "UnsupportedProtocol": "configuration_error",
    "LocalProtocolError": "agent_exception",
    # the answer
    "ContentTypeError": "response?",
    "DecodingError": "response?",
    "IncompleteOutputException": "llm_invalid_response",
    "JSONDecodeError": "response?",
    "LengthFinishReasonError": "llm_invalid_response",
    "OutputParserException": "llm_invalid_response",
    "SSEError": "response?",
    "UnexpectedModelBehavior": "llm_invalid_response",
    # errors by status whose exception does not carry the status
    "OverloadedError": "busy?",
    "RateLimitError": "rate?",
    "RateLimitExceeded": "rate?",
    "RateLimitExceededException": "rate?",
    "ServiceUnavailableError": "busy?",
    "TooManyRequests": "rate?",
    "APIError": "upstream_unavailable",
    # the machine
    "MemoryError": "memory_limit_exceeded",
}

_DATABASE = frozenset(
    {"database_error", "resource_limit", "processing_error", "auth_error", "timeout"}
)
# The codes that a deeper cause may replace, and by which types. A connection may fail because no
# file descriptor is left; a dropped connection may be a timeout.
REFINED_BY: Mapping[str, frozenset[str]] = {
    # A key or an address that cannot be sent fails like a connection (httpx, wrapped by SDKs).
    "connection?": frozenset({"network_error", "timeout", "resource_limit", "processing_error"}),
    "connection_failed": frozenset({"resource_limit"}),
    "database?": _DATABASE,
    "query?": _DATABASE,
    "tool?": frozenset(
        {
            *("timeout", "rate_limit", "resource_limit", "network_error", "validation_error"),
            *("service_unavailable", "database_error", "auth_error", "invalid_input"),
            *("content_refused",),
        }
    ),
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
