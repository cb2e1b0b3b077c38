"""Serving: makes a gateway a process that listens, says when it is ready, and ends in order."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable

from starlette.applications import Starlette

from gateway.app.gateway import Gateway
from gateway.domain.errors import ConfigurationError
from gateway.transports.server import Server

__all__ = ["require_secret", "serve"]


def require_secret(gateway: Gateway, host: str) -> None:
    """
    Check that a gateway without a secret listens on this machine only.

    Raises:
        ConfigurationError: If there is no secret and ``host`` is not a loopback address.
    """
    if not gateway.settings.open:
        return
    loopback = host == "localhost"
    with contextlib.suppress(ValueError):
        loopback = loopback or ipaddress.ip_address(host).is_loopback
    if not loopback:
        raise ConfigurationError(
            f"without a secret the gateway serves this machine only, not {host}: set "
            "GATEWAY_TOKEN_SECRET (at least 32 bytes) or GATEWAY_JWKS, or use --host 127.0.0.1"
        )


async def serve(
    gateway: Gateway,
    *,
    host: str,
    port: int,
    app: Starlette | None = None,
    ready: Callable[[str], None],
) -> None:
    """
    Serve until SIGTERM or SIGINT.

    Args:
        gateway: What is served.
        host: The address to listen on.
        port: The port; 0 takes a free one.
        app: The application to serve; None: the gateway's own.
        ready: Called with the gateway's address once it serves and has read its log.

    Raises:
        AddressUnavailable: If the address cannot be bound.
        ConfigurationError: If other machines could use it without a secret, or its store cannot
            be used.
    """
    require_secret(gateway, host)
    # Opened before the server starts: uvicorn would log an error here with its own traceback.
    await gateway.engine.open()
    server = Server(
        app or gateway.app,
        gateway.settings,
        host=host,
        port=port,
        before_stop=gateway.engine.drain,
    )

    async def tell() -> None:
        await server.wait_ready()
        await gateway.engine.parts.watch.until_ready()
        ready(server.url)

    telling = asyncio.create_task(tell())
    try:
        await server.serve()
    finally:
        telling.cancel()
