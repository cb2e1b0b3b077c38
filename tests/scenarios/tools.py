"""
The tools of a gateway's MCP door as the official client calls them, and what it reads of a refusal.

Each message that comes back is kept as it came. When the client closes, every one of them has to
be JSON-RPC 2.0 to the letter: the client of the original audit was that strict, and could not
read why its claim was refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx2
import orjson
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import TextContent

from event_schemas import field_name
from gateway.protocol.operations import OPERATIONS
from tests.transports.mcp_client import client_at

__all__ = ["Refused", "Tools", "tools_at"]

# The errors of JSON-RPC that a call may end with: wrong parameters, a message that is no JSON as it
# is taken here, and one that is too large.
OF_JSONRPC = {-32602, -32700, -32008}
# Codes that any operation may answer with; its others stand in the table.
GENERAL = {"invalid_params", "not_permitted", "parse_error", "too_large", "unavailable"}
# Codes that say when to come back.
WAITING_HELPS = {
    "circuit_breaker_open",
    "draining",
    "lock_held",
    "priority_load_shedding",
    "queue_share",
    "rate_limited",
    "too_many_workers",
    "unavailable",
}
# More would be an echo of what was sent.
MESSAGE_CHARS_MAX = 600
# No lock and no lease is longer.
RETRY_AFTER_MAX_S = 3600

MESSAGE = Draft202012Validator(
    {
        "type": "object",
        "properties": {
            "jsonrpc": {"const": "2.0"},
            "id": {"type": ["string", "integer", "null"]},
            "result": {"type": "object"},
            "error": {
                "type": "object",
                "properties": {
                    "code": {"type": "integer"},
                    "message": {"type": "string", "minLength": 1},
                    "data": {
                        "type": "object",
                        "properties": {"code": {"type": "string", "pattern": "^[a-z_]+$"}},
                        "required": ["code"],
                    },
                },
                "required": ["code", "message", "data"],
                "additionalProperties": False,
            },
        },
        "required": ["jsonrpc", "id"],
        "oneOf": [{"required": ["result"]}, {"required": ["error"]}],
        "additionalProperties": False,
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class Refused:
    """
    Why a tool was refused, as its caller can read it.

    Attributes:
        data: What was said for programs: ``code``, and more where known.
        message: What was said for people, and for models, which read nothing else.
        jsonrpc_code: The code of JSON-RPC; None: it was a result with ``isError``.
    """

    data: Mapping[str, Any]
    message: str
    jsonrpc_code: int | None

    @property
    def code(self) -> str:
        code: str = self.data["code"]
        return code

    @property
    def field(self) -> str | None:
        """The parameter that is to blame; None: no single one is."""
        return self.data.get("field")

    @property
    def retry_after(self) -> float | None:
        """Seconds after which to come back; None: waiting is no help."""
        return self.data.get("retry_after")


class Tools:
    """
    A client of the tools.

    Attributes:
        schemas: The ``inputSchema`` of each, as ``tools/list`` tells it.
    """

    def __init__(self, client: Client, heard: Sequence[httpx2.Response]) -> None:
        self._client = client
        self._heard = heard
        self.schemas: dict[str, dict[str, Any]] = {}

    async def look(self) -> None:
        """Ask for the list of the tools."""
        listed = await self._client.list_tools()
        self.schemas = {tool.name: tool.input_schema for tool in listed.tools}

    async def answer(self, name: str, /, **arguments: Any) -> dict[str, Any] | Refused:
        """Call a tool. A refusal has to keep the rules that hold for all of them."""
        try:
            result = await self._client.call_tool(name, arguments)
        except MCPError as error:
            refused = Refused(error.data, error.message, error.code)
        else:
            assert isinstance(result.structured_content, dict)
            if not result.is_error:
                return result.structured_content
            (content,) = result.content
            assert isinstance(content, TextContent)
            refused = Refused(result.structured_content, content.text, None)
        self._judge(name, arguments, refused)
        return refused

    async def done(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool, which has to succeed with what the table says of its result."""
        answer = await self.answer(name, **arguments)
        assert not isinstance(answer, Refused), (name, answer)
        expected = Draft202012Validator(dict(OPERATIONS[name].result))
        # That there is nothing is null in the table, and an empty object here.
        assert expected.is_valid(answer or None), (name, answer)
        return answer

    async def refused(self, name: str, /, **arguments: Any) -> Refused:
        """Call a tool, which has to be refused."""
        answer = await self.answer(name, **arguments)
        assert isinstance(answer, Refused), (name, answer)
        return answer

    def _judge(self, name: str, arguments: Mapping[str, Any], refused: Refused) -> None:
        about = f"{name}: {refused}"
        assert refused.code in {*GENERAL, *OPERATIONS[name].errors}, about
        assert 10 < len(refused.message) <= MESSAGE_CHARS_MAX, about
        if refused.field is not None:
            known = {*self.schemas[name]["properties"], *arguments}
            if name == "event.publish":
                known.add("agent_secret")  # of a report on a task
            assert refused.field.partition(".")[0] in map(field_name, known), about
        if refused.jsonrpc_code is not None:
            assert refused.jsonrpc_code in OF_JSONRPC, about
        else:
            assert f"({refused.code})" in refused.message, about
            assert ("; try again in " in refused.message) == ("retry_after" in refused.data), about
        if refused.retry_after is not None:
            assert 0 < refused.retry_after <= RETRY_AFTER_MAX_S, about
        else:
            assert refused.code not in WAITING_HELPS, about

    def check(self) -> None:
        """Check that a strict reader understands every message that came."""
        assert self._heard
        for response in self._heard:
            if response.request.method != "POST":  # for a session or a stream, which are none
                assert response.status_code == 405
                continue
            if response.status_code == 202:  # a notification was taken
                assert response.content == b""
                continue
            assert response.headers["content-type"] == "application/json"
            message = orjson.loads(response.content)
            assert MESSAGE.is_valid(message), message


@contextlib.asynccontextmanager
async def tools_at(
    url: str, token: str | None = None, *, era: str = "legacy"
) -> AsyncIterator[Tools]:
    """
    Connect the official client; what it was told is checked when it closes.

    Args:
        url: The gateway's HTTP address.
        token: None: on an open gateway.
    """
    heard: list[httpx2.Response] = []
    async with client_at(url, era=era, token=token, hear=heard.append) as client:
        tools = Tools(client, heard)
        await tools.look()
        yield tools
    tools.check()
