"""
Worker processes of a gateway's own: its agents run beside it, so that nothing of theirs touches it.

Each is a ``gateway work`` of the same module, on this machine; what it does is what any worker
does. The rule: they end with the gateway, whatever ends it, and one that ends is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence

from gateway.app.clock import SystemClock
from gateway.app.tokens import signed
from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import ConfigurationError
from gateway.domain.settings import Settings
from gateway.ports import Clock

__all__ = ["Processes", "processes_for", "token_for"]

logger = logger_of(__name__)

# As whom they sign in, and for how long: as long as a gateway may run.
USER_ID, EXPIRES = "gateway-processes", "3650d"
# One that has ended is started again after this, twice as long each time, in seconds.
AGAIN_S, AGAIN_S_MAX = 0.5, 30.0
# One that ran for so long, in seconds, is started again at once.
WELL_AFTER_S = 30.0
# What one may take to end beyond its grace, in seconds; then it is killed.
LATE_S = 5.0


def token_for(settings: Settings, given: str | None, clock: Clock) -> str | None:
    """
    Give the token with which a gateway's own worker processes sign in.

    Args:
        settings: The gateway's.
        given: ``GATEWAY_TOKEN``; None: one is made from the gateway's secret.
        clock: Tells when now is.

    Returns:
        None: the gateway is open, and needs none.

    Raises:
        ConfigurationError: If the gateway needs one and has no secret to make it with.
    """
    if settings.open or given:
        return given
    if not settings.token_secret:
        raise ConfigurationError(
            "--processes needs a token for its workers where tokens are signed elsewhere: set "
            "GATEWAY_TOKEN to one with the scope agent"
        )
    return signed(
        settings,
        user=USER_ID,
        scopes=("agent",),
        expires=EXPIRES,
        agents=(),
        channels=(),
        clock=clock,
    )


def processes_for(
    settings: Settings, target: str | None, count: int, *, log_level: str
) -> Processes:
    """
    Make the processes in which the agents of a gateway run.

    Args:
        settings: The gateway's.
        target: The module and gateway, as ``gateway serve`` was given them; None: none was.
        count: How many there are.
        log_level: As ``gateway work`` takes it.

    Raises:
        ConfigurationError: If there is nothing to run there, or no way to sign in.
    """
    if target is None:
        raise ConfigurationError("--processes runs agents: name their module, as MODULE:GATEWAY")
    return Processes(
        target,
        count,
        flags=("--log-level", log_level, "--log-format", settings.log_format),
        token=token_for(settings, os.environ.get("GATEWAY_TOKEN"), SystemClock()),
        grace_s=settings.drain_grace,
    )


class Processes:
    """
    Worker processes beside a gateway.

    Args:
        target: The module and gateway whose agents they run, as ``gateway work`` takes them.
        count: How many there are.
        flags: More of ``gateway work``.
        token: With scope ``agent``; None: an open gateway.
        grace_s: Seconds that running tasks get at the end.
    """

    def __init__(
        self, target: str, count: int, *, flags: Sequence[str], token: str | None, grace_s: float
    ) -> None:
        self._target = target
        self._count = count
        self._flags = flags
        self._token = token
        self._grace_s = grace_s
        self._keeping: list[asyncio.Task[None]] = []
        self._running: set[asyncio.subprocess.Process] = set()
        self._ending = asyncio.Event()

    def start(self, url: str) -> None:
        """Start them; ``url`` is the gateway's."""
        self._keeping = [asyncio.create_task(self._keep(url)) for _ in range(self._count)]

    async def stop(self) -> None:
        """Let them finish within the grace, and wait until they are gone."""
        self._ending.set()
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        if self._keeping:
            _, late = await asyncio.wait(self._keeping, timeout=self._grace_s + LATE_S)
            for process in self._running if late else ():
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            for keeping in late:
                keeping.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _keep(self, url: str) -> None:
        loop = asyncio.get_running_loop()
        again_s = AGAIN_S
        while True:
            began_at = loop.time()
            process = await self._start(url)
            self._running.add(process)
            try:
                code = await process.wait()
            finally:
                self._running.discard(process)
            if self._ending.is_set():
                return
            again_s = AGAIN_S if loop.time() - began_at > WELL_AFTER_S else again_s * 2
            logger.warning("a worker process has ended with exit code %d", code)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(again_s, AGAIN_S_MAX)):
                    await self._ending.wait()
                    return

    async def _start(self, url: str) -> asyncio.subprocess.Process:
        token = {} if self._token is None else {"GATEWAY_TOKEN": self._token}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "work", self._target, "--url", url),
            *("--grace", str(self._grace_s), "--parent", str(os.getpid()), *self._flags),
            env={**os.environ, **token},
            stdin=asyncio.subprocess.DEVNULL,
            # It says when it is ready, which is for a terminal of its own.
            stdout=asyncio.subprocess.DEVNULL,
        )
