"""
One process for a log in memory: a second one of the same server refuses to start.

``uvicorn --workers 2`` and the like start an application several times. Each process would have a
log of its own, and a browser would hear of half of its tasks. So each worker of such a server
takes a lock that only one can have. Processes that are not started by such a server are let be:
two gateways on two ports are two gateways.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from gateway.domain.errors import ConfigurationError

try:
    import fcntl
except ImportError:  # there is no such lock on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["alone_in_its_server"]

# Modules of servers that start several processes; what they call runs below a frame of theirs.
SUPERVISORS = ("uvicorn._subprocess", "gunicorn.arbiter", "hypercorn.run")


@contextlib.contextmanager
def alone_in_its_server() -> Iterator[None]:
    """
    Be the only process of a server with several, until the block ends.

    Raises:
        ConfigurationError: If another process of the same server is.
    """
    with contextlib.ExitStack() as held:
        if fcntl is not None and _is_one_of_several():
            path = Path(tempfile.gettempdir()) / f"gateway-of-server-{os.getppid()}.lock"
            with contextlib.suppress(OSError):  # nowhere to write to: nothing can be told
                _lock(held.enter_context(path.open("w")).fileno())
        yield


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigurationError(
            "another process of this server has a gateway already, and with the store in memory "
            "each would know its own tasks only: start the server with one worker, or let them "
            "share a log (GATEWAY_STORE=nats://host:4222)"
        ) from None


def _is_one_of_several() -> bool:
    """Whether a server that starts several processes is what runs this one."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__") in SUPERVISORS:
            return True
        frame = frame.f_back
    return False
