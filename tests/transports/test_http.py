"""The operations over HTTP: where parameters come from, what is refused and how."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from gateway.domain.errors import (
    Conflict,
    InvalidParams,
    RateLimitedRequest,
    Rejected,
    StoreUnavailable,
)
from gateway.ports import EventLog
from gateway.protocol.operations import OPERATIONS
from gateway.transports.http import NOT_READY
from tests.execution.world import AwayLog
from tests.transports.http_client import Answer, ask, plain_http
from tests.transports.mcp_client import say
from tests.transports.world import SECRET, World, token, until, world


def check_problem(answer: Answer, status: int, code: str, field: str | None = None) -> None:
    """RFC 9457, with our code and field."""
    assert answer.status == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem.get("field") == field
    assert {"type", "title", "detail"} <= problem.keys()


class Calls(list[tuple[str, Any]]):
    """Replaces the engine's operations: notes what was asked for, answers as told."""

    def __init__(self, here: World) -> None:
        super().__init__()
        self.answer: Any = {}

        async def call(name: str, params: Any, caller: Any) -> Any:
            self.append((name, dict(params)))
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        here.engine.script = call


async def test_parameters_come_from_path_query_body_and_headers() -> None:
    async with world() as here:
        calls = Calls(here)
        await ask(here, "GET", "/api/tasks/t%3A1?min_position=7")
        await ask(here, "GET", "/api/tasks?limit=20&agent=a&status=failed")
        body = {"agent": "a", "input": {"deep": [1, None, True]}, "priority": 3}
        await ask(here, "POST", "/api/tasks", body=body, headers={"Idempotency-Key": "k1"})
        await ask(here, "POST", "/api/tasks/t1/cancel")
        await ask(here, "POST", "/api/tasks/t1/retry", body={})
    assert calls == [
        ("task.get", {"task_id": "t:1", "min_position": "7"}),
        ("task.list", {"limit": 20, "agent": "a", "status": "failed"}),
        ("task.create", body | {"idempotency_key": "k1"}),
        ("task.cancel", {"task_id": "t1"}),
        ("task.retry", {"task_id": "t1"}),
    ]


async def test_every_operation_has_its_route() -> None:
    async with world() as here:
        calls = Calls(here)
        for operation in OPERATIONS.values():
            path = operation.path.replace("{", "").replace("}", "")
            answer = await ask(here, operation.method, path)
            assert answer.status == operation.status
        assert [name for name, _ in calls] == list(OPERATIONS)


async def test_a_created_task_has_a_location() -> None:
    async with world() as here:
        Calls(here).answer = {"task_id": "a b/c"}
        answer = await ask(here, "POST", "/api/tasks", body={"agent": "a"})
        assert answer.status == 201
        assert answer.headers["location"] == "/api/tasks/a%20b%2Fc"


async def test_an_operation_without_a_result_is_204() -> None:
    async with world() as here:
        Calls(here).answer = None
        answer = await ask(here, "GET", "/api/tasks")
        assert (answer.status, answer.text) == (204, "")


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (Conflict("it ended"), 409, None),
        (InvalidParams("wrong", field="x"), 400, None),
        (Rejected("shed", code="priority_load_shedding", retry_after=0.2), 503, "1"),
        (Rejected("open", code="circuit_breaker_open", retry_after=29.3), 503, "30"),
        (RateLimitedRequest("slowly", retry_after=2.0), 429, "2"),
        (StoreUnavailable("away"), 503, "1"),
    ],
)
async def test_refusals_are_problems(
    error: Exception, status: int, retry_after: str | None
) -> None:
    """Retry-After is in whole seconds, rounded up: earlier would be refused again."""
    async with world() as here:
        Calls(here).answer = error
        answer = await ask(here, "GET", "/api/tasks")
        code = getattr(error, "code", "unavailable")
        check_problem(answer, status, code, getattr(error, "field", None))
        assert answer.headers.get("retry-after") == retry_after


async def test_an_unexpected_error_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async with world() as here:
        Calls(here).answer = ZeroDivisionError("the key is open sesame")
        answer = await ask(here, "GET", "/api/tasks")
        check_problem(answer, 500, "internal_error")
        assert "open sesame" not in answer.text
    assert "open sesame" in caplog.text


