"""The MCP door on a real server: the official client, and messages that no client would send."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from gateway.domain.errors import Rejected, StoreUnavailable
from gateway.protocol.operations import OPERATIONS
from gateway.transports.mcp_tools import McpTools, input_schema
from gateway.transports.requests import BODY_BYTES_MAX
from tests.scenarios.harness import gateway_process
from tests.transports.http_client import Answer, ask, plain_http
from tests.transports.mcp_client import ERAS, HEADERS, call, done, mcp_client, refused, say
from tests.transports.world import SECRET, connected, token, until, world

EVERY_ERA = pytest.mark.parametrize("era", ERAS)
EVERYTHING = "tasks:write events:read events:write agent"


def check_error(answer: Answer, code: int, text_code: str, field: str | None = None) -> Any:
    """What a strict client reads: an integer, a sentence, and the text code in the data."""
    assert answer.headers["content-type"] == "application/json"
    reply = answer.json
    assert reply.keys() == {"jsonrpc", "id", "error"}
    assert reply["jsonrpc"] == "2.0"
    error = reply["error"]
    assert error.keys() == {"code", "message", "data"}
    assert (type(error["code"]), type(error["message"])) == (int, str)
    assert (error["code"], error["data"]["code"]) == (code, text_code), error
    assert error["data"].get("field") == field
    return reply["id"]


# --- tools ----------------------------------------------------------------------------------


@EVERY_ERA
async def test_the_tools_are_those_of_the_table(era: str) -> None:
    """What a client is told of parameters is what the handlers check."""
    expected = {
        name: (operation.summary, input_schema(operation), operation.result)
        for name, operation in OPERATIONS.items()
        if operation.tool
    }
    async with world() as here, mcp_client(here, era=era) as client:
        listed = await client.list_tools()
    found = {}
    for tool in listed.tools:
        assert tool.output_schema is not None
        assert tool.output_schema["type"] == "object"
        found[tool.name] = (tool.description, tool.input_schema, tool.output_schema["anyOf"][0])
    assert listed.next_cursor is None
    assert found == expected


@EVERY_ERA
@pytest.mark.requirement("MESH-W17")
async def test_a_caller_and_a_worker_need_nothing_but_tools(era: str) -> None:
    """Every tool at least once; what they do is told to a browser like anything else."""
    used = set()

    async def use(name: str, **arguments: Any) -> dict[str, Any]:
        used.add(name)
        return await done(client, name, **arguments)

    async with (
        world() as here,
        mcp_client(here, era=era) as client,
        connected(here) as browser,
    ):
        await browser.result("subscribe", topics=["*"])
        me = await use("agent.register", handle="writer")
        proof = {name: me[name] for name in ("agent_id", "agent_secret")}
        await use("agent.heartbeat", **proof, status="idle")
        assert (await use("agent.get", agent_id=me["agent_id"]))["handle"] == "writer"
        assert len((await use("agent.list"))["items"]) == 1
        assert await use("task.claim", **proof) == {}

        task = await use("task.create", agent="writer", input={"topic": "sky"}, user_id="ann")
        task_id = task["task_id"]
        claim = await use("task.claim", **proof, task_id=task_id)
        assert claim["input"] == {"topic": "sky"}
        await use("task.release", **proof, task_id=task_id, term=claim["term"])
        claim = await use("task.claim", **proof, wait=5)
        mine = {**proof, "task_id": task_id, "term": claim["term"]}
        await use("task.heartbeat", **mine)
        await use("task.update", **mine, step="outline", data=["light"], text="The sky")
        assert (await use("task.partial", task_id=task_id))["preserved_text"] == "The sky"
        await use("task.complete", **mine, result="blue")
        assert (await use("task.get", task_id=task_id))["result"] == "blue"

        second = await use("task.create", agent="writer")
        claim = await use("task.claim", **proof, task_id=second["task_id"])
        failed = {"task_id": second["task_id"], "term": claim["term"], "message": "it broke"}
        await use("task.fail", **proof, **failed, error_type="invalid_input")
        assert (await use("task.list", status="failed"))["items"][0]["task_id"] == second["task_id"]

        lock = await use("lock.acquire", resource_key="door", holder="me", ttl=30)
        held = {name: lock[name] for name in ("lock_id", "holder", "term")}
        await use("lock.renew", **held)
        assert (await use("lock.release", **held))["state"] == "released"

        await use("event.publish", type="notification", channel="news", subject="hello", payload=1)
        (news,) = (await use("event.list", channel="news"))["items"]
        await use("agent.remove", **proof)

        pushed = await browser.events(1)
        while pushed[-1]["type"] != "notification":
            pushed += await browser.events(1)
        assert pushed[-1] == news
    assert used == {name for name, operation in OPERATIONS.items() if operation.tool}


@pytest.mark.requirement("MESH-08", "MESH-W1")
@EVERY_ERA
async def test_the_claim_of_the_audit_is_given_and_its_errors_can_be_read(era: str) -> None:
    """The original's strict client could not even parse that a claim was refused."""
    async with world() as here, mcp_client(here, era=era) as client:
        one, two = [
            await done(client, "agent.register", handle="failure-recovery-agent", type="tester")
            for _ in range(2)
        ]
        proof = {name: one[name] for name in ("agent_id", "agent_secret")}
        task = await done(client, "task.create", agent="failure-recovery-agent")
        asked = {"task_id": task["task_id"], "lease_ttl": 60}

        claim = await done(client, "task.claim", **proof, **asked)
        assert (claim["task_id"], claim["agent_id"]) == (task["task_id"], one["agent_id"])
        assert claim["state"] == "active"
        assert claim["lease_expires_at"].endswith("Z")

        other = {name: two[name] for name in ("agent_id", "agent_secret")}
        answer = await refused(client, "task.claim", **other, **asked)
        assert answer["code"] == "task_claimed"
        answer = await refused(client, "task.claim", **proof, task_id="none")
        assert answer == {"code": "not_found", "field": "task_id"}
        for arguments, field in [
            ({"task_id": task["task_id"]}, "agent_id"),
            ({**proof, "lease_ttl": "60"}, "lease_ttl"),
            ({**proof, "lease_ttl": 0}, "lease_ttl"),
            ({**proof, "color": "red"}, "color"),
        ]:
            with pytest.raises(MCPError) as error:
                await client.call_tool("task.claim", arguments)
            assert error.value.code == -32602
            assert error.value.data == {"code": "invalid_params", "field": field}


