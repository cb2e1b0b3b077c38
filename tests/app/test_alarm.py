"""The alarm against a real receiver: that fails, stalls, goes away and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson
import pytest

from gateway import Gateway, Settings, Task
from gateway.app import alarm as alarm_module
from gateway.app.alarm import SIGNATURE, WebhookAlarm, signature
from gateway.app.clock import RandomIds, SystemClock
from gateway.domain.meters import Meters
from gateway.errors import ServiceUnavailable
from tests.transports.world import until

SECRET = "a" * 32
TAKEN = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
FAILED = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
MOVED = (
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)


@dataclasses.dataclass
class Receiver:
    """What takes alerts, and how it answers now."""

    answer: bytes = TAKEN
    port: int = 0
    asked: list[tuple[dict[str, str], bytes]] = dataclasses.field(default_factory=list)
    stalled: asyncio.Event | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/x?key=7"

    @property
    def ids(self) -> list[str]:
        return [orjson.loads(body)["event_id"] for _, body in self.asked]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            body = await reader.readexactly(int(headers["Content-Length"]))
            self.asked.append(({**headers, "line": first}, body))
            if self.stalled is not None:
                await self.stalled.wait()
            writer.write(self.answer)
            await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Receiver]:
        """Be there; the same address each time."""
        server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarm_module, "RETRY_BASE_S", 0.02)
    monkeypatch.setattr(alarm_module, "RETRY_MAX_S", 0.1)


@contextlib.asynccontextmanager
async def alarm(url: str, *, secret: str = SECRET) -> AsyncIterator[tuple[WebhookAlarm, Meters]]:
    meters = Meters()
    made = WebhookAlarm(url, secret=secret, clock=SystemClock(), ids=RandomIds(), meters=meters)
    made.start()
    try:
        yield made, meters
    finally:
        await made.stop()


def event(number: int) -> bytes:
    return orjson.dumps({"type": "task_dead_lettered", "event_id": f"e{number}"})


async def test_each_is_sent_once_in_order_and_signed() -> None:
    async with Receiver().listening() as there, alarm(there.url) as (here, meters):
        for number in range(5):
            here.sound(event(number))
        await until(lambda: meters.alerts_sent == 5)
    assert there.ids == [f"e{number}" for number in range(5)]
    headers, body = there.asked[0]
    assert headers["line"] == "POST /hooks/x?key=7 HTTP/1.1"
    assert headers["Gateway-Event"] == "task_dead_lettered"
    at, given = (part.partition("=")[2] for part in headers[SIGNATURE].split(","))
    expected = hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(given, expected)
    assert abs(SystemClock().wall() - int(at)) < 60


def test_a_signature_is_what_a_receiver_computes_and_moves_with_each_part() -> None:
    told = signature(SECRET, b"{}", 1_732_700_000)
    assert told == (
        "t=1732700000,v1=" + hmac.new(SECRET.encode(), b"1732700000.{}", "sha256").hexdigest()
    )
    others = [
        signature("b" * 32, b"{}", 1),
        signature(SECRET, b"{ }", 1),
        signature(SECRET, b"", 1),
    ]
    assert len({told, *others}) == 4


async def test_without_a_secret_nothing_is_signed() -> None:
    async with Receiver().listening() as there, alarm(there.url, secret="") as (here, meters):
        here.sound(event(1))
        await until(lambda: meters.alerts_sent == 1)
    assert SIGNATURE not in there.asked[0][0]


@pytest.mark.parametrize("answer", [FAILED, MOVED, b"nonsense\r\n\r\n", b""])
async def test_one_that_fails_gets_it_again_until_it_takes_it(
    answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Receiver(answer).listening() as there, alarm(there.url) as (here, meters):
        here.sound(event(1))
        here.sound(event(2))
        await until(lambda: len(there.asked) >= 3)
        there.answer = TAKEN
        await until(lambda: meters.alerts_sent == 2)
    assert set(there.ids[:-1]) == {"e1"}
    assert there.ids[-1] == "e2"
    told = [record.getMessage() for record in caplog.records if "alerts" in record.getMessage()]
    assert len(told) == 2, "once that it does not take them, once that it does again"
    assert "hooks" not in caplog.text, "the path of a webhook is often a secret"


async def test_one_that_stalls_is_given_up_and_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alarm_module, "ANSWER_WAIT_S", 0.3)
    there = Receiver(stalled=asyncio.Event())
    async with there.listening(), alarm(there.url) as (here, meters):
        here.sound(event(1))
        await until(lambda: len(there.asked) >= 2)
        assert there.stalled is not None
        there.stalled.set()
        await until(lambda: meters.alerts_sent == 1)
    assert set(there.ids) == {"e1"}


async def test_while_it_is_away_alerts_wait_and_at_the_bound_the_oldest_go(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(alarm_module, "WAITING_MAX", 3)
    there = Receiver()
    async with there.listening():
        pass
    async with alarm(there.url) as (here, meters):
        for number in range(6):
            here.sound(event(number))
        assert meters.alerts_dropped == 3
        async with there.listening():
            await until(lambda: meters.alerts_sent == 3)
    assert there.ids == ["e3", "e4", "e5"]
    assert caplog.text.count("older ones are dropped") == 1


async def test_an_alert_that_is_no_news_any_more_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alarm_module, "AGE_MAX_S", 0.0)
    async with alarm("http://127.0.0.1:9/") as (here, meters):
        here.sound(event(1))
        await until(lambda: meters.alerts_dropped == 1)


async def test_the_end_waits_for_what_can_be_sent_and_not_for_what_cannot() -> None:
    async with Receiver().listening() as there:
        async with alarm(there.url) as (here, _):
            for number in range(20):
                here.sound(event(number))
        assert len(there.ids) == 20
    async with asyncio.timeout(5), alarm("http://127.0.0.1:9/") as (here, _):
        here.sound(event(1))


async def test_a_sound_never_waits() -> None:
    """A receiver that stalls has no part in what the gateway does."""
    there = Receiver(stalled=asyncio.Event())
    async with there.listening(), alarm(there.url) as (here, _):
        here.sound(event(0))
        await until(lambda: bool(there.asked))
        for number in range(1000):
            here.sound(event(number))
        assert len(there.asked) == 1, "all of them were taken while it still had the first"
        assert there.stalled is not None
        there.stalled.set()


# --- a gateway ------------------------------------------------------------------------------


async def test_what_needs_a_person_is_sent_by_a_gateway_with_its_place_in_the_log() -> None:
    async with Receiver().listening() as there:
        gateway = Gateway(
            Settings(
                alert_url=there.url,
                alert_secret=SECRET,
                breaker_threshold=1,
                breaker_cooldown=0.05,
                breaker_permits=1,
            )
        )
        fails = [True]

        @gateway.agent("writer", max_attempts=1)
        async def write(task: Task) -> str:
            if fails:
                raise ServiceUnavailable
            return "done"

        async with gateway.lifespan():
            await _ended(await gateway.submit("writer", user_id="42"))
            fails.clear()
            await until_async(lambda: _succeeds(gateway))
            await until(lambda: len(there.asked) >= 3)
    bodies = [orjson.loads(body) for _, body in there.asked]
    told = {(body["type"], body.get("scope")) for body in bodies}
    assert {
        ("task_dead_lettered", None),
        ("circuit_breaker_triggered", "agent"),
        ("system_recovered", "breaker"),
    } <= told
    assert len({body["event_id"] for body in bodies}) == len(bodies)
    for body in bodies:
        assert {"epoch", "offset", "timestamp"} <= body.keys()
        assert "detail" not in body


async def _ended(handle: object) -> None:
    with contextlib.suppress(Exception):
        await handle.result()  # type: ignore[attr-defined]


async def _succeeds(gateway: Gateway) -> bool:
    try:
        return bool(await (await gateway.submit("writer", user_id="42")).result())
    except Exception:  # noqa: BLE001 - the breaker is still open
        return False


async def until_async(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await holds():
            await SystemClock().sleep(0.02)
