"""
The operations of the table as MCP tools. This is the only file that imports the official SDK.

Parameters that do not comply are a JSON-RPC error (-32602). An operation that is refused is a
result with ``isError``, so that a model can read it and act (MCP 2025-06-18, server/tools,
"Error Handling"). Both carry the text code, ``field`` and ``retry_after`` as at the other doors.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Coroutine, Mapping
from typing import Any

import anyio
import mcp_types as types
import orjson
from mcp.server.caching import CacheHint
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from gateway.domain.access import Caller
from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import RequestError, StoreUnavailable, Unavailable
from gateway.execution.service import Service
from gateway.protocol.operations import OPERATIONS, Operation
from gateway.protocol.session import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND
from gateway.transports.requests import BODY_BYTES_MAX

__all__ = ["REFUSED", "TOOLS", "McpTools", "input_schema", "output_schema"]

TOOLS: Mapping[str, Operation] = {
    name: operation for name, operation in OPERATIONS.items() if operation.tool
}

INSTRUCTIONS = (
    "This gateway supervises AI agents. To give an agent a task: task.create, then task.get until "
    "the status is succeeded, failed, cancelled or dead_lettered. To work on tasks: agent.register "
    "(keep agent_id and agent_secret), agent.heartbeat at its interval, task.claim, task.update, "
    "then task.complete or task.fail with the term of the claim."
)

# How long a client may keep the list, in milliseconds. Only a new version changes the list.
LIST_FRESH_MS = 300_000

REFUSED: Mapping[str, Any] = {
    "title": "refused",
    "description": "the operation was refused (isError); `code` says why",
    "type": "object",
    "properties": {
        "code": {"type": "string"},
        "field": {"type": "string"},
        "retry_after": {"type": "number", "description": "seconds"},
    },
    "required": ["code"],
}
NOTHING: Mapping[str, Any] = {
    "title": "nothing",
    "description": "there is none, for example no task to claim",
    "type": "object",
    "maxProperties": 0,
}

# The key of the caller in a request's ASGI scope.
_CALLER = "gateway.caller"

_CODES = {METHOD_NOT_FOUND: "method_not_found", INVALID_PARAMS: "invalid_params"}

logger = logger_of(__name__)


class McpTools:
    """
    Answers MCP messages.

    Args:
        service: What answers the operations.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._listed = types.ListToolsResult(tools=[_tool(each) for each in TOOLS.values()])
        self._server: Server[Any] = Server(
            "agent-failure-gateway",
            version="1",
            instructions=INSTRUCTIONS,
            on_list_tools=self._list,
            on_call_tool=self._call,
            # No schema has `x-mcp-header`, so that no header is to be compared with a parameter.
            get_tool_input_schema=lambda name: None,
            cache_hints={"tools/list": CacheHint(ttl_ms=LIST_FRESH_MS, scope="public")},
        )
        self._server.middleware.append(_with_text_codes)
        # The SDK logs three lines at INFO for each request.
        sdk = logging.getLogger("mcp.server")  # noqa: TID251 - not ours
        if sdk.level == logging.NOTSET:
            sdk.setLevel(logging.WARNING)

    async def serve(self, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Answer one POST.

        Cancelling cancels the call, and returns when the call has undone itself.

        Args:
            caller: The caller that the token names.
            scope: The request, whose body ``receive`` gives.
        """
        # A manager for each request: no task of the request outlives ``run``.
        manager = StreamableHTTPSessionManager(
            self._server,
            json_response=True,
            stateless=True,
            max_request_body_size=BODY_BYTES_MAX,
        )
        async with manager.run():
            await manager.handle_request({**scope, _CALLER: caller}, receive, send)

    async def _list(
        self, context: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        if params is not None and params.cursor is not None:
            data = {"code": "invalid_params", "field": "cursor"}
            raise MCPError(INVALID_PARAMS, "no list of tools gave that cursor", data)
        return self._listed

    async def _call(
        self, context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        if params.name not in TOOLS:
            data = {"code": "not_found", "field": "name"}
            raise MCPError(INVALID_PARAMS, "there is no such tool; tools/list names them", data)
        assert context.request is not None
        caller: Caller = context.request.scope[_CALLER]
        try:
            result = await _cancelled_once(
                self._service.call(params.name, params.arguments or {}, caller)
            )
        except StoreUnavailable as error:
            return _refused(Unavailable("the store is away", retry_after=error.retry_after))
        except RequestError as error:
            if error.jsonrpc_code == INVALID_PARAMS:
                raise MCPError(INVALID_PARAMS, error.message, error.data()) from None
            return _refused(error)
        return _answered({} if result is None else result)


def input_schema(operation: Operation) -> dict[str, Any]:
    """
    Describe a tool's arguments: the parameters as in the table, and of ``one_of`` exactly one.

    That is said by ``if``. Services of language models refuse every tool of a client when one has
    ``oneOf``, ``anyOf`` or ``allOf`` at the top of its schema.
    """
    schema = dict(operation.params)
    if operation.one_of:
        first, second = operation.one_of
        schema["if"] = {"required": [first]}
        schema["then"] = {"properties": {second: False}}
        schema["else"] = {"required": [second]}
    return schema


def output_schema(operation: Operation) -> dict[str, Any]:
    """
    Describe a tool's structured content: the result as in the table, or the refusal.

    Structured content has to be an object, so that a result of null becomes an empty object. The
    refusal is part of the schema because the TypeScript SDK validates it against the schema.
    """
    answers = [operation.result, REFUSED]
    if operation.result["type"] != "object":
        answers.insert(1, NOTHING)
    return {"type": "object", "anyOf": [dict(answer) for answer in answers]}


async def _cancelled_once(work: Coroutine[Any, Any, Any]) -> Any:
    """
    Run ``work``. Cancelling cancels ``work`` once, and waits until it has undone itself.

    A cancel scope of the SDK would interrupt each await of the undoing as well.
    """
    working = asyncio.ensure_future(work)
    try:
        await asyncio.wait({working})
    except asyncio.CancelledError:
        # Also when it is done by now: an error that nobody looks at would be logged as a fault.
        working.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(working, return_exceptions=True)
        raise
    try:
        return working.result()
    finally:
        del working  # else it, its error and this frame would hold each other


def _tool(operation: Operation) -> types.Tool:
    return types.Tool(
        name=operation.name,
        description=operation.summary,
        input_schema=input_schema(operation),
        output_schema=output_schema(operation),
        annotations=types.ToolAnnotations(read_only_hint=operation.method == "GET"),
    )


def _answered(result: dict[str, Any]) -> types.CallToolResult:
    text = types.TextContent(type="text", text=orjson.dumps(result).decode())
    return types.CallToolResult(content=[text], structured_content=result)


def _refused(error: RequestError) -> types.CallToolResult:
    text = f"{error.message} ({error.code})"
    if error.retry_after is not None:
        text += f"; try again in {math.ceil(error.retry_after * 10) / 10:.1f} s"
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        structured_content=error.data(),
        is_error=True,
    )


async def _with_text_codes(
    ctx: ServerRequestContext[Any, Any], call_next: CallNext
) -> HandlerResult:
    """Give every error its text code; an unexpected error is logged, not shown."""
    try:
        return await call_next(ctx)
    except MCPError as error:
        if isinstance(error.data, dict):
            raise
        data = {"code": _CODES.get(error.code, "invalid_request")}
        raise MCPError(error.code, error.message, data) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"] if part != "params") or "params"
        data = {"code": "invalid_params", "field": field}
        message = f"{ctx.method}: {field}: {first['msg']}"
        raise MCPError(INVALID_PARAMS, message, data) from None
    except Exception:
        logger.exception("%s failed", ctx.method)
        raise MCPError(INTERNAL_ERROR, "internal error", {"code": "internal_error"}) from None
