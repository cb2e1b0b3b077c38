"""Serving: on which addresses without a secret, and the life from ready to the end."""

from __future__ import annotations

import asyncio
import signal

import pytest

from gateway import Gateway
from gateway.app.serve import require_secret, serve, warning_for
from gateway.domain.errors import AddressUnavailable, ConfigurationError
from gateway.domain.settings import Settings
from gateway.transports.server import bind
from tests.transports.http_client import plain_http
from tests.transports.world import hurried

OPEN = Settings(drain_grace=0.1)
CLOSED = Settings(token_secret="s" * 32, drain_grace=0.1)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_an_open_gateway_may_listen_on_this_machine(host: str) -> None:
    require_secret(Gateway(OPEN), host)


@pytest.mark.requirement("WEFT-W21")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "gate.example", ""])
def test_an_open_gateway_listens_nowhere_else(host: str) -> None:
    with pytest.raises(ConfigurationError, match="GATEWAY_TOKEN_SECRET"):
        require_secret(Gateway(OPEN), host)
    require_secret(Gateway(CLOSED), host)


def test_what_needs_a_secret_is_told_before_anything_is_opened() -> None:
    for settings in (Settings(allowed_origins=("*",)), Settings(token_issuer="them")):
        with pytest.raises(ConfigurationError, match="secret"):
            require_secret(Gateway(settings), "127.0.0.1")
        with pytest.raises(ConfigurationError):  # mounted, it is served by somebody else
            _ = Gateway(settings).app


@pytest.mark.parametrize(
    ("settings", "host", "words"),
    [
        (OPEN, "127.0.0.1", "no secret is set"),
        (CLOSED, "127.0.0.1", None),
        (CLOSED, "0.0.0.0", "unencrypted"),
        (CLOSED, "gate.example", "unencrypted"),
        (Settings(token_secret="s" * 32, tls_cert="cert.pem"), "0.0.0.0", None),
    ],
)
def test_who_serves_is_told_what_others_could_do(
    settings: Settings, host: str, words: str | None
) -> None:
    said = warning_for(settings, host)
    assert said is None if words is None else words in (said or "")


async def test_ready_is_said_when_it_serves_and_a_signal_ends_it() -> None:
    urls: list[str] = []
    answers: list[int] = []

    async def look(url: str) -> None:
        async with plain_http(url) as client:
            answers.append((await client.get("/ready")).status_code)
        signal.raise_signal(signal.SIGTERM)

    looking: list[asyncio.Task[None]] = []

    def ready(url: str) -> None:
        urls.append(url)
        looking.append(asyncio.create_task(look(url)))

    gateway = Gateway(OPEN)
    with hurried():
        await serve(gateway, host="127.0.0.1", port=0, ready=ready)
    assert answers == [200]
    assert urls[0].startswith("http://127.0.0.1:")
    with pytest.raises(ConfigurationError, match="lifespan"):
        await gateway.submit("echo")


async def test_what_cannot_be_served_is_told_before_anything_is_ready() -> None:
    ready: list[str] = []
    with pytest.raises(ConfigurationError):
        await serve(Gateway(OPEN), host="0.0.0.0", port=0, ready=ready.append)
    listener = bind("127.0.0.1", 0)
    listener.listen()
    try:
        port = listener.getsockname()[1]
        with pytest.raises(AddressUnavailable):
            await serve(Gateway(OPEN), host="127.0.0.1", port=port, ready=ready.append)
    finally:
        listener.close()
    assert ready == []
