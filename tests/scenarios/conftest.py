"""A NATS server for each module that asks for one, and a log of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.nats import NatsServer, nats_server
from tests.scenarios.durable import QUICK


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nats() -> AsyncIterator[NatsServer]:
    async with nats_server() as server:
        yield server


@pytest.fixture
def store(nats: NatsServer, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A log of the test's own, as settings."""
    name = "".join(letter for letter in request.node.name if letter.isalnum())[:60]
    return {"store": nats.url, "store_stream": name, "store_timeout": 2, **QUICK}