@pytest.mark.parametrize("scope", [None, "events:read:all", "admin", "none of ours"])
async def test_why_it_is_not_ready_is_for_operators(scope: str | None) -> None:
    """The reason may be what the store's client said, with all that its address has."""
    logs: list[AwayLog] = []

    def wrap(log: EventLog) -> EventLog:
        logs.append(AwayLog(log))
        return logs[0]

    async with world(wrap_log=wrap, secret=SECRET) as here:
        logs[0].away, logs[0].reason = True, "no nats://bob:p/s@s%@db:4222, token=abc123"
        signed = None if scope is None else token("ann", scope)
        answer = await ask(here, "GET", "/ready", token=signed)
        check_problem(answer, 503, "unavailable")
        if scope == "admin":
            assert answer.json["detail"] == (
                "not ready: no nats://[redacted:url-password]@db:4222, token=[redacted:secret]"
            )
        else:
            assert answer.json["detail"] == f"not ready: {NOT_READY}"
        assert (await ask(here, "GET", "/ready", token="forged")).json["detail"] == (
            f"not ready: {NOT_READY}"
        )


DEEP = b'{"agent":"a","input":' + b"[" * 99 + b"]" * 99 + b"}"

BAD: list[tuple[str, str, Any, int, str, str | None]] = [
    ("POST", "/api/tasks", b"{", 400, "parse_error", None),
    ("POST", "/api/tasks", b"\xff", 400, "parse_error", None),
    ("POST", "/api/tasks", b"[]", 400, "invalid_params", None),
    ("POST", "/api/tasks", b'{"agent":"a","input":NaN}', 400, "parse_error", None),
    ("POST", "/api/tasks", b'{"agent":"a","agent":"b"}', 400, "parse_error", None),
    ("POST", "/api/tasks", DEEP, 400, "parse_error", None),
    ("POST", "/api/tasks", b'{"agent":"a","color":1}', 400, "invalid_params", "color"),
    ("POST", "/api/tasks", b'{"agent":"*"}', 400, "invalid_params", "agent"),
    ("POST", "/api/tasks", b'{"agent":"a","priority":11}', 400, "invalid_params", "priority"),
    ("POST", "/api/tasks", b'{"agent":"a","priority":"5"}', 400, "invalid_params", "priority"),
    ("POST", "/api/tasks?agent=a", b"{}", 400, "invalid_params", "agent"),
    ("POST", "/api/tasks/t1/cancel", b'{"task_id":"t1"}', 400, "invalid_params", "task_id"),
    ("POST", "/api/tasks", b" " * (1024 * 1024 + 1), 413, "too_large", None),
    ("GET", "/api/tasks?limit=0", None, 400, "invalid_params", "limit"),
    ("GET", "/api/tasks?limit=x", None, 400, "invalid_params", "limit"),
    ("GET", "/api/tasks?limit=1e2", None, 400, "invalid_params", "limit"),
    ("GET", "/api/tasks?limit=1&limit=2", None, 400, "invalid_params", "limit"),
    ("GET", "/api/tasks?color=red", None, 400, "invalid_params", "color"),
    ("GET", "/api/tasks/t1?task_id=t2", None, 400, "invalid_params", "task_id"),
    ("GET", "/api/tasks/none", None, 404, "not_found", "task_id"),
    ("GET", "/api/nothing", None, 404, "not_found", None),
    ("GET", "/schemas/nothing.json", None, 404, "not_found", None),
    ("PUT", "/api/tasks", b"{}", 405, "method_not_allowed", None),
    ("POST", "/health", b"{}", 405, "method_not_allowed", None),
]


@pytest.mark.parametrize(("method", "path", "content", "status", "code", "field"), BAD)
async def test_bad_requests_are_told_with_the_field(
    method: str, path: str, content: Any, status: int, code: str, field: str | None
) -> None:
    async with world() as here:
        check_problem(await ask(here, method, path, content=content), status, code, field)


async def test_a_key_in_two_places_or_twice_is_refused() -> None:
    async with world() as here:
        body = {"agent": "a", "idempotency_key": "k"}
        answer = await ask(here, "POST", "/api/tasks", body=body, headers={"idempotency-key": "k"})
        check_problem(answer, 400, "invalid_params", "idempotency_key")
        twice = [("idempotency-key", "a"), ("idempotency-key", "b")]
        answer = await ask(here, "POST", "/api/tasks", body={"agent": "a"}, headers=twice)
        check_problem(answer, 400, "invalid_params", "idempotency_key")


async def test_allowed_methods_of_a_path_are_told_together() -> None:
    async with world() as here:
        answer = await ask(here, "DELETE", "/api/tasks")
        assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))


# --- callers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [None, "x", token("ann", exp=1), token("ann", exp=None), token("ann", sub=None)],
    ids=["nothing", "garbage", "expired", "no exp", "no sub"],
)
async def test_without_a_good_token_there_is_401(bad: str | None) -> None:
    async with world(secret=SECRET) as here:
        answer = await ask(here, "GET", "/api/tasks", token=bad)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        # What needs no caller stays open.
        for path in ("/health", "/schemas", "/error-codes", "/openapi.json", "/asyncapi.json"):
            assert (await ask(here, "GET", path)).status == 200


