"""Attempts are tried in the same worlds as what decides about them."""

from __future__ import annotations

from tests.execution.conftest import (
    here,
    open_world,
    pytest_asyncio_loop_factories,
    unremovable,
)

__all__ = ["here", "open_world", "pytest_asyncio_loop_factories", "unremovable"]
