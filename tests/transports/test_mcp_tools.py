"""Operations as tools: which ones, with which schemas, and what becomes of each outcome."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Generator, Mapping
from typing import Any, cast

import orjson
import pytest
from jsonschema import Draft202012Validator
from starlette.types import Message

from gateway.domain.access import LOCAL_OPERATOR, Caller
from gateway.domain.errors import (
    Conflict,
    InvalidEvent,
    InvalidParams,
    LockHeld,
    NotPermitted,
    RateLimitedRequest,
    StoreUnavailable,
)
from gateway.execution.service import Service
from gateway.protocol.operations import OPERATIONS
from gateway.transports.mcp_tools import (
    INSTRUCTIONS,
    REFUSED,
    TOOLS,
    McpTools,
    _cancelled_once,
    input_schema,
    output_schema,
)
from tests.transports.mcp_client import HEADERS, call

ALL = pytest.mark.parametrize("name", TOOLS)


class Told:
    """A service that answers what it is told to."""

    def __init__(self, outcome: Any = None) -> None:
        self.outcome = outcome
        self.calls: list[tuple[str, Mapping[str, Any], Caller]] = []

    async def call(self, name: str, params: Mapping[str, Any], caller: Caller) -> Any:
        self.calls.append((name, params, caller))
        if isinstance(self.outcome, asyncio.Event):
            await self.outcome.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


async def serve(service: Told, message: Any, *, caller: Caller = LOCAL_OPERATOR) -> Any:
    """Give one message to the tools; returns the reply."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": orjson.dumps(message)}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(name.encode(), text.encode()) for name, text in HEADERS.items()]
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/mcp", "headers": headers}
    await McpTools(cast("Service", service)).serve(caller, scope, receive, send)
    assert sent[0]["status"] == 200
    return orjson.loads(b"".join(part.get("body", b"") for part in sent[1:]))


async def result_of(service: Told, name: str = "task.list", **arguments: Any) -> dict[str, Any]:
    reply = await serve(service, call(name, arguments))
    result: dict[str, Any] = reply["result"]
    return result


# --- what is told of them -------------------------------------------------------------------


def test_the_tools_are_what_callers_and_workers_do() -> None:
    """What operates or counts is no tool, nor is what ends or repeats another one's task."""
    no_tools = OPERATIONS.keys() - TOOLS.keys()
    assert {name for name in no_tools if OPERATIONS[name].scope != "admin"} == {
        "impact",
        "mode.get",
        "stats.get",
        "task.cancel",
        "task.retry",
    }
    assert {OPERATIONS[name].scope for name in TOOLS} & {"admin"} == set()


@ALL
def test_both_schemas_are_schemas_of_objects(name: str) -> None:
    for schema in (input_schema(TOOLS[name]), output_schema(TOOLS[name])):
        assert schema["type"] == "object"
        Draft202012Validator.check_schema(schema)


@ALL
def test_every_model_service_takes_the_schema_of_the_arguments(name: str) -> None:
    """
    A choice at its top is refused by some, and with it all tools of the client.

    See https://github.com/makenotion/notion-mcp-server/issues/340.
    """
    assert not input_schema(TOOLS[name]).keys() & {"oneOf", "anyOf", "allOf", "not", "enum"}


def test_of_parameters_that_exclude_each_other_a_tool_takes_exactly_one() -> None:
    """As its handler does; a model that reads the schema need not find out by a refusal."""
    found = {name: operation.one_of for name, operation in TOOLS.items() if operation.one_of}
    assert found == {"task.create": ("agent", "capability")}
    taken = Draft202012Validator(input_schema(TOOLS["task.create"]))
    assert taken.is_valid({"agent": "writer"})
    assert taken.is_valid({"capability": "text", "input": 1})
    assert not taken.is_valid({"agent": "writer", "capability": "text"})
    assert not taken.is_valid({"input": 1})


@ALL
def test_a_refusal_complies_with_the_schema_of_every_tool(name: str) -> None:
    """Strict clients compare it although it is an error."""
    output = Draft202012Validator(output_schema(TOOLS[name]))
    assert output.is_valid({"code": "conflict", "retry_after": 1.5, "field": "x"})
    assert output_schema(TOOLS[name])["anyOf"][-1] == REFUSED
    nothing = "null" in TOOLS[name].result["type"]
    assert output.is_valid({}) or not nothing


