"""One nats-server for all tests of a module that do not break theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from gateway.stores.jetstream import link, stream
from tests.nats import NatsServer, nats_server


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with asyncio.Runner() as runner:
        running = nats_server()
        yield runner.run(running.__aenter__())
        runner.run(running.__aexit__(None, None, None))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look far more often than in production whether the store is there."""
    monkeypatch.setattr(link, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(stream, "BEHIND_LIMIT_S", 0.3)