async def test_an_unknown_tool_is_an_error_of_the_protocol() -> None:
    """Also one that is an operation, yet no tool."""
    async with world() as here, mcp_client(here) as client:
        for name in ("fly", "task.cancel", "", "x" * 5000):
            with pytest.raises(MCPError) as error:
                await client.call_tool(name, {})
            assert (error.value.code, error.value.data["field"]) == (-32602, "name")
            assert len(error.value.message) < 100


@EVERY_ERA
async def test_what_passes_is_told_with_the_time_to_come_back(era: str) -> None:
    async with world() as here, mcp_client(here, era=era) as client:
        for error, code in [
            (StoreUnavailable("away", retry_after=2.0), "unavailable"),
            (Rejected("shed", code="priority_load_shedding", retry_after=2.0), None),
        ]:

            async def script(*args: Any, error: Exception = error) -> Any:
                raise error

            here.engine.script = script
            answer = await refused(client, "task.list")
            assert answer == {"code": code or "priority_load_shedding", "retry_after": 2.0}


async def test_a_gateway_that_ends_or_does_not_run_says_so() -> None:
    async with world() as here, mcp_client(here) as client:
        here.engine.parts.acceptance.draining = True
        answer = await refused(client, "task.create", agent="a")
        assert answer["code"] == "draining"
        assert answer["retry_after"] > 0
        here.engine._alive = False
        assert (await refused(client, "task.list"))["code"] == "unavailable"
        # What it can do is still told.
        assert (await client.list_tools()).tools


