"""Serving: makes a gateway a process that listens, says when it is ready, and ends in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from starlette.applications import Starlette

from gateway.app.garbage import looked_for
from gateway.app.gateway import Gateway
from gateway.app.processes import Processes
from gateway.attempts.processes import resident_bytes
from gateway.domain.errors import ConfigurationError
from gateway.domain.settings import Settings, is_loopback
from gateway.transports.server import Server

__all__ = ["require_secret", "serve", "warning_for"]


def require_secret(gateway: Gateway, host: str) -> None:
    """
    Check that a gateway without a secret listens on this machine only.

    Raises:
        ConfigurationError: If there is no secret and ``host`` is not a loopback address, or other
            settings need a secret.
    """
    gateway.settings.require_open_safe()
    if gateway.settings.open and not is_loopback(host):
        raise ConfigurationError(
            f"without a secret the gateway serves this machine only, not {host}: set "
            "GATEWAY_TOKEN_SECRET (at least 32 bytes) or GATEWAY_JWKS, or use --host 127.0.0.1"
        )


def warning_for(settings: Settings, host: str) -> str | None:
    """Say what somebody who serves with these settings should know; None: nothing."""
    if settings.open:
        return "no secret is set: everyone on this machine may do everything (GATEWAY_TOKEN_SECRET)"
    if not (settings.tls_cert or is_loopback(host)):
        return (
            "tokens travel unencrypted to other machines, and everyone on the way can use them: "
            "give --tls-cert and --tls-key, or let a proxy with TLS alone reach this address"
        )
    return None


async def serve(
    gateway: Gateway,
    *,
    host: str,
    port: int,
    app: Starlette | None = None,
    ready: Callable[[str], None],
    processes: Processes | None = None,
) -> None:
    """
    Serve until SIGTERM or SIGINT.

    Args:
        gateway: What is served.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        app: The application to serve; None: the gateway's own.
        ready: Called with the gateway's address once it serves and has read its log.
        processes: Those in which its agents run; None: they run in this one.

    Raises:
        AddressUnavailable: If the address cannot be bound.
        ConfigurationError: If other machines could use it without a secret, or its store cannot
            be used.
    """
    require_secret(gateway, host)
    # Opened before the server starts: uvicorn would log an error here with its own traceback.
    if processes is not None:
        gateway.engine.parts.runner.leave_to_others()
    await gateway.engine.open()

    async def drain() -> None:
        # Workers finish what they have, or give it back, while the gateway waits for it.
        async with asyncio.TaskGroup() as ends:
            ends.create_task(gateway.engine.drain())
            if processes is not None:
                ends.create_task(processes.stop())

    server = Server(
        app or gateway.app,
        gateway.settings,
        host=host,
        port=port,
        before_stop=drain,
    )

    async def tell() -> None:
        await server.wait_ready()
        await gateway.engine.parts.watch.until_ready()
        until_the_end.enter_context(looked_for(resident_bytes, gateway.engine.parts.clock))
        if processes is not None:
            processes.start(server.url)
        ready(server.url)

    with contextlib.ExitStack() as until_the_end:
        telling = asyncio.create_task(tell())
        try:
            await server.serve()
        finally:
            telling.cancel()
