"""
Settings from the environment (``GATEWAY_*``), read once, and from flags, which win.

A secret may also come from a file that is named instead, ``GATEWAY_TOKEN_SECRET_FILE``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.domain.errors import ConfigurationError
from gateway.domain.redaction import quoted
from gateway.domain.settings import SETTINGS, Settings

__all__ = ["PREFIX", "as_text", "file_of", "read_secret", "read_settings"]

PREFIX = "GATEWAY_"
SECRETS = tuple(name for name, field in SETTINGS.items() if field.metadata["secret"])
# Of a file that holds one.
SECRET_BYTES_MAX = 64 * 1024


def read_settings(
    environment: Mapping[str, str], overrides: Mapping[str, str | None] | None = None
) -> Settings:
    """
    Read the settings.

    Args:
        environment: The process's environment; only the names of settings are read.
        overrides: Setting → text, from flags; a text of None was not given. None: no flags.

    Raises:
        ConfigurationError: If a text is not allowed; it names the setting and what it may be. Or
            if a file that is to hold a secret cannot be read.
    """
    given = {name: text for name, text in (overrides or {}).items() if text is not None}
    names = [*SETTINGS, *map(file_of, SECRETS)]
    for secret in SECRETS:
        pair = {secret, file_of(secret)}
        if pair & given.keys():
            names = [name for name in names if name not in pair]
    variables = {name: PREFIX + name.upper() for name in names}
    known = {name: environment[key] for name, key in variables.items() if key in environment}
    texts = _with_secrets(known | given)
    return Settings(**{name: _value(name, text) for name, text in texts.items()})


def file_of(name: str) -> str:
    """The name under which the file of a secret is given."""
    return f"{name}_file"


def read_secret(path: Path, name: str) -> str:
    """
    Read a secret from a file; line breaks at its end do not belong to it.

    Args:
        path: The file.
        name: How the file was named, for whoever has to repair it.

    Raises:
        ConfigurationError: If it cannot be read, or is empty.
    """
    try:
        with path.open("rb") as file:
            secret = file.read(SECRET_BYTES_MAX).decode().rstrip("\r\n")
    except OSError as error:
        raise ConfigurationError(f"{name}: {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{name}: {path} is no text") from error
    if not secret:
        raise ConfigurationError(f"{name}: {path} is empty")
    return secret


def _with_secrets(texts: Mapping[str, str]) -> dict[str, str]:
    """Put the secrets in the place of their files' names."""
    whole = dict(texts)
    for name in SECRETS:
        path = whole.pop(file_of(name), "")
        if path and whole.get(name):
            raise ConfigurationError(f"{name} and {file_of(name)} are both given; give one of them")
        if path:
            whole[name] = read_secret(Path(path), file_of(name))
    return whole


def _value(name: str, text: str) -> Any:
    default = SETTINGS[name].default
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(default, str):
        return text
    kind = int if isinstance(default, int) else float
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise ConfigurationError(
            f"{PREFIX}{name.upper()} has to be {wanted}, it is {quoted(text)}"
        ) from None


def as_text(settings: Settings) -> dict[str, str]:
    """The settings as texts again, for a child process's environment."""
    texts = {}
    for name, value in dataclasses.asdict(settings).items():
        text = ",".join(value) if isinstance(value, tuple) else str(value)
        texts[PREFIX + name.upper()] = text
    return texts