def test_the_instructions_name_tools_that_exist() -> None:
    named = {word.strip(".,") for word in INSTRUCTIONS.split() if "." in word.strip(".,")}
    assert named
    assert named <= TOOLS.keys()


# --- what becomes of a call -----------------------------------------------------------------


async def test_a_result_comes_as_it_is_and_as_text() -> None:
    service = Told({"items": [], "next": None})
    result = await result_of(service, limit=3)
    assert service.calls == [("task.list", {"limit": 3}, LOCAL_OPERATOR)]
    assert result["structuredContent"] == {"items": [], "next": None}
    assert orjson.loads(result["content"][0]["text"]) == result["structuredContent"]
    assert not result["isError"]


async def test_that_there_is_none_is_an_empty_object() -> None:
    result = await result_of(Told(None), "task.claim")
    assert (result["structuredContent"], result["isError"]) == ({}, False)


@pytest.mark.requirement("MESH-08")
@pytest.mark.parametrize(
    ("error", "data", "text"),
    [
        (Conflict("it has ended"), {"code": "conflict"}, "it has ended (conflict)"),
        (
            LockHeld("held", holder="ann", retry_after=1.2345),
            {"code": "lock_held", "field": "resource_key", "retry_after": 1.235, "holder": "ann"},
            "held (lock_held); try again in 1.3 s",
        ),
        (NotPermitted("no"), {"code": "not_permitted"}, "no (not_permitted)"),
        (
            RateLimitedRequest("slowly", retry_after=2),
            {"code": "rate_limited", "retry_after": 2},
            "slowly (rate_limited); try again in 2.0 s",
        ),
        (
            StoreUnavailable("secret address", retry_after=1),
            {"code": "unavailable", "retry_after": 1},
            "the store is away (unavailable); try again in 1.0 s",
        ),
    ],
)
async def test_a_refusal_is_a_result_for_the_model_to_read(
    error: Exception, data: dict[str, Any], text: str
) -> None:
    result = await result_of(Told(error))
    assert result["isError"]
    assert result["structuredContent"] == data
    assert result["content"] == [{"type": "text", "text": text}]


@pytest.mark.requirement("MESH-08")
@pytest.mark.parametrize(
    "error", [InvalidParams("wrong", field="x"), InvalidEvent("wrong", field="x")]
)
async def test_wrong_parameters_are_an_error_of_the_protocol(error: Any) -> None:
    reply = await serve(Told(error), call("task.list"))
    assert reply["error"] == {"code": -32602, "message": "wrong", "data": error.data()}


async def test_an_unexpected_error_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    reply = await serve(Told(ZeroDivisionError("the secret is 42")), call("task.list"))
    expected = {"code": -32603, "message": "internal error", "data": {"code": "internal_error"}}
    assert reply["error"] == expected
    assert "the secret is 42" in caplog.text


async def test_cancelling_ends_the_call_and_returns_when_it_has_ended() -> None:
    ended = False

    class Slow(Told):
        async def call(self, name: str, params: Mapping[str, Any], caller: Caller) -> Any:
            try:
                return await super().call(name, params, caller)
            finally:
                await asyncio.wait({asyncio.ensure_future(asyncio.Event().wait())}, timeout=0.01)
                nonlocal ended
                ended = True

    service = Slow(asyncio.Event())
    serving = asyncio.create_task(serve(service, call("task.list")))
    while not service.calls:
        await asyncio.wait({serving}, timeout=0.001)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert ended


async def test_a_call_leaves_no_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The SDK has two for each request at INFO, about sessions that are none."""
    with caplog.at_level(logging.INFO):
        await result_of(Told({}))
    assert caplog.records == []


async def test_a_call_that_fails_as_it_is_cancelled_leaves_no_error_behind() -> None:
    """A client that goes at that moment had its refusal logged as a fault, with a traceback."""
    left: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: left.append(context))
    going = loop.create_future()

    async def fails() -> None:
        await going
        raise Conflict("for the test")

    calling = asyncio.create_task(_cancelled_once(fails()))
    await _Round()
    (working,) = asyncio.all_tasks() - {asyncio.current_task(), calling}
    going.set_result(None)
    while not working.done():
        await _Round()
    calling.cancel()
    await asyncio.wait({calling})
    assert calling.cancelled()
    del working, calling
    gc.collect()
    assert left == []


class _Round:
    """One round of the loop."""

    def __await__(self) -> Generator[None, None, None]:
        yield
