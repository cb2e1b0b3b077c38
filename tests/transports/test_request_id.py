"""Request ids: echoed or made, in the answer, in problems and in the log."""

from __future__ import annotations

import pytest

from gateway.transports.request_id import request_id
from tests.transports.http_client import ask, plain_http
from tests.transports.test_http import Calls
from tests.transports.world import world


@pytest.mark.parametrize("given", ["a", "req-1.2~3@x:y", "x" * 128])
async def test_a_good_id_is_echoed_and_stands_in_the_problem(given: str) -> None:
    async with world() as here:
        headers = {"X-Request-Id": given}
        answer = await ask(here, "GET", "/api/tasks", headers=headers)
        assert (answer.status, answer.headers["x-request-id"]) == (200, given)
        assert "request_id" not in answer.json
        answer = await ask(here, "GET", "/api/tasks/none", headers=headers)
        assert (answer.headers["x-request-id"], answer.json["request_id"]) == (given, given)


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a\tb", "{}", "é"])
async def test_else_one_is_made_for_each_request(given: str | None) -> None:
    async with world() as here:
        headers = [] if given is None else [(b"x-request-id", given.encode())]
        async with plain_http(here.http) as client:
            made = {
                (await client.get("/nothing", headers=headers)).json()["request_id"]
                for _ in range(3)
            }
    assert len(made) == 3
    assert given not in made


async def test_two_ids_are_none() -> None:
    async with world() as here:
        headers = [("x-request-id", "a"), ("x-request-id", "b")]
        answer = await ask(here, "GET", "/health", headers=headers)
        assert answer.headers["x-request-id"] not in ("a", "b", "a, b")


async def test_what_is_refused_before_any_route_has_one_too() -> None:
    async with world() as here:
        answer = await ask(here, "GET", "/health", headers={"host": "evil.example"})
        assert answer.status == 403
        assert answer.json["request_id"] == answer.headers["x-request-id"]


async def test_an_unexpected_error_is_found_in_the_log_by_its_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with world() as here:
        Calls(here).answer = ZeroDivisionError()
        await ask(here, "GET", "/api/tasks", headers={"x-request-id": "find-me"})
    ours = [record for record in caplog.records if record.name.startswith("gateway.")]
    assert [record.__dict__.get("request_id") for record in ours] == ["find-me"]


def test_outside_of_a_request_there_is_none() -> None:
    assert request_id() is None