@EVERY_ERA
async def test_an_unexpected_error_is_logged_and_not_told(
    era: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(*args: Any) -> Any:
        raise ZeroDivisionError("the secret is 42")

    async with world() as here, mcp_client(here, era=era) as client:
        here.engine.script = script
        with pytest.raises(MCPError) as error:
            await client.call_tool("task.list", {})
        assert (error.value.code, error.value.message) == (-32603, "internal error")
        assert error.value.data == {"code": "internal_error"}
    assert "the secret is 42" in caplog.text


# --- a claim that waits ---------------------------------------------------------------------


async def waiting_claim(here: Any, client: Client, era: str, **proof: Any) -> asyncio.Task[Any]:
    """Begin a claim that waits."""
    claim = asyncio.create_task(client.call_tool("task.claim", {**proof, "wait": 30}))
    await until(lambda: here.engine.parts.claims.waiting)
    return claim


@EVERY_ERA
async def test_a_claim_waits_for_a_task(era: str) -> None:
    async with world() as here, mcp_client(here, era=era) as client:
        me = await done(client, "agent.register", handle="writer")
        proof = {name: me[name] for name in ("agent_id", "agent_secret")}
        claim = await waiting_claim(here, client, era, **proof)
        task = await done(client, "task.create", agent="writer")
        assert (await claim).structured_content["task_id"] == task["task_id"]


@EVERY_ERA
async def test_a_claim_that_its_client_gives_up_takes_nothing(era: str) -> None:
    """A client says so by a message, since 2026 by hanging up."""
    async with world() as here, mcp_client(here, era=era) as client:
        me = await done(client, "agent.register", handle="writer")
        proof = {name: me[name] for name in ("agent_id", "agent_secret")}
        claim = await waiting_claim(here, client, era, **proof)
        claim.cancel()
        await until(lambda: not here.engine.parts.claims.waiting)
        task = await done(client, "task.create", agent="writer")
        taken = await done(client, "task.claim", **proof)
        assert (taken["task_id"], taken["term"]) == (task["task_id"], 1)


async def test_a_claim_whose_client_goes_away_takes_nothing() -> None:
    async with world() as here, mcp_client(here) as client:
        me = await done(client, "agent.register", handle="writer")
        proof = {name: me[name] for name in ("agent_id", "agent_secret")}
        message = call("task.claim", {**proof, "wait": 30})
        async with plain_http(here.http) as gone:
            posting = asyncio.create_task(gone.post("/mcp", json=message, headers=HEADERS))
            await until(lambda: here.engine.parts.claims.waiting)
            posting.cancel()
        await until(lambda: not here.engine.parts.claims.waiting)
        task = await done(client, "task.create", agent="writer")
        taken = await done(client, "task.claim", **proof)
        assert (taken["task_id"], taken["term"]) == (task["task_id"], 1)


async def test_without_a_session_only_hanging_up_cancels() -> None:
    """On an open gateway all clients are one user, and all count their requests from one."""
    async with world() as here, mcp_client(here) as client:
        me = await done(client, "agent.register", handle="writer")
        proof = {name: me[name] for name in ("agent_id", "agent_secret")}
        answer = asyncio.create_task(say(here, call("task.claim", {**proof, "wait": 30})))
        await until(lambda: here.engine.parts.claims.waiting)
        notice = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        assert (await say(here, notice)).status == 202
        task = await done(client, "task.create", agent="writer")
        claim = (await answer).json["result"]["structuredContent"]
        assert claim["task_id"] == task["task_id"]


async def test_only_the_client_that_asked_cancels() -> None:
    """Request ids are small numbers: another user, session or number means another request."""
    async with world(secret=SECRET) as here:
        ann, bob = token("ann", EVERYTHING), token("bob", EVERYTHING)
        async with mcp_client(here, token=ann) as client:
            me = await done(client, "agent.register", handle="writer")
        proof = {name: me[name] for name in ("agent_id", "agent_secret")}
        message = call("task.claim", {**proof, "wait": 30}, id=7)
        answer = asyncio.create_task(say(here, message, token=ann, mcp_session_id="s"))
        await until(lambda: here.engine.parts.claims.waiting)

        async def cancel(token: str, session: str | None, id: Any) -> None:
            params = {"requestId": id, "reason": "enough"}
            notice = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            taken = await say(here, notice, token=token, mcp_session_id=session)
            assert (taken.status, taken.text) == (202, "")

        await cancel(bob, "s", 7)
        await cancel(ann, "t", 7)
        await cancel(ann, "s", "7")
        await cancel(ann, "s", [7])
        await cancel(ann, "s", None)
        await cancel(ann, None, 7)
        assert not answer.done()
        assert here.engine.parts.claims.waiting
        await cancel(ann, "s", 7)
        assert check_error(await answer, -32800, "cancelled") == 7
        assert not here.engine.parts.claims.waiting
        # Once more, and of what has ended, does nothing.
        await cancel(ann, "s", 7)


# --- who calls ------------------------------------------------------------------------------


@pytest.mark.requirement("MESH-W15")
@pytest.mark.parametrize("bad", [None, "x", token("ann", exp=1)], ids=["none", "garbage", "old"])
async def test_without_a_good_token_nothing_is_answered(bad: str | None) -> None:
    """Not even what tools there are; a token in the address is not looked at."""
    async with world(secret=SECRET) as here:
        for message in (call("task.list"), {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}):
            answer = await say(here, message, token=bad)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            code = "token_expired" if bad and bad.count(".") else "unauthenticated"
            check_error(answer, -32003, code)
        with pytest.raises(ExceptionGroup) as errors:
            async with mcp_client(here, token=bad):
                pass
        assert errors.value.subgroup(lambda e: isinstance(e, MCPError) and e.code == -32003)
        answer = await say(here, call("task.list"), path=f"/mcp?token={token('ann')}")
        assert answer.status == 401
        answer = await say(here, call("task.list"), path="/mcp?token=x", token=token("ann"))
        assert answer.status == 400
        check_error(answer, -32602, "invalid_params", "token")


@pytest.mark.requirement("MESH-W15")
async def test_a_session_gives_nothing_to_another_user() -> None:
    """Each request is of the user whose token it brings, whatever session it names."""
    async with world(secret=SECRET) as here:
        ann, bob = token("ann", EVERYTHING), token("bob", EVERYTHING)
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}}
        hello["clientInfo"] = {"name": "test", "version": "1"}
        begun = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        answer = await say(here, begun, token=ann, mcp_protocol_version=None)
        session = answer.headers["mcp-session-id"]
        await say(here, call("task.create", {"agent": "a"}), token=ann, mcp_session_id=session)

        async def tasks_of(token: str) -> int:
            answer = await say(here, call("task.list"), token=token, mcp_session_id=session)
            return len(answer.json["result"]["structuredContent"]["items"])

        assert (await tasks_of(ann), await tasks_of(bob)) == (1, 0)
        refusal = await say(here, call("task.list"), mcp_session_id=session)
        assert refusal.status == 401


