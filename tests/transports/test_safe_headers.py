"""What every answer says to browsers and caches, whichever way it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.transports.safe_headers import page_policy
from tests.transports.http_client import ask, stream
from tests.transports.mcp_client import call, say
from tests.transports.raw_client import raw
from tests.transports.world import SECRET, token, world

ANN = token("ann", "events:read tasks:write")
PUBLIC = ("/", "/static/page.js", "/schemas", "/schemas/notification.json", "/openapi.json")


def is_safe(headers: Any) -> bool:
    return (
        headers.get("x-content-type-options"),
        headers.get("cross-origin-resource-policy"),
        headers.get("referrer-policy"),
    ) == ("nosniff", "same-origin", "no-referrer")


def scope(host: str, scheme: str = "http") -> dict[str, Any]:
    return {"type": "http", "scheme": scheme, "headers": [(b"host", host.encode())]}


@pytest.fixture
def frontend(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text("<title>page</title>")
    (tmp_path / "page.js").write_text("export {}")
    return tmp_path


@pytest.mark.parametrize(
    ("method", "path", "given", "status"),
    [
        ("GET", "/api/tasks", ANN, 200),
        ("POST", "/api/tasks", ANN, 201),
        ("GET", "/api/tasks", None, 401),
        ("GET", "/api/dead-letters", ANN, 403),
        ("GET", "/api/tasks/none", ANN, 404),
        ("DELETE", "/api/tasks", ANN, 405),
        ("OPTIONS", "/api/tasks", None, 204),
        ("GET", "/nothing", None, 404),
        ("GET", "/health", None, 200),
        ("GET", "/ready", None, 200),
        ("GET", "/metrics", None, 401),
        ("GET", "/metrics", ANN, 403),
        ("GET", "/ws", None, 426),
        ("GET", "/mcp", None, 405),
        *[("GET", path, None, 200) for path in PUBLIC],
    ],
)
async def test_every_answer_is_safe_and_what_is_private_is_kept_nowhere(
    method: str, path: str, given: str | None, status: int, frontend: Path
) -> None:
    async with world(secret=SECRET, frontend=frontend) as here:
        body = {"agent": "a"} if method == "POST" else None
        answer = await ask(here, method, path, token=given, body=body)
        assert answer.status == status
        assert is_safe(answer.headers)
        # Each stands there once: two that differ would be no policy at all.
        names = [name for name, _ in answer.headers.multi_items()]
        assert len(names) == len(set(names))
        private = path not in PUBLIC and method != "OPTIONS"
        assert (answer.headers.get("cache-control") == "no-store") is private


async def test_the_other_doors_answers_are_safe_and_private_too() -> None:
    async with world(secret=SECRET) as here:
        for message, given in (
            (call("task.list"), ANN),
            (call("task.list"), None),
            ({"jsonrpc": "2.0", "method": "notifications/initialized"}, ANN),
        ):
            answer = await say(here, message, token=given)
            assert is_safe(answer.headers)
            assert answer.headers["cache-control"] == "no-store"
        async with stream(here, "/api/events/stream", token=ANN) as reader:
            assert is_safe(reader.response.headers)
            assert reader.response.headers["cache-control"] == "no-store, no-transform"
        async with raw(here) as client:
            await client.send(b"no http at all\r\n\r\n")
            assert is_safe((await client.answer()).headers)


async def test_where_something_breaks_the_answer_is_safe_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing of ours raises there; if it does, the answer says no more than that."""

    async def broken(*args: Any) -> dict[str, Any]:
        raise ZeroDivisionError("the secret is forty-two")

    async with world() as here:
        here.engine.script = broken
        answer = await ask(here, "GET", "/api/tasks")
        assert (answer.status, answer.json["code"]) == (500, "internal_error")
        assert is_safe(answer.headers)
        assert "forty-two" not in answer.text
    assert "the secret is forty-two" in caplog.text


@pytest.mark.parametrize(
    ("host", "scheme", "home"),
    [
        ("127.0.0.1:8000", "http", " ws://127.0.0.1:8000 wss://127.0.0.1:8000"),
        ("gateway.example", "https", " wss://gateway.example"),
        ("[::1]:8000", "http", " ws://[::1]:8000 wss://[::1]:8000"),
        ("a.example; script-src *", "http", ""),
        ("*", "http", ""),
        ("a.example b.example", "http", ""),
        ("", "http", ""),
    ],
)
def test_the_page_connects_home_and_nowhere_else(host: str, scheme: str, home: str) -> None:
    policy = page_policy(scope(host, scheme))
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["connect-src"] == f"'self'{home}"
    assert directives["default-src"] == "'self'"
    assert directives["frame-ancestors"] == "'none'"
