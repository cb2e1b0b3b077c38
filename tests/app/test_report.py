"""Reports of jobs: told once, tried again, and never the job's own failure."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest

import gateway
from gateway.app.report import TRIES_MAX, failure_of
from tests.transports.world import SECRET, World, token, world

Answer = tuple[str, bytes]
TAKEN: Answer = ("201 Created", b'{"event_id":"e","position":{}}')
AWAY: Answer = ("503 Service Unavailable", b'{"code":"unavailable","detail":"away"}')


def said(here: World) -> list[dict[str, Any]]:
    failures = here.engine.parts.state.failures
    return [dict(one.event) for one in failures]


async def call(what: Callable[..., Any], *given: Any, **named: Any) -> Any:
    return await asyncio.to_thread(what, *given, **named)


@contextlib.asynccontextmanager
async def receiver(*answers: Answer) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives these answers in turn, the last one for ever; notes what it is asked."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status, body = answers[min(len(asked), len(answers) - 1)]
        asked.append(head)
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


def key_of(head: bytes) -> bytes:
    (line,) = [line for line in head.split(b"\r\n") if line.lower().startswith(b"idempotency-key")]
    return line.split()[1]


# --- a call ---------------------------------------------------------------------------------


async def test_a_failure_is_told_to_its_user_and_its_detail_to_operators(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(secret=SECRET) as here:
        monkeypatch.setenv("GATEWAY_URL", here.ws)
        monkeypatch.setenv("GATEWAY_TOKEN", token("cron", "agent"))
        error_id = await call(
            gateway.report,
            "nightly-import",
            message="row 7 has no date",
            user_id="42",
            error_code="network_timeout",
            user_message="Your import will be late.",
            detail={"rows": 7, "when": pytest},
        )
        (told,) = said(here)
        (entry,) = await here.engine.log.read(after=0, topics=None, limit=9)
    assert told["error_id"] == error_id == failure_of("nightly-import", "42")
    assert (told["user_id"], told["agent_name"]) == ("42", "nightly-import")
    assert (told["error_type"], told["user_message"]) == ("timeout", "Your import will be late.")
    detail = orjson.loads(entry.operator)["detail"]
    assert (detail["rows"], detail["reported_message"]) == (7, "row 7 has no date")


async def test_the_next_success_of_that_name_and_user_ends_it() -> None:
    async with world() as here:
        for user in ("42", "43"):
            await call(gateway.report, "job", message="m", user_id=user, url=here.http)

        def works() -> None:
            for _ in range(2):  # of the second there is nothing to tell
                with gateway.reporting("job", user_id="42", url=here.http):
                    pass

        await call(works)
        assert [one["user_id"] for one in said(here)] == ["43"]
        assert here.engine.log.head == 3


async def test_it_is_tried_again_under_one_key_until_it_is_taken() -> None:
    async with receiver(AWAY, AWAY, TAKEN) as (url, asked):
        assert await call(gateway.report, "job", message="m", url=url) is not None
    assert len(asked) == 3
    assert len({key_of(head) for head in asked}) == 1


async def test_a_gateway_that_stays_away_is_a_warning_after_so_many_tries(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with receiver(AWAY) as (url, asked):
        assert await call(gateway.report, "job", message="m", url=url) is None
    assert len(asked) == TRIES_MAX
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"the failure of job could not be reported: {url}: away"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (("401 Unauthorized", b'{"code":"unauthenticated","detail":"no"}'), "GATEWAY_TOKEN"),
        (("200 OK", b"<html>"), "is no gateway"),
        (("400 Bad Request", b'{"code":"invalid_event","detail":"agent_name"}'), "agent_name"),
    ],
)
async def test_what_another_try_would_not_better_is_tried_once(
    answer: Answer, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with receiver(answer) as (url, asked):
        assert await call(gateway.report, "job", message="m", url=url) is None
    assert len(asked) == 1
    assert why in caplog.text


@pytest.mark.parametrize("given", [{"url": "nonsense"}, {"url": "http://x y"}, {"token": "é\n"}])
async def test_whatever_it_is_given_it_does_not_raise(given: dict[str, Any]) -> None:
    given = {"url": "http://127.0.0.1:9", "within": 0.2, **given}
    assert await call(gateway.report, "job", message="m", **given) is None


async def test_a_gateway_that_never_answers_takes_no_longer_than_it_may() -> None:
    release = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    async with await asyncio.start_server(never, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(5):
            assert await call(gateway.report, "job", message="m", url=url, within=0.2) is None
        release.set()


# --- around a job ---------------------------------------------------------------------------


async def test_the_exception_that_leaves_a_job_is_told_with_its_kind_and_raised_on() -> None:
    def fails(url: str) -> None:
        with gateway.reporting("job", user_id="42", detail={"feed": "a"}, url=url):
            raise ConnectionRefusedError("db.example:5432")

    async with world() as here:
        with pytest.raises(ConnectionRefusedError):
            await call(fails, here.http)
        (told,) = said(here)
        (entry,) = await here.engine.log.read(after=0, topics=None, limit=9)
    assert told["error_type"] == "network_error"
    detail = orjson.loads(entry.operator)["detail"]
    assert (detail["exception"], detail["feed"]) == ("builtins.ConnectionRefusedError", "a")
    assert "test_report.py" in detail["stack"][-1]


@pytest.mark.parametrize(
    ("raised", "told"),
    [(SystemExit(0), 0), (SystemExit(3), 1), (KeyboardInterrupt(), 0), (GeneratorExit(), 0)],
)
async def test_leaving_is_no_failure_unless_with_an_exit_code(
    raised: BaseException, told: int
) -> None:
    def leaves(url: str) -> BaseException | None:
        try:
            with gateway.reporting("job", url=url):
                raise raised
        except BaseException as error:  # noqa: BLE001 - the loop of the test would end with it
            return error

    async with world() as here:
        assert await call(leaves, here.http) is raised
        assert len(said(here)) == told


def test_a_job_that_reports_loads_the_standard_library_alone() -> None:
    code = (
        "import gateway, sys; gateway.report, gateway.reporting; "
        "print([name for name in sys.modules if name.startswith('gateway.domain') or "
        "name.partition('.')[0] in ('orjson', 'click', 'starlette', 'asyncio', 'websockets')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