async def test_what_the_token_does_not_allow_is_refused() -> None:
    async with world(secret=SECRET) as here, mcp_client(here, token=token("ann")) as client:
        assert (await refused(client, "task.create", agent="a"))["code"] == "not_permitted"
        answer = await refused(client, "event.list", topic="user:bob")
        assert answer["code"] == "not_permitted"


@pytest.mark.requirement("MESH-W15")
async def test_a_foreign_page_is_refused() -> None:
    async with world(allowed_origins=("https://app.example",)) as here:
        for answer in (
            await say(here, call("task.list"), origin="https://evil.example"),
            await say(here, call("task.list"), host="evil.example"),
        ):
            assert (answer.status, answer.json["code"]) == (403, "not_permitted")
        asked = "authorization,content-type,mcp-protocol-version,mcp-session-id"
        answer = await ask(
            here,
            "OPTIONS",
            "/mcp",
            headers={
                "origin": "https://app.example",
                "access-control-request-method": "POST",
                "access-control-request-headers": asked,
            },
        )
        assert answer.status == 200
        answer = await say(here, call("task.list"), origin="https://app.example")
        assert answer.status == 200
        assert "mcp-session-id" in answer.headers["access-control-expose-headers"]


# --- what is no message ---------------------------------------------------------------------

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
DEEP = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":' + b"[" * 100 + b"]" * 100 + b"}}"

