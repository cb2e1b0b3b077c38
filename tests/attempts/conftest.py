"""Attempts are tried in the same worlds as what decides about them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attempts.isolated import Runs
from tests.execution.conftest import (
    here,
    open_world,
    pytest_asyncio_loop_factories,
    unremovable,
)

__all__ = ["here", "open_world", "pytest_asyncio_loop_factories", "unremovable"]


@pytest.fixture(scope="session")
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Run attempts in processes of their own."""
    runs = Runs(tmp_path_factory.mktemp("cells"))
    yield runs
    runs.close()
