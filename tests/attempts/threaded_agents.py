"""An agent whose module starts a thread when it is imported, as some libraries do."""

from __future__ import annotations

import os
import threading
from typing import Any

from gateway import Gateway, Task
from gateway.domain.settings import Settings

gateway = Gateway(Settings())
LOCK = threading.Lock()
held = threading.Event()


def _hold() -> None:
    # A process that is forked meanwhile has a lock that nobody ever opens.
    with LOCK:
        held.set()
        threading.Event().wait()


threading.Thread(target=_hold, daemon=True).start()
held.wait()


@gateway.agent("threaded", isolation="process")
def threaded(task: Task) -> dict[str, Any]:
    return {"pid": os.getpid(), "threads": sorted(thread.name for thread in threading.enumerate())}
