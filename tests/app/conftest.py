"""Commands take over the process that runs them; their tests give it back."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def process_kept() -> Iterator[None]:
    """Give logging and the import path back as they were before a command ran."""
    path = sys.path[:]
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn")
    handlers, level, other = root.handlers[:], root.level, uvicorn.level
    try:
        yield
    finally:
        sys.path[:] = path
        root.handlers[:] = handlers
        root.setLevel(level)
        uvicorn.setLevel(other)
