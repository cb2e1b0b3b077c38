"""An agent that fails at once and says when: what is measured begins at its ``raise``."""

from __future__ import annotations

import time

from gateway import Gateway, Task
from gateway.errors import InvalidInput

gateway = Gateway()


@gateway.agent("failing", max_attempts=1)
async def fail(task: Task) -> None:
    """Fail; an invalid input is no outcome to a breaker, so that none opens."""
    # CLOCK_MONOTONIC is one for all processes of a machine.
    task.append(str(time.monotonic_ns()))
    raise InvalidInput("for the benchmark")