GARBAGE: list[tuple[bytes, int, str, str | None]] = [
    (b"", -32700, "parse_error", None),
    (b"{", -32700, "parse_error", None),
    (b"\xff\xfe", -32700, "parse_error", None),
    (DEEP, -32700, "parse_error", None),
    (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', -32700, "parse_error", None),
    (b'{"jsonrpc":"2.0","id":1e999,"method":"ping"}', -32700, "parse_error", None),
    (b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}', -32700, "parse_error", None),
    (b"[]", -32600, "invalid_request", None),
    (b"[" + PING + b"," + PING + b"]", -32600, "invalid_request", None),
    (b"7", -32600, "invalid_request", None),
    (b"null", -32600, "invalid_request", None),
    (b'"ping"', -32600, "invalid_request", None),
    (b"{}", -32600, "invalid_request", "method"),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600, "invalid_request", "id"),
    (b'{"jsonrpc":"2.0","id":[],"method":"ping"}', -32600, "invalid_request", "id"),
    (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600, "invalid_request", "id"),
    (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600, "invalid_request", "id"),
    (b'{"id":1,"method":"ping"}', -32600, "invalid_request", "jsonrpc"),
    (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600, "invalid_request", "method"),
    (b'{"jsonrpc":"2.0","method":7}', -32600, "invalid_request", "method"),
    (b'{"jsonrpc":"2.0","id":1,"result":{}}', -32600, "invalid_request", "method"),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', -32602, "invalid_params", "params"),
]


@pytest.mark.requirement("MESH-W16", "MESH-08")
async def test_garbage_is_answered_and_harms_nothing() -> None:
    """Over the original's standard input one missing argument ended the process."""
    async with world() as here:
        for content, code, text_code, field in GARBAGE:
            answer = await say(here, content=content)
            assert answer.status == 400, content
            check_error(answer, code, text_code, field)
        assert (await say(here, content=PING)).json == {"jsonrpc": "2.0", "id": 1, "result": {}}


UNUSUAL: list[tuple[str, Any, int, str, str | None]] = [
    ("fly", {}, -32601, "method_not_found", None),
    ("resources/list", {}, -32601, "method_not_found", None),
    ("tools/call", {}, -32602, "invalid_params", "name"),
    ("tools/call", {"name": 7}, -32602, "invalid_params", "name"),
    ("tools/call", {"name": "task.list", "arguments": []}, -32602, "invalid_params", "arguments"),
    ("tools/call", {"name": "task.list", "arguments": 7}, -32602, "invalid_params", "arguments"),
    ("tools/call", {"name": "task.get"}, -32602, "invalid_params", "task_id"),
    ("tools/call", {"name": "task.get", "arguments": None}, -32602, "invalid_params", "task_id"),
    ("tools/list", {"cursor": "next"}, -32602, "invalid_params", "cursor"),
    ("tools/list", {"cursor": 7}, -32602, "invalid_params", "cursor"),
    ("initialize", {}, -32602, "invalid_params", "capabilities"),
]


