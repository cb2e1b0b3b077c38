"""
Known exceptions: classes that mean something in their package, each with where that was seen.

A row counts for the class and for what is derived from it; of several rows that fit, the most
exact class decides. What is here is what status, code and the names in ``signatures`` do not
tell. ``tests/field/test_sdks.py`` raises the real classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

__all__ = ["KNOWN", "ROWS", "Row"]


class Row(NamedTuple):
    """
    One class.

    Attributes:
        package: Its root package, or two names where many share a root (``google.auth``).
        name: The name of the class.
        code: The error code, as in ``signatures``.
        source: The library and the version in which it was looked at, or the report.
    """

    package: str
    name: str
    code: str
    source: str


def _rows(package: str, source: str, classes: Mapping[str, str]) -> Iterator[Row]:
    for code, names in classes.items():
        for name in names.split():
            yield Row(package, name, code, source)


def _all(*libraries: Iterable[Row]) -> tuple[Row, ...]:
    return tuple(row for library in libraries for row in library)


# fmt: off
ROWS: tuple[Row, ...] = _all(
    # --- SDKs of models ---
    # The base classes are raised for settings: no key, no address (langchain#21261).
    _rows("openai", "openai 3.57", {
        "configuration_error": "OpenAIError",
        "connection_interrupted": "WebSocketConnectionClosedError",
        "capacity_exceeded": "WebSocketQueueFullError",
        "upstream_bad_request": "InvalidWebhookSignatureError",
        "llm_auth_failed": "OAuthError",
    }),
    _rows("anthropic", "anthropic 2.14", {
        "configuration_error": "AnthropicError CredentialsError",
        "upstream_unavailable": "RetryableError",
        "llm_auth_failed": "WorkloadIdentityError",
        "quota_exhausted": "LinkedOrganizationSpendLimitReachedError",
        "llm_permission_denied": "OrganizationOnHoldError",
    }),
    _rows("groq", "groq 1.7", {"configuration_error": "GroqError"}),
    _rows("cohere", "cohere 7.3", {"configuration_error": "ApiError"}),
    _rows("mistralai", "mistralai 3.7", {
        "llm_invalid_response": "ResponseValidationError",
        "upstream_unavailable": "MistralError NoResponseError SDKError",
        "llm_bad_request": "HTTPValidationError",
    }),
    _rows("google.genai", "google-genai 3.6", {
        "upstream_unavailable": "APIError ContinuationInterruptedError",
        "llm_invalid_response": "UnknownApiResponseError UnknownFunctionCallArgumentError",
        "configuration_error": "UnsupportedFunctionError",
        "tool?": "FunctionInvocationError",
    }),
    _rows("ollama", "ollama 0.6", {
        "llm_bad_request": "RequestError",
        "upstream_unavailable": "ResponseError",
    }),
    _rows("litellm", "litellm 1.110", {
        "llm_content_filtered": "ContentPolicyViolationError RejectedRequestError",
        "guardrail_tripped": "ModifyResponseException SensitiveDataRouteException",
        "llm_timeout": "Timeout",
        "llm_bad_request": "UnsupportedParamsError",
        "upstream_unavailable": "MidStreamFallbackError OpenAIError",
        "configuration_error": "LiteLLMUnknownProvider",
        "llm_model_not_found": "ModelNotMappedError",
    }),
    _rows("huggingface_hub", "huggingface_hub 2.4", {
        "llm_timeout": "InferenceTimeoutError InferenceEndpointTimeoutError",
        "llm_bad_request": "ValidationError",
        "llm_invalid_response": "IncompleteGenerationError GenerationError UnknownError"
                                " TextGenerationError",
        "upstream_unavailable": "InferenceEndpointError XetDownloadError FileMetadataError"
                                " RevisionResolutionError SandboxError",
        "upstream_not_found": "LocalEntryNotFoundError EntryNotFoundError CacheNotFound"
                              " CachedRepoTreeNotFoundError NotASafetensorsRepoError"
                              " RepositoryNotFoundError",
        "upstream_invalid_response": "CorruptedCacheException SafetensorsParsingError DDUFError",
        "upstream_permission_denied": "GatedRepoError DisabledRepoError",
        "upstream_auth_failed": "DeviceCodeError OIDCError",
        "configuration_error": "LocalTokenNotFoundError OfflineModeIsEnabled HFValidationError"
                               " HfUriError StrictDataclassError CLIError DryRunError"
                               " FileDuplicationError",
        "tool?": "SandboxCommandError",
    }),

    # --- frameworks of agents ---
    _rows("langchain_core", "langchain-core 1.8", {
        "llm_auth_failed": "ModelAuthenticationError",
        "llm_permission_denied": "ModelPermissionDeniedError",
        "llm_bad_request": "ModelInvalidRequestError",
        "llm_model_not_found": "ModelNotFoundError",
        "llm_rate_limit": "ModelRateLimitError",
        "llm_timeout": "ModelTimeoutError",
        "llm_context_too_long": "ContextOverflowError",
        "llm_content_filtered": "ModelRefusalError",
        "connection?": "ModelConnectionError",
        "upstream_unavailable": "ModelAPIError ModelError",
        "configuration_error": "SchemaAnnotationError",
        "tool?": "ToolException",
    }),
    _rows("langchain_openai", "langchain-openai 1.7", {
        "llm_context_too_long": "OpenAIContextOverflowError OpenAIAPIContextOverflowError",
        "llm_content_filtered": "OpenAIRefusalError",
    }),
    _rows("langchain", "langchain 1.5", {
        "step_limit_exceeded": "ModelCallLimitExceededError ToolCallLimitExceededError",
        "content_refused": "PIIDetectionError",
        "llm_invalid_response": "StructuredOutputError",
    }),
    _rows("langgraph", "langgraph 1.2", {
        "step_limit_exceeded": "GraphRecursionError",
        "task_timeout": "NodeTimeoutError",
        "connection_interrupted": "NodeCancelledError",
        "configuration_error": "InvalidUpdateError UnknownInterruptError",
        "invalid_input": "EmptyInputError EmptyChannelError",
        "upstream_not_found": "TaskNotFound",
    }),
    _rows("pydantic_ai", "pydantic-ai 2.68", {
        "usage_limit_exceeded": "UsageLimitExceeded",
        "capacity_exceeded": "ConcurrencyLimitExceeded",
        "configuration_error": "UserError",
        "llm_content_filtered": "ContentFilterError",
        "llm_invalid_response": "UnexpectedModelBehavior RetryModelRequest SkipModelRequest",
        "llm_rate_limit": "ModelRateLimitError",
        "llm_overloaded": "ModelUnavailableError",
        "llm_timeout": "ModelTimeoutError ModelRequestTimeout RunTimedOut",
        "llm_auth_failed": "ModelAuthenticationError",
        "llm_model_not_found": "ModelNotFoundError",
        "llm_bad_request": "ModelRequestRejectedError",
        "connection?": "ModelConnectionError",
        "control_flow": "RunCancelled",
        "upstream_unavailable": "ModelAPIError ModelServerError SuspendedResponseExpired",
        "tool?": "ModelRetry ToolFailed ToolRetryError ToolFailedError SkipToolExecution"
                 " SkipToolValidation",
    }),
    _rows("agents", "openai-agents 0.24", {
        "step_limit_exceeded": "MaxTurnsExceeded",
        "llm_invalid_response": "ModelBehaviorError",
        "llm_content_filtered": "ModelRefusalError",
        "llm_timeout": "ModelTimeoutError",
        "network_timeout": "ToolTimeoutError",
        "connection_interrupted": "MCPToolCancellationError",
        "configuration_error": "UserError",
        "guardrail_tripped": "InputGuardrailTripwireTriggered OutputGuardrailTripwireTriggered"
                             " ToolInputGuardrailTripwireTriggered"
                             " ToolOutputGuardrailTripwireTriggered",
    }),
    _rows("mcp", "mcp 2.3 and 1.30", {
        "tool?": "MCPError McpError ToolError",
        "step_limit_exceeded": "InputRequiredRoundsExceededError",
        "upstream_auth_failed": "OAuthFlowError",
        "configuration_error": "InvalidUriTemplate",
    }),
    _rows("fastmcp", "fastmcp 4.2", {
        "tool?": "ToolError ResourceError PromptError FastMCPError ClientError MCPError McpError",
        "upstream_not_found": "NotFoundError DisabledError",
        "upstream_bad_request": "ValidationError",
        "upstream_permission_denied": "AuthorizationError",
        "configuration_error": "InvalidSignature",
    }),
    _rows("crewai", "crewai 1.15", {"llm_context_too_long": "LLMContextLengthExceededError"}),
    _rows("google.adk", "google-adk 2.13", {
        "step_limit_exceeded": "LlmCallsLimitExceededError",
        "upstream_not_found": "NotFoundError",
        "upstream_conflict": "AlreadyExistsError StaleSessionError",
    }),
    _rows("smolagents", "smolagents 1.26", {
        "step_limit_exceeded": "AgentMaxStepsError",
        "llm_invalid_response": "AgentParsingError",
        "tool?": "AgentToolExecutionError AgentToolCallError AgentExecutionError",
        "upstream_unavailable": "AgentGenerationError",
    }),
    _rows("strands", "strands-agents 1.62", {
        "connection_failed": "MCPClientInitializationError",
        "tool?": "ToolProviderException",
        "upstream_conflict": "ConcurrencyException",
        "llm_context_too_long": "ContextWindowOverflowException",
        "llm_rate_limit": "ModelThrottledException",
        "llm_invalid_response": "MaxTokensReachedException StructuredOutputException",
    }),
    _rows("workflows", "llama-index-workflows 2.26", {
        "task_timeout": "WorkflowTimeoutError",
        "configuration_error": "WorkflowValidationError WorkflowConfigurationError"
                               " WorkflowStepDoesNotExistError",
    }),
    _rows("claude_agent_sdk", "claude-agent-sdk 0.2", {
        "configuration_error": "CLINotFoundError",
        "connection_failed": "CLIConnectionError",
        "llm_invalid_response": "CLIJSONDecodeError MessageParseError",
        "connection?": "ClaudeSDKError",
        "tool?": "ProcessError",
    }),

    # --- HTTP ---
    _rows("httpx", "httpx 0.28", {
        "upstream_invalid_response": "TooManyRedirects RequestError",
        "connection_interrupted": "RemoteProtocolError StreamClosed",
        "connection?": "HTTPError",
    }),
    _rows("httpx2", "httpx2 2.16", {
        "upstream_invalid_response": "TooManyRedirects RequestError",
        "connection_interrupted": "RemoteProtocolError StreamClosed",
        "connection?": "HTTPError",
    }),
    _rows("requests", "requests 2.34", {
        "configuration_error": "InvalidHeader InvalidProxyURL URLRequired",
        "upstream_invalid_response": "TooManyRedirects ContentDecodingError",
        "upstream_unavailable": "RetryError",
        "connection?": "RequestException",
    }),
    _rows("urllib3", "urllib3 2", {
        "configuration_error": "LocationValueError ProxySchemeUnknown ProxySchemeUnsupported",
        "timeout?": "TimeoutError",
        "upstream_invalid_response": "DecodeError ResponseError",
        "capacity_exceeded": "EmptyPoolError FullPoolError",
        "connection?": "HTTPError",
    }),
    _rows("aiohttp", "aiohttp 3.14", {
        "upstream_invalid_response": "TooManyRedirects RedirectClientError WSMessageTypeError",
        "connection_failed": "ClientSSLError ServerFingerprintMismatch WSServerHandshakeError",
        "connection_interrupted": "WebSocketError UploadAbortedError EofStream",
        "connection?": "ClientError",
    }),

    # --- clouds ---
    # What boto's base class is derived for is nearly all settings and parameters.
    _rows("botocore", "botocore 1.44", {
        "configuration_error": "BotoCoreError UndefinedModelAttributeError",
        "connection?": "HTTPClientError ConnectionError",
        "connection_interrupted": "ConnectionClosedError ResponseStreamingError"
                                  " IncompleteReadError",
        "connection_failed": "EndpointConnectionError ProxyConnectionError SSLError",
        "timeout?": "ReadTimeoutError",
        "network_timeout": "ConnectTimeoutError WaiterError MetadataRetrievalError",
        "upstream_auth_failed": "TokenRetrievalError CredentialRetrievalError"
                                " UnauthorizedSSOTokenError SSOTokenLoadError"
                                " RefreshUnauthorizedError LoginTokenLoadError"
                                " LoginRefreshRequired",
        "upstream_bad_request": "ParamValidationError ValidationError MissingParametersError",
        "upstream_invalid_response": "ChecksumError EventStreamError ClientError"
                                     " FlexibleChecksumError",
        "capacity_exceeded": "CapacityNotAvailableError",
    }),
    _rows("boto3", "boto3 1.44", {
        "configuration_error": "Boto3Error DynamoDBNeedsConditionError"
                               " DynamoDBOperationNotSupportedError",
        "connection_interrupted": "RetriesExceededError",
        "tool?": "S3TransferFailedError S3UploadFailedError",
    }),
    _rows("google.api_core", "google-api-core 2.44", {
        "timeout?": "RetryError TransferStalledError",
        "upstream_unavailable": "GoogleAPIError",
        "connection_interrupted": "Cancelled",
        "configuration_error": "DuplicateCredentialArgs AsyncRestUnsupportedParameterError",
    }),
    _rows("google.auth", "google-auth 2", {
        "configuration_error": "GoogleAuthError",
        "upstream_auth_failed": "RefreshError OAuthError ReauthFailError UserAccessTokenError",
        "connection?": "TransportError",
        "network_timeout": "TimeoutError",
        "upstream_invalid_response": "ResponseError",
    }),
    _rows("azure.core", "azure-core 1.41", {
        "connection?": "AzureError ServiceRequestError",
        "connection_interrupted": "ServiceResponseError StreamConsumedError StreamClosedError"
                                  " ResponseNotReadError IncompleteReadError",
        "network_timeout": "ServiceRequestTimeoutError",
        "timeout?": "ServiceResponseTimeoutError",
        "upstream_invalid_response": "DecodeError DeserializationError TooManyRedirectsError",
        "upstream_bad_request": "SerializationError",
        "auth?": "ClientAuthenticationError",
        "missing?": "ResourceNotFoundError",
        "upstream_conflict": "ResourceExistsError ResourceModifiedError",
        "upstream_unavailable": "HttpResponseError",
    }),
    _rows("azure.identity", "azure-identity 1.27", {
        "configuration_error": "CredentialUnavailableError",
        "upstream_auth_failed": "AuthenticationRequiredError",
    }),
    _rows("grpc", "grpcio 1.85", {
        "timeout?": "FutureTimeoutError",
        "connection_interrupted": "FutureCancelledError AbortError",
        "upstream_unavailable": "RpcError InternalError BaseError",
        "configuration_error": "UsageError",
    }),

    # --- databases, where name and SQLSTATE do not tell ---
    _rows("redis", "redis 8.1", {
        "upstream_auth_failed": "AuthenticationError AuthorizationError ExternalAuthProviderError"
                                " AuthenticationWrongNumberOfArgsError",
        "upstream_permission_denied": "NoPermissionError",
        "database_conflict": "WatchError LockError",
        "database_connection_lost": "ReadOnlyError ClusterDownError TryAgainError InvalidResponse"
                                    " RedisClusterException ClusterError ChildDeadlockedError",
    }),
    _rows("asyncpg", "asyncpg 0.32", {
        "configuration_error": "ClientConfigurationError UnsupportedClientFeatureError"
                               " UnsupportedServerFeatureError",
        "database_connection_lost": "InternalClientError TargetServerAttributeNotMatched",
    }),
    _rows("sqlalchemy", "sqlalchemy 2.1", {
        "configuration_error": "NoSuchModuleError ArgumentError NoDBAPILoaded",
        "database_conflict": "StaleDataError",
    }),
    _rows("pymongo", "pymongo 4.20", {
        "configuration_error": "ConfigurationError InvalidURI",
        "database_connection_lost": "NotPrimaryError WaitQueueTimeoutError",
    }),

    # --- answers and machines ---
    _rows("pydantic", "pydantic 2.14", {"response?": "ValidationError"}),
    _rows("pydantic_core", "pydantic-core 2.50", {"response?": "ValidationError"}),
    _rows("msgspec", "msgspec 0.20", {"response?": "DecodeError ValidationError"}),
    _rows("jsonschema", "jsonschema 4", {"response?": "ValidationError"}),
    _rows("torch", "torch, its documentation of 2", {"memory_limit_exceeded": "OutOfMemoryError"}),

    # --- tools that say their delay by their class ---
    _rows("telethon", "telethon 1.45", {
        "rate?": "FloodError",
        "auth?": "UnauthorizedError AuthKeyError",
        "permission?": "ForbiddenError",
        "missing?": "NotFoundError",
        "bad?": "BadRequestError",
        "network_timeout": "TimedOutError BotTimeout",
        "upstream_unavailable": "RPCError",
    }),
    _rows("telegram", "python-telegram-bot 22.8", {
        "rate?": "RetryAfter",
        "auth?": "InvalidToken",
        "permission?": "Forbidden",
        "bad?": "BadRequest ChatMigrated",
        "missing?": "EndPointNotFound",
        "upstream_conflict": "Conflict",
        "upstream_unavailable": "TelegramError",
        "network_timeout": "TimedOut",
        "connection?": "NetworkError",
    }),
)
# fmt: on

KNOWN: Mapping[tuple[str, str], str] = {(row.package, row.name): row.code for row in ROWS}
