"""Serving: from a gateway to a process that listens, says that it is ready, and ends in order."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import ipaddress
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.applications import Starlette

from gateway.app.gateway import Gateway
from gateway.domain.errors import ConfigurationError
from gateway.domain.redaction import redact
from gateway.transports.server import Server

__all__ = ["load", "log_to_stderr", "run", "serve", "until_signal"]


def load(target: str) -> Gateway:
    """
    Import ``module:attribute``, from the working directory, too.

    Raises:
        ConfigurationError: If there is no such thing, or it is no Gateway.
    """
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise ConfigurationError(f"{target!r} has to be MODULE:NAME, such as agents:gateway")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0] and error.name != module_name:
            raise
        raise ConfigurationError(
            f"there is no module {module_name!r} here; it is looked for in {os.getcwd()}"
        ) from error
    found = getattr(module, attribute, None)
    if not isinstance(found, Gateway):
        raise ConfigurationError(
            f"{target} is {'missing' if found is None else 'no Gateway'}; "
            f"{module_name} should say `{attribute} = Gateway()`"
        )
    return found


def require_secret(gateway: Gateway, host: str) -> None:
    """
    Refuse to be open to others than this machine.

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
        app: The gateway's application when it is not the plain one.
        ready: Called with the address once it serves.

    Raises:
        AddressUnavailable: If the address cannot be had.
        ConfigurationError: If it would be open to others.
    """
    require_secret(gateway, host)
    server = Server(
        app or gateway.app,
        gateway.settings,
        host=host,
        port=port,
        before_stop=gateway.engine.drain,
    )

    async def tell() -> None:
        await server.wait_ready()
        ready(server.url)

    telling = asyncio.create_task(tell())
    try:
        await server.serve()
    finally:
        telling.cancel()


def run(work: Any) -> None:
    """Run a coroutine on uvloop where there is one, else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


async def until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` until it ends, or until SIGTERM or SIGINT ends it: both are a good end."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


class _Redacted(logging.Formatter):
    """Takes secrets out of every line, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return str(redact(super().format(record)))


def log_to_stderr(level: str) -> None:
    """Log to stderr, one line a record, without secrets."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Redacted("%(asctime)s %(levelname)-8s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # uvicorn tells at INFO what nobody asked for; its warnings are ours, too.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