@pytest.mark.requirement("MESH-W16", "MESH-08")
async def test_every_error_can_be_read_by_a_strict_client() -> None:
    async with world() as here:
        for method, params, code, text_code, field in UNUSUAL:
            message = {"jsonrpc": "2.0", "id": "a", "method": method, "params": params}
            answer = await say(here, message)
            assert answer.status in (200, 400, 404), answer.text
            assert check_error(answer, code, text_code, field) == "a"


async def test_a_request_of_the_wrong_kind_is_refused() -> None:
    async with world() as here:
        for method in ("GET", "DELETE", "PUT", "HEAD"):
            answer = await say(here, method=method)
            assert (answer.status, answer.headers["allow"]) == (405, "POST")
        for kind in ("text/plain", "application/jsonx", None):
            answer = await say(here, content=PING, content_type=kind)
            assert answer.status == 415
            check_error(answer, -32600, "unsupported_media_type", "content-type")
        answer = await say(here, content=PING, content_type="Application/JSON; charset=utf-8")
        assert answer.status == 200
        assert (await say(here, content=PING, accept="text/html")).status == 406
        assert (await say(here, content=PING, mcp_protocol_version="1999-01-01")).status == 400


async def test_a_body_over_the_bound_is_refused() -> None:
    async with world() as here:
        room = BODY_BYTES_MAX - len(PING)
        assert (await say(here, content=PING + b" " * room)).status == 200
        answer = await say(here, content=PING + b" " * (room + 1))
        assert answer.status == 413
        check_error(answer, -32008, "too_large")


async def test_notifications_are_taken_and_have_no_answer() -> None:
    async with world() as here:
        for method in ("notifications/initialized", "notifications/cancelled", "fly"):
            answer = await say(here, {"jsonrpc": "2.0", "method": method})
            assert (answer.status, answer.text) == (202, "")


# --- the SDK --------------------------------------------------------------------------------


def test_the_sdk_is_not_loaded_before_it_is_used() -> None:
    """It takes a second; commands, workers and gateways without MCP clients do without."""
    code = (
        "import sys, gateway.app.gateway, gateway.app.serve, gateway.transports.application\n"
        "sys.exit(' '.join({'mcp', 'mcp_types', 'pydantic'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.strip() == ""


@pytest.mark.parametrize(
    ("raises", "status", "code"),
    [
        ("ModuleNotFoundError(\"No module named 'mcp'\", name='mcp')", 501, "not_installed"),
        ("ImportError('cannot import name x', name='typing_ext')", 500, "internal_error"),
    ],
)
async def test_an_sdk_that_is_missing_or_broken_costs_this_door_alone(
    tmp_path: Path, raises: str, status: int, code: str
) -> None:
    """A process whose path has another `mcp` first; what is missing says what to install."""
    (tmp_path / "mcp").mkdir()
    (tmp_path / "mcp" / "__init__.py").write_text(f"raise {raises}\n")
    async with gateway_process(target=None, env={"PYTHONPATH": str(tmp_path)}) as gateway:
        for _ in range(2):
            answer = await gateway.http.post("/mcp", content=PING, headers=HEADERS)
            assert answer.status_code == status
            error = answer.json()["error"]
            assert (error["code"], error["data"]["code"]) == (-32603, code)
            if status == 501:
                assert "pip install 'agent-failure-gateway[mcp]'" in error["message"]
        assert (await gateway.get("/health"))["status"] == "ok"


async def test_the_sdk_is_loaded_once_for_all_that_ask_first() -> None:
    """Its tools take a tenth of a second to make, for each of those that came meanwhile."""
    async with world() as here:
        gc.disable()  # what was made in vain would hold itself
        try:
            asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
            await asyncio.gather(*(say(here, asked) for _ in range(5)))
            made = [each for each in gc.get_objects() if type(each) is McpTools]
            assert len([each for each in made if each._service is here.engine]) == 1
        finally:
            gc.enable()
