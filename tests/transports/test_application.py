"""The application mounted in another one, below a path."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.domain.secret_samples import KEYS, fragments
from tests.transports.http_client import ask, stream
from tests.transports.mcp_client import call, say
from tests.transports.world import offsets, wire, world


def mounted(app: Starlette, *, alive: bool = True) -> Starlette:
    @contextlib.asynccontextmanager
    async def lifespan(outer: Any) -> AsyncIterator[None]:
        if alive:
            async with app.router.lifespan_context(app):
                yield
        else:
            yield

    return Starlette(routes=[Mount("/gate", app)], lifespan=lifespan)


async def test_the_application_can_be_mounted_below_a_path() -> None:
    async with world(fast=False, wrap=mounted) as here:

        async def create(*args: Any) -> dict[str, str]:
            return {"task_id": "t1"}

        async with wire(here, path="/gate/ws") as client:
            await client.result("connect")
            await client.result("subscribe", topics=["user:ann"])
            await here.publish()
            assert offsets(await client.events(1)) == [1]
        async with stream(here, "/gate/api/events/stream?topic=user:ann&since=start") as reader:
            assert offsets(await reader.events(1)) == [1]
        here.engine.script = create
        answer = await ask(here, "POST", "/gate/api/tasks", body={"agent": "a"})
        assert answer.headers["location"] == "/gate/api/tasks/t1"
        answer = await say(here, call("task.create", {"agent": "a"}), path="/gate/mcp")
        assert answer.json["result"]["structuredContent"] == {"task_id": "t1"}
        (first, *_) = (await ask(here, "GET", "/gate/schemas")).json["items"]
        assert (await ask(here, "GET", first["url"])).status == 200


class Careless(logging.Formatter):
    """As another application may format: all that a record has."""

    def format(self, record: logging.LogRecord) -> str:
        raw = "" if record.exc_info is None else self.formatException(record.exc_info)
        return f"{super().format(record)} {record.__dict__} {raw}"


async def test_an_application_that_it_is_mounted_in_gets_no_secrets_into_its_log() -> None:
    """Its handlers know nothing of ours, and an exception holds what was sent."""
    key = KEYS["openai project"]
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(Careless())
    logging.root.addHandler(handler)
    try:
        async with world(fast=False, wrap=mounted) as here:

            async def fail(*args: Any) -> None:
                raise ValueError(f"Authorization: Bearer {key}", {"password": key})

            here.engine.script = fail
            answers = [
                (await ask(here, "POST", "/gate/api/tasks", body={"agent": "a"})).text,
                (await say(here, call("task.create", {"agent": "a"}), path="/gate/mcp")).text,
            ]
            async with wire(here, path="/gate/ws") as client:
                await client.result("connect")
                answers.append(str(await client.ask("task.list")))
    finally:
        logging.root.removeHandler(handler)
    said = written.getvalue()
    assert said.count("ValueError: ('Authorization: [redacted:header]") >= 3
    for text in (said, *answers):
        assert [part for part in fragments(key) if part in text] == []


async def test_a_missing_lifespan_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with world(fast=False, wrap=lambda app: mounted(app, alive=False)) as here:
        async with wire(here, path="/gate/ws") as client:
            assert await client.closed() == (1013, "the gateway does not run")
        assert (await ask(here, "GET", "/gate/api/events/stream")).status == 503
        refused = await ask(here, "POST", "/gate/api/tasks", body={"agent": "a"})
        assert refused.status == 503
        assert "gateway.lifespan" in refused.json["detail"]
        answer = await say(here, call("task.list"), path="/gate/mcp")
        assert "gateway.lifespan" in answer.json["result"]["content"][0]["text"]
    assert "gateway.lifespan" in caplog.text
