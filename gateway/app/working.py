"""``gateway work``: one of the two processes that are a worker."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from gateway.app.process import run, say_ready
from gateway.app.settings import read_settings
from gateway.domain.errors import ConfigurationError, GatewayError

__all__ = ["keep", "work"]


def keep(
    target: str,
    options: Mapping[str, Any],
    *,
    grace_s: float,
    logged: Sequence[str],
    url: str,
    token: str | None,
    parent: int | None,
) -> NoReturn:
    """Be the process that starts the worker's, and watches it."""
    from gateway.worker.keeper import Keeper

    arguments = ["work", target, "--url", url, "--grace", str(grace_s), *logged]
    for name, value in options.items():
        arguments += [] if value is None else [f"--{name}", str(value)]
    keeper = Keeper(
        arguments,
        url=url,
        token=token,
        grace_s=grace_s,
        ready=say_ready,
        parent=parent,
        adopt=True,
    )
    sys.exit(asyncio.run(keeper.run()))


def work(
    target: str, options: Mapping[str, Any], *, grace_s: float, url: str, line_fd: int
) -> NoReturn:
    """Be the process in which the agents run."""
    from gateway.app.clock import SystemClock
    from gateway.app.load import load
    from gateway.attempts.processes import EXIT_MEMORY
    from gateway.worker.desk import work as work_at_desk
    from gateway.worker.line import Line

    line = Line(line_fd)
    try:
        gateway = load(target)
        gateway.configure(read_settings(os.environ))
        run(
            work_at_desk(
                gateway.agents,
                line,
                settings=gateway.settings,
                clock=SystemClock(),
                url=url,
                handle=options["handle"] or target.partition(":")[0],
                domain=options["domain"],
                concurrency=options["concurrency"],
                grace_s=grace_s,
            )
        )
    except MemoryError:
        os._exit(EXIT_MEMORY)
    except GatewayError as error:
        line.say("leaving", code=2 if isinstance(error, ConfigurationError) else 1)
        raise
    line.say("leaving", code=0)
    sys.stdout.flush()
    # Threads of agents that run on do not hold this process.
    os._exit(0)