async def test_without_the_scope_there_is_403() -> None:
    async with world(secret=SECRET) as here:
        answer = await ask(here, "GET", "/api/breakers", token=token("ann"))
        check_problem(answer, 403, "not_permitted")
        answer = await ask(here, "GET", "/api/breakers", token=token("ops", "admin"))
        assert answer.status == 200


async def test_another_kind_of_authorization_is_refused() -> None:
    async with world(secret=SECRET) as here:
        for value in ("Basic YTpi", "Bearer", "x.y.z"):
            answer = await ask(here, "GET", "/api/tasks", headers={"authorization": value})
            assert answer.status == 400


async def test_an_open_gateway_does_not_look_at_authorization() -> None:
    """Whatever a client's settings add, by every door of HTTP; and the description says so."""
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    async with world() as here:
        for value in ("Basic YTpi", "Bearer", "Bearer x.y.z"):
            headers = {"authorization": value}
            assert (await ask(here, "GET", "/api/tasks", headers=headers)).status == 200
            stream = await ask(here, "HEAD", "/api/events/stream", headers=headers)
            assert stream.status == 200
            assert (await say(here, ping, authorization=value)).json["result"] == {}
        assert (await ask(here, "GET", "/openapi.json")).json["security"] == []


async def test_a_worker_proves_itself_by_a_header_whatever_it_calls() -> None:
    """A worker that sends the header with every request may send it with a notification, too."""
    async with world() as here:
        worker = (await ask(here, "POST", "/api/agents", body={"handle": "w"})).json
        await ask(here, "POST", "/api/tasks", body={"agent": "w"})
        headers = {"agent-secret": worker["agent_secret"]}
        about = {"agent_id": worker["agent_id"]}
        claim = await ask(here, "POST", "/api/tasks/claim", body=about, headers=headers)
        about |= {"task_id": claim.json["task_id"], "term": 1, "type": "partial_result"}
        about["text"] = "so far"
        for secret, status in (("wrong", 403), (worker["agent_secret"], 201)):
            headers = {"agent-secret": secret}
            answer = await ask(here, "POST", "/api/events", body=about, headers=headers)
            assert answer.status == status, answer.text
        note = {"type": "notification", "subject": "s", "payload": 1, "channel": "news"}
        answer = await ask(here, "POST", "/api/events", body=note, headers=headers)
        assert answer.status == 201, answer.text


# --- manners --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/tasks", "GET, HEAD, OPTIONS, POST"),
        ("/api/tasks/t1", "GET, HEAD, OPTIONS"),
        ("/api/tasks/claim", "OPTIONS, POST"),
        ("/api/agents/a1", "DELETE, GET, HEAD, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
        ("/ws", "GET, HEAD, OPTIONS"),
    ],
)
async def test_options_tells_what_a_path_takes_and_so_does_a_refusal(
    path: str, allowed: str
) -> None:
    async with world() as here:
        answer = await ask(here, "OPTIONS", path)
        assert (answer.status, answer.headers["allow"], answer.text) == (204, allowed, "")
        answer = await ask(here, "PATCH", path)
        check_problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == allowed
        assert (await ask(here, "OPTIONS", "/nothing")).status == 404


@pytest.mark.parametrize("user_id", ["auth0|5f7c", "ann+test@example.org", "team/ann", "ä b"])
async def test_a_user_is_asked_for_by_the_id_that_was_issued(user_id: str) -> None:
    async with world(secret=SECRET) as here:
        path = f"/api/users/{quote(user_id, safe='')}/impact"
        answer = await ask(here, "GET", path, token=token(user_id))
        assert (answer.status, answer.json["user_id"]) == (200, user_id)


async def test_head_is_get_without_the_body() -> None:
    async with world() as here:
        for path, status in (("/api/tasks", 200), ("/health", 200), ("/api/tasks/none", 404)):
            head, got = await ask(here, "HEAD", path), await ask(here, "GET", path)
            assert (head.status, head.text) == (status, "")
            assert head.headers["content-type"] == got.headers["content-type"]


async def test_a_path_has_one_spelling() -> None:
    async with world() as here:
        check_problem(await ask(here, "GET", "/api/tasks/"), 404, "not_found")
        check_problem(await ask(here, "POST", "/api/tasks/", body={}), 404, "not_found")


async def test_a_plain_request_to_the_websocket_is_told_what_it_is() -> None:
    async with world() as here:
        answer = await ask(here, "GET", "/ws")
        check_problem(answer, 426, "upgrade_required")
        assert answer.headers["upgrade"] == "websocket"


