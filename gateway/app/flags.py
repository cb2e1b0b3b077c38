"""
Flags that several commands share, and what is said of secrets that are given as one.

A process's arguments can be read by everyone on the machine, so a secret had better come from the
environment or from a file.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from gateway.app.settings import PREFIX, file_of, read_secret
from gateway.client.addresses import websocket_url
from gateway.domain.settings import SETTINGS, is_loopback

__all__ = ["OWN_FLAGS", "address_flags", "connection_flags", "settings_flags"]

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_URL = "ws://127.0.0.1:8000/ws"
# Settings whose flag is declared by hand, with a longer help text.
OWN_FLAGS = ("store",)


def settings_flags(command: F) -> F:
    """Give a command one flag for each setting; the environment is read by ``read_settings``."""
    for name in reversed(SETTINGS):
        setting = SETTINGS[name]
        secret = setting.metadata["secret"]
        if secret:
            command = click.option(
                _flag(file_of(name)),
                file_of(name),
                metavar="FILE",
                help=f"file that holds it instead  [{PREFIX}{file_of(name).upper()}]",
            )(command)
        if name in OWN_FLAGS:
            continue
        default = setting.default
        shown = ",".join(default) if isinstance(default, tuple) else default
        command = click.option(
            _flag(name),
            name,
            metavar="TEXT" if isinstance(default, str | tuple) else "NUMBER",
            help=f"{setting.metadata['help']}  [{PREFIX}{name.upper()}; default: {shown}]",
            callback=_warn_of_secret if secret else None,
        )(command)
    return command


def address_flags(command: F) -> F:
    """Give a command ``--host`` and ``--port``."""
    command = click.option(
        "--port",
        default=8000,
        show_default=True,
        type=click.IntRange(0, 65535),
        help="Port to listen on; 0 takes a free one.",
    )(command)
    return click.option(
        "--host", default="127.0.0.1", show_default=True, help="Address to listen on."
    )(command)


def connection_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--url``, ``--token`` and ``--token-file``; it gets ``url`` and ``token``."""

    @click.option(
        "--url",
        envvar="GATEWAY_URL",
        default=DEFAULT_URL,
        show_default=True,
        help="Where the gateway is; http://HOST:PORT, too.  [GATEWAY_URL]",
    )
    @click.option(
        "--token",
        envvar="GATEWAY_TOKEN",
        help="Token to connect with.  [GATEWAY_TOKEN]",
        callback=_warn_of_secret,
    )
    @click.option(
        "--token-file",
        envvar="GATEWAY_TOKEN_FILE",
        type=click.Path(path_type=Path),
        help="File that holds it instead.  [GATEWAY_TOKEN_FILE]",
    )
    @functools.wraps(command)
    def called(
        *args: Any, url: str, token: str | None, token_file: Path | None, **rest: Any
    ) -> Any:
        url = websocket_url(url)
        # A flag wins over the environment, and the token itself over its file.
        if token_file is not None and (
            not token or (_is_flag("token_file") and not _is_flag("token"))
        ):
            token = read_secret(token_file, "--token-file")
        # The process that a worker's keeper starts says nothing that the keeper has said.
        if token and rest.get("kept") is None and not _is_safe(url):
            click.echo(
                f"the token travels unencrypted to {urlsplit(url).hostname}: everyone on the way "
                "can read and use it; use wss:// or https://",
                err=True,
            )
        return command(*args, url=url, token=token or None, **rest)

    return called


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _is_safe(url: str) -> bool:
    """Whether what is sent there can be read by nobody on the way."""
    parts = urlsplit(url)
    return parts.scheme != "ws" or is_loopback(parts.hostname or "")


def _is_flag(name: str) -> bool:
    """Whether the command that runs was given this as a flag, not by the environment."""
    return click.get_current_context().get_parameter_source(name) == ParameterSource.COMMANDLINE


def _warn_of_secret(context: click.Context, option: click.Parameter, value: Any) -> Any:
    assert option.name is not None
    if value and _is_flag(option.name):
        flag = _flag(option.name)
        click.echo(
            f"{flag}: everyone on this machine can read the arguments of a process; use "
            f"{PREFIX}{option.name.upper()} or {flag}-file",
            err=True,
        )
    return value
