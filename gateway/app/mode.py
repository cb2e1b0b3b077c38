"""``gateway mode``: what the gateway takes on now, and how an operator sets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import orjson

from gateway.app.reaching import Reached
from gateway.app.tables import plain

__all__ = ["show"]


async def show(
    url: str, token: str | None, *, wanted: str | None, note: str | None = None, as_json: bool
) -> None:
    """
    Print the mode.

    Args:
        url: The gateway.
        token: The bearer token; None: an open gateway.
        wanted: The mode to set before, for which it has to be an operator's; None: none is set.
        note: Why it is set, for other operators; None: that is not said.
        as_json: As JSON; otherwise a sentence for people.

    Raises:
        ConfigurationError: If ``url`` cannot be read.
        GatewayError: If the gateway does not answer, or refuses.
    """
    gateway = Reached(url, token)
    if wanted is None:
        mode = await gateway.call("mode.get")
    else:
        told = {} if note is None else {"note": note}
        mode = await gateway.call("mode.set", {"mode": wanted, **told})
    click.echo(orjson.dumps(mode) if as_json else _sentence(mode))


def _sentence(mode: Mapping[str, Any]) -> str:
    since = "" if mode["since"] is None else f", since {mode['since'][:19].replace('T', ' ')} UTC"
    note = f": {plain(mode['note'])}" if "note" in mode else ""
    return f"{mode['mode']} ({mode['reason']}{since}){note}"