async def test_an_answer_says_how_new_it_is() -> None:
    """Of a read the position from before it, of a write the one that it has reached."""
    async with world() as here:
        epoch = here.engine.log.epoch
        answer = await ask(here, "GET", "/api/tasks")
        assert answer.headers["position"] == f"{epoch}:0"
        made = await ask(here, "POST", "/api/tasks", body={"agent": "writer"})
        assert made.headers["position"] == f"{epoch}:{made.json['position']['offset']}"
        path = f"/api/tasks?min_position={made.headers['position']}"
        assert (await ask(here, "GET", path)).headers["cache-control"] == "no-store"
        for path in ("/api/events", "/api/breakers", "/api/stats", "/api/users/ann/impact"):
            assert (await ask(here, "GET", f"{path}?min_position={epoch}:1")).status == 200
            answer = await ask(here, "GET", f"{path}?min_position=other:1")
            check_problem(answer, 400, "invalid_params", "min_position")
            answer = await ask(here, "GET", f"{path}?min_position={epoch}:99")
            check_problem(answer, 503, "unavailable", "min_position")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/jsonx"},
        {"content-type": "application/json; charset=latin1"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_a_body_of_another_kind_is_refused(headers: dict[str, str]) -> None:
    async with world() as here:
        answer = await ask(
            here, "POST", "/api/tasks", content=b'{"agent":"writer"}', headers=headers
        )
        check_problem(answer, 415, "unsupported_media_type")
        assert answer.json["detail"].count("; ") == 1  # what is wrong; what to do


@pytest.mark.parametrize(
    "kind",
    ["application/json", "Application/JSON ; Charset=UTF-8", 'application/json;charset="utf-8"'],
)
async def test_json_is_taken_however_it_is_spelled(kind: str) -> None:
    async with world() as here:
        answer = await ask(
            here, "POST", "/api/tasks", content=b'{"agent":"a"}', headers={"content-type": kind}
        )
        assert answer.status == 201


async def test_a_get_with_a_body_is_refused_and_a_delete_may_have_one() -> None:
    async with world() as here:
        answer = await ask(here, "GET", "/api/tasks", content=b'{"limit":1}')
        check_problem(answer, 400, "invalid_params")
        worker = (await ask(here, "POST", "/api/agents", body={"handle": "writer"})).json
        path, secret = f"/api/agents/{worker['agent_id']}", worker["agent_secret"]
        twice = f"{path}?agent_secret={secret}"
        answer = await ask(here, "DELETE", twice, body={"agent_secret": secret})
        check_problem(answer, 400, "invalid_params", "agent_secret")
        assert (await ask(here, "DELETE", path, body={"agent_secret": secret})).status == 200


async def test_what_is_no_http_is_a_problem_too() -> None:
    async with world() as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(b"garbage\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert orjson.loads(body)["code"] == "bad_request"


# --- beside the operations ------------------------------------------------------------------


async def test_health_says_that_it_is_alive() -> None:
    async with world() as here:
        answer = await ask(here, "GET", "/health")
        assert answer.json["status"] == "ok"
        assert answer.json["timestamp"].endswith("Z")
        assert (await ask(here, "HEAD", "/health")).status == 200


async def test_ready_tells_the_position_or_why_not() -> None:
    logs: list[AwayLog] = []

    def wrap(log: EventLog) -> EventLog:
        logs.append(AwayLog(log))
        return logs[0]

    async with world(wrap_log=wrap) as here:
        answer = await ask(here, "GET", "/ready")
        position = {"epoch": here.engine.log.epoch, "offset": here.engine.log.head}
        assert (answer.status, answer.json) == (200, {"status": "ready", "position": position})
        logs[0].away = True
        answer = await ask(here, "GET", "/ready")
        check_problem(answer, 503, "unavailable")
        assert "not ready: the store is away" in answer.json["detail"]
        assert answer.headers["retry-after"] == "1"
        # The process is alive all the same: restarting it would not bring the store back.
        assert (await ask(here, "GET", "/health")).status == 200


async def test_a_claim_whose_caller_goes_away_ends_at_once_and_has_taken_nothing() -> None:
    async with world() as here, plain_http(here.http) as client:
        worker = (await client.post("/api/agents", json={"handle": "writer"})).json()
        body = {name: worker[name] for name in ("agent_id", "agent_secret")} | {"wait": 30}
        waiting = asyncio.create_task(client.post("/api/tasks/claim", json=body))
        await until(lambda: here.engine.parts.claims.waiting)
        waiting.cancel()
        await until(lambda: not here.engine.parts.claims.waiting)
        task = (await client.post("/api/tasks", json={"agent": "writer"})).json()
        claim = (await client.post("/api/tasks/claim", json=body)).json()
        assert (claim["task_id"], claim["term"]) == (task["task_id"], 1)
