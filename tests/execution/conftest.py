"""Worlds that are checked when the test is over, in time that passes only while all wait."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.execution.world import VirtualLoop, World, world
from tests.unremovable import unremovable

__all__ = ["OpenWorld", "here", "open_world", "unremovable"]

OpenWorld = Callable[..., Awaitable[World]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], VirtualLoop]]:
    return {"virtual": VirtualLoop}


@pytest.fixture
async def open_world() -> AsyncIterator[OpenWorld]:
    """Open worlds with settings; each is drained and checked in the end."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_one(**changes: Any) -> World:
            return await stack.enter_async_context(world(**changes))

        yield open_one


@pytest.fixture
async def here(open_world: OpenWorld) -> World:
    """A world with the default settings."""
    return await open_world()
