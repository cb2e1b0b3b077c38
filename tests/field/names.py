"""
Failures that were called by the wrong name.

Where a library is part of the development environment its own classes are raised; the others
are stand-ins with the class's name, package, attributes and body. The real classes of all are
raised by ``make sdks``.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import types
import urllib.request
from typing import Any

import httpx2
import openai

from tests.field.case import Case, failed, named, raised

__all__ = ["CASES"]


def stand_in(package: str, name: str, text: str = "", **attributes: Any) -> Exception:
    error: Exception = type(name, (Exception,), {"__module__": package})(text)
    for key, value in attributes.items():
        setattr(error, key, value)
    return error


def answered(
    status: int,
    body: object = None,
    *,
    url: str = "https://api.example.org/v1/things",
    headers: dict[str, str] | None = None,
) -> httpx2.HTTPStatusError:
    """What httpx2 raises for an answer."""
    response = httpx2.Response(
        status, json=body, headers=headers, request=httpx2.Request("GET", url)
    )
    error = raised(response.raise_for_status)
    assert isinstance(error, httpx2.HTTPStatusError)
    return error


def bedrock(status: int, code: str, message: str, operation: str = "Converse") -> Exception:
    return stand_in(
        "botocore.errorfactory",
        code,
        f"An error occurred ({code}) when calling the {operation} operation: {message}",
        operation_name=operation,
        response={
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}},
        },
    )


def gemini(status: int, name: str, message: str, *details: object) -> Exception:
    body = {"error": {"code": status, "message": message, "status": name, "details": list(details)}}
    return stand_in(
        "google.genai.errors", "ClientError", code=status, status=name, message=message,
        details=body,
    )  # fmt: skip


def openai_error(status: int, body: dict[str, Any], **headers: str) -> BaseException:
    """What the openai SDK raises for an answer."""
    client = openai.OpenAI(
        api_key="sk-test", base_url="https://x.example/v1", max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(
            lambda request: httpx2.Response(status, json=body, headers=headers)
        ), verify=False),
    )  # fmt: skip
    with client:
        return raised(lambda: client.chat.completions.create(model="m", messages=[]))


def asked_openai(*, api_key: str, base_url: str | None = None) -> BaseException:
    """What the openai SDK raises for settings with which nothing can be sent."""

    async def ask(address: str) -> None:
        async with openai.AsyncOpenAI(
            api_key=api_key, base_url=base_url or address, max_retries=0
        ) as client:
            await client.chat.completions.create(model="m", messages=[])

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        return raised(lambda: asyncio.run(ask(f"http://127.0.0.1:{port}/v1")))


def keyless_anthropic() -> BaseException:
    """What the anthropic SDK raises without a key."""
    import anthropic  # which takes a second or more, and each test process collects this file

    def ask() -> None:
        with anthropic.Anthropic(base_url="http://127.0.0.1:9", max_retries=0) as client:
            client.messages.create(model="m", max_tokens=1, messages=[])

    kept = {name: os.environ.pop(name) for name in list(os.environ) if "ANTHROPIC" in name}
    try:
        return raised(ask)
    finally:
        os.environ.update(kept)


def overflow(body: dict[str, Any]) -> str:
    return named(openai_error(400, body))


THROTTLED = "Too many tokens, please wait before trying again."
LONG = "llm_context_too_long, not retried, not counted, shorten_input"
RATE = "llm_rate_limit, retried"
SERVICE_RATE = "upstream_rate_limit, retried"
SETTINGS = "configuration_error, not retried, not counted, contact_support"
WAITS = "input_required, not retried, not counted"
LIMITS = "step_limit_exceeded, not retried, not counted"
DENIED = "upstream_permission_denied, not retried, not counted, contact_support"

CASES: list[Case] = [
    # --- code and status beat the sentence ---
    Case("F03", "crewAI#7377, Roo-Code#5050", "Bedrock throttles: too many tokens, please wait",
         "llm_context_too_long, not retried", RATE,
         lambda: named(bedrock(429, "ThrottlingException", THROTTLED))),
    Case("F03a", "neighbour", "the same with status 400, as DynamoDB answers",
         "llm_context_too_long, not retried", SERVICE_RATE,
         lambda: named(bedrock(400, "ThrottlingException", THROTTLED, "Query"))),
    Case("F03b", "neighbour", "the same inside a stream, without a status",
         "llm_context_too_long, not retried", RATE,
         lambda: named(stand_in(
             "botocore.exceptions", "EventStreamError", operation_name="ConverseStream",
             response={"Error": {"Code": "throttlingException", "Message": THROTTLED}}))),
    Case("F03c", "neighbour", "the same, of which a framework kept only the text",
         "agent_exception, not retried", RATE,
         lambda: named(RuntimeError(str(bedrock(429, "ThrottlingException", THROTTLED))),
                       upstream=True)),
    Case("F03d", "neighbour", "one request is larger than the limit per minute",
         "llm_rate_limit, retried", LONG,
         lambda: named(openai_error(429, {"error": {
             "code": "rate_limit_exceeded", "type": "tokens",
             "message": "Request too large for m on tokens per min (TPM): Limit 9, Requested 12."
         }}))),
    Case("F03e", "neighbour", "a title that is quoted sounds like a long prompt",
         "llm_context_too_long", "llm_bad_request, not retried, not counted, contact_support",
         lambda: overflow({"error": {"message": "No such title: 'prompt is too long'"}})),

    # --- a limit that is told with 403 ---
    Case("F14", "php-github-api#1070", "GitHub's secondary limit: 403 with Retry-After",
         "llm_permission_denied, not retried", "upstream_rate_limit, retried, after 60 s",
         lambda: named(answered(403, {"message": "You have exceeded a limit"},
                                headers={"Retry-After": "60"}))),
    Case("F14a", "php-github-api#1070", "GitHub's limit: 403, nothing remaining, reset as a time",
         "llm_permission_denied, not retried", "upstream_rate_limit, retried, after 42 s",
         lambda: named(answered(403, headers={"x-ratelimit-remaining": "0",
                                              "x-ratelimit-reset": "1800000042"}))),
    Case("F14b", "neighbour", "Google's JSON API: 403 userRateLimitExceeded",
         "llm_permission_denied, not retried", SERVICE_RATE,
         lambda: named(answered(403, {"error": {"code": 403, "errors": [
             {"reason": "userRateLimitExceeded", "domain": "usageLimits"}]}}))),
    Case("F14c", "neighbour", "403 with much remaining is no rate limit", "-", DENIED,
         lambda: named(answered(403, headers={"x-ratelimit-remaining": "4999"}))),
    Case("F14d", "neighbour", "GitHub's secondary limit, told in a sentence only",
         "llm_permission_denied, not retried", SERVICE_RATE,
         lambda: named(answered(403, {"message": "You have exceeded a secondary rate limit."}))),

    # --- a language model is blamed only where one was asked ---
    *(Case(f"F15{letter}", "issue-metrics#779", f"a tool answers {status}", f"llm_{was}", right,
           lambda status=status: named(answered(status)))  # type: ignore[misc]
      for letter, status, was, right in (
          ("", 401, "auth_failed",
           "upstream_auth_failed, not retried, not counted, contact_support"),
          ("a", 404, "model_not_found",
           "upstream_not_found, not retried, not counted, contact_support"),
          ("b", 429, "rate_limit", SERVICE_RATE),
          ("c", 503, "overloaded", "upstream_unavailable, retried"),
      )),
    Case("F15d", "issue-metrics#779", "a tool answers with bad JSON", "llm_invalid_response",
         "upstream_invalid_response, retried",
         lambda: named(raised(lambda: json.loads("<html>")))),
    Case("F15e", "issue-metrics#779", "what a user reads of a tool's 404",
         "The language model for this agent is not available",
         "A service that this agent needs does not have what was asked for (upstream not found)."
         " Please contact support, who can put this right.",
         lambda: failed(answered(404))),
    Case("F15f", "neighbour", "a chat service's /messages is no language model's",
         "llm_rate_limit", SERVICE_RATE,
         lambda: named(answered(429, url="https://discord.com/api/v10/channels/7/messages"))),
    Case("F15g", "neighbour", "GitHub's SDK fails in an agent that declared its model",
         "llm_rate_limit", SERVICE_RATE,
         lambda: named(stand_in("github.GithubException", "RateLimitExceededException",
                                status=429), upstream=True)),
    Case("F15h", "neighbour", "a model's own SDK is a language model without a declaration", "-",
         RATE, lambda: named(openai_error(429, {}))),
    Case("F15i", "neighbour", "a bucket of a cloud that also has models",
         "llm_permission_denied",
         DENIED, lambda: named(bedrock(403, "AccessDenied", "Access Denied", "GetObject"))),

    # --- a delay is found wherever it stands ---
    Case("F16", "dirge#719", "X-RateLimit-Reset in milliseconds since the epoch",
         "llm_rate_limit, after 86400 s", "llm_rate_limit, retried, after 42 s",
         lambda: named(openai_error(429, {}, **{"X-RateLimit-Reset": "1800000042000"}))),
    Case("F16a", "neighbour", "the same inside the body, as a router passes headers on",
         "llm_rate_limit, retried", "llm_rate_limit, retried, after 42 s",
         lambda: named(openai_error(429, {"error": {"code": 429, "metadata": {"headers": {
             "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000042000"}}}}))),
    Case("F16b", "neighbour", "google.rpc.RetryInfo among the details", "llm_rate_limit, retried",
         "llm_rate_limit, retried, after 37 s",
         lambda: named(gemini(429, "RESOURCE_EXHAUSTED", "Slow down.", {
             "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"}))),
    Case("F16c", "neighbour", "RetryInfo as a protobuf message", "llm_rate_limit, retried",
         "upstream_rate_limit, retried, after 1.5 s",
         lambda: named(stand_in(
             "google.api_core.exceptions", "ResourceExhausted", code=429,
             details=[types.SimpleNamespace(
                 retry_delay=types.SimpleNamespace(seconds=1, nanos=500_000_000))]))),
    Case("F16d", "neighbour", "Azure's x-ms-retry-after-ms", "llm_rate_limit, retried",
         "llm_rate_limit, retried, after 1.5 s",
         lambda: named(openai_error(429, {}, **{"x-ms-retry-after-ms": "1500"}))),
    Case("F16e", "neighbour", "only in the sentence: try again in 1m12.5s",
         "llm_rate_limit, retried", "llm_rate_limit, retried, after 72.5 s",
         lambda: named(openai_error(429, {"error": {
             "message": "Rate limit reached. Please try again in 1m12.5s."}}))),
    Case("F16f", "neighbour", "an attribute in milliseconds", "agent_exception",
         "upstream_rate_limit, retried, after 2.5 s",
         lambda: named(stand_in("sdk", "Slow", status_code=429, retry_after_ms=2500))),
    Case("F16g", "neighbour", "Retry-After as a time since the epoch", "after 86400 s",
         "upstream_rate_limit, retried, after 42 s",
         lambda: named(answered(429, headers={"Retry-After": "1800000042"}))),
    Case("F16h", "neighbour", "Retry-After as a duration", "llm_rate_limit, retried",
         "upstream_rate_limit, retried, after 360 s, retry_later",
         lambda: named(answered(429, headers={"Retry-After": "6m0s"}))),
    Case("F16i", "neighbour", "Telegram: parameters.retry_after of the body",
         "llm_rate_limit, retried", "upstream_rate_limit, retried, after 14 s",
         lambda: named(answered(429, {"ok": False, "error_code": 429,
                                      "parameters": {"retry_after": 14}}))),

    # --- a text that is too long, in everybody's words ---
    Case("F17", "gemini-cli#6678", "Gemini: the input token count exceeds the maximum",
         "llm_bad_request, contact_support", LONG,
         lambda: named(gemini(400, "INVALID_ARGUMENT", "The input token count (1196265) exceeds"
                                   " the maximum number of tokens allowed (1048575)."))),
    Case("F17a", "continue#10218", "xAI: this model's maximum prompt length is …",
         "llm_bad_request, contact_support", LONG,
         lambda: overflow({"code": "Client specified an invalid argument", "error":
             "This model's maximum prompt length is 131072 but the request contains 537812."})),
    Case("F17b", "continue#10218", "llama.cpp: exceed_context_size_error",
         "llm_bad_request, contact_support", LONG,
         lambda: overflow({"error": {"code": 400, "type": "exceed_context_size_error", "message":
             "the request exceeds the available context size, try increasing it"}})),
    Case("F17c", "neighbour", "llama-cpp-python: a plain ValueError",
         "agent_exception", LONG,
         lambda: named(ValueError("Requested tokens (5000) exceed context window of 4096"))),
    Case("F17d", "neighbour", "a router passes on what the provider behind it said",
         "llm_bad_request, contact_support", LONG,
         lambda: overflow({"error": {"code": 400, "message": "Provider returned error",
             "metadata": {"raw": json.dumps({"error": {"type": "invalid_request_error",
                 "message": "prompt is too long: 210000 tokens > 200000 maximum"}})}}})),
    Case("F17e", "neighbour", "a local server answers it with 500",
         "upstream_unavailable, retried", LONG,
         lambda: named(openai_error(500, {"error": {"message":
             "input is too large to process. increase the physical batch size"}}))),
    Case("F17f", "neighbour", "of Anthropic's sentence a framework kept only the text",
         "agent_exception", LONG,
         lambda: named(RuntimeError(
             "LLM call failed: Error code: 400 - {'type': 'error', 'error': {'type':"
             " 'invalid_request_error', 'message': 'prompt is too long: 9 tokens > 5 maximum'}}"))),

    # --- settings with which nothing can be sent ---
    Case("F20", "langchain#21261", "an empty API key", "connection_failed, retried", SETTINGS,
         lambda: named(asked_openai(api_key=""))),
    Case("F20a", "openai-python#961", "a base_url without http://", "connection_failed, retried",
         SETTINGS, lambda: named(asked_openai(api_key="sk-test", base_url="localhost:8000/v1"))),
    Case("F20b", "neighbour", "a key with a line break at its end", "connection_failed, retried",
         SETTINGS, lambda: named(asked_openai(api_key="sk-test\n"))),
    Case("F20c", "neighbour", "no key at all", "upstream_unavailable", SETTINGS,
         lambda: named(raised(lambda: openai.OpenAI(
             api_key=None, admin_api_key=None, _enforce_credentials=True)))),
    Case("F20d", "neighbour", "an address without a scheme, without an SDK",
         "agent_exception", SETTINGS,
         lambda: named(raised(lambda: httpx2.Client(verify=False).get("localhost:8000/x")))),
    Case("F20e", "neighbour", "a key that the upstream does not know is told as such", "-",
         "llm_auth_failed, not retried, not counted, contact_support",
         lambda: named(gemini(400, "INVALID_ARGUMENT", "API key not valid.",
                              {"reason": "API_KEY_INVALID"}))),

    Case("F20f", "neighbour", "anthropic without a key: a TypeError", "agent_exception", SETTINGS,
         lambda: named(keyless_anthropic())),
    Case("F20g", "neighbour", "google-genai without a key: a ValueError", "agent_exception",
         SETTINGS, lambda: named(ValueError(
             "No API key was provided. Please pass a valid API key."))),
    Case("F20h", "neighbour", "langchain without a key: pydantic refuses the settings",
         "llm_invalid_response, retried", SETTINGS,
         lambda: named(stand_in("pydantic_core._pydantic_core", "ValidationError",
             "1 validation error for ChatX\n  Value error, Did not find x_api_key, please add an"
             " environment variable"))),
    Case("F20i", "neighbour", "litellm without a key: status 500", "upstream_unavailable, retried",
         SETTINGS, lambda: named(stand_in(
             "litellm.exceptions", "InternalServerError", status_code=500, message=
             "litellm.InternalServerError: OpenAIException - Missing credentials. Please pass an"
             " `api_key`, or set the `OPENAI_API_KEY` environment variable."))),
    Case("F20j", "neighbour", "urllib and an address without a scheme",
         "connection_failed, retried", SETTINGS, lambda: named(raised(
             lambda: urllib.request.urlopen("localhost:8000")))),

    # --- an agent that waits for a human ---
    Case("F26", "langgraph-supervisor-py#11", "a graph pauses for a human", "cancelled", WAITS,
         lambda: named(stand_in("langgraph.errors", "GraphInterrupt"))),
    Case("F26a", "langgraph-supervisor-py#11", "what its user reads", "This was cancelled.",
         "This agent needs an answer before it can go on (input required).",
         lambda: failed(stand_in("langgraph.errors", "GraphInterrupt"))),
    Case("F26b", "neighbour", "a tool call that has to be approved", "cancelled", WAITS,
         lambda: named(stand_in("pydantic_ai.exceptions", "ApprovalRequired"))),
    Case("F26c", "neighbour", "beside another node that failed: the failure is told", "cancelled",
         SERVICE_RATE,
         lambda: named(ExceptionGroup("nodes", [
             stand_in("langgraph.errors", "GraphInterrupt"), answered(429)]))),
    Case("F26d", "neighbour", "a tool of MCP asks its user to visit a page", "agent_exception",
         WAITS, lambda: named(stand_in("mcp.shared.exceptions", "McpError",
                                       error=types.SimpleNamespace(code=-32042)))),

    # --- limits that an agent sets itself ---
    Case("N01", "neighbour", "langgraph's recursion limit", "agent_exception", LIMITS,
         lambda: named(stand_in("langgraph.errors", "GraphRecursionError"))),
    Case("N02", "neighbour", "openai-agents' most turns", "agent_exception", LIMITS,
         lambda: named(stand_in("agents.exceptions", "MaxTurnsExceeded"))),
    Case("N03", "neighbour", "pydantic-ai's usage limit", "agent_exception",
         "usage_limit_exceeded, not retried, not counted",
         lambda: named(stand_in("pydantic_ai.exceptions", "UsageLimitExceeded"))),
]  # fmt: skip
