"""Commands take over the process that runs them; their tests give it back."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator

import pytest


@pytest.fixture
def process_kept() -> Iterator[None]:
    """Give logging, hooks and the import path back as they were before a command ran."""
    path = sys.path[:]
    hooks = sys.excepthook, threading.excepthook
    root, uvicorn = logging.root, logging.getLogger("uvicorn")  # noqa: TID251 - not ours
    handlers, level, other = root.handlers[:], root.level, uvicorn.level
    try:
        yield
    finally:
        sys.path[:] = path
        sys.excepthook, threading.excepthook = hooks
        root.handlers[:] = handlers
        root.setLevel(level)
        uvicorn.setLevel(other)
