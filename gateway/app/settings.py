"""Settings from the environment (``GATEWAY_*``), read once, and from flags, which win."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gateway.domain.errors import ConfigurationError
from gateway.domain.settings import SETTINGS, Settings

__all__ = ["PREFIX", "read_settings"]

PREFIX = "GATEWAY_"


def read_settings(
    environment: Mapping[str, str], overrides: Mapping[str, str | None] | None = None
) -> Settings:
    """
    Read the settings.

    Args:
        environment: The process's environment; only the names of settings are read.
        overrides: Setting → text, from flags; a text of None was not given. None: no flags.

    Raises:
        ConfigurationError: If a text is not allowed; it names the setting and what it may be.
    """
    texts = {
        name: environment[PREFIX + name.upper()]
        for name in SETTINGS
        if PREFIX + name.upper() in environment
    }
    texts |= {name: text for name, text in (overrides or {}).items() if text is not None}
    return Settings(**{name: _value(name, text) for name, text in texts.items()})


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
            f"{PREFIX}{name.upper()} has to be {wanted}, it is {text[:64]!r}"
        ) from None


def as_text(settings: Settings) -> dict[str, str]:
    """The settings as texts again, for a child process's environment."""
    texts = {}
    for name, value in dataclasses.asdict(settings).items():
        text = ",".join(value) if isinstance(value, tuple) else str(value)
        texts[PREFIX + name.upper()] = text
    return texts
