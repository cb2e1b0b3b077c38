"""``gateway breakers``: the circuit breakers, and the failure domains after them, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import orjson

from gateway.app.reaching import Reached
from gateway.app.tables import NONE, ago, drawn, lasting, say, width_now
from gateway.domain.timestamps import seconds_of

__all__ = ["CUT", "HEADINGS", "row_of", "show"]

HEADINGS = ("NAME", "SCOPE", "STATE", "FOR", "PROBES IN", "FAILED")
CUT = frozenset({"NAME"})


async def show(url: str, token: str | None, *, as_json: bool) -> None:
    """
    Print the breakers.

    Args:
        url: The gateway.
        token: The bearer token of an operator; None: an open gateway.
        as_json: One a line, as JSON; otherwise a table for people.

    Raises:
        ConfigurationError: If ``url`` cannot be read.
        GatewayError: If the gateway does not answer, or refuses.
    """
    gateway = Reached(url, token)
    breakers = [breaker async for breaker in gateway.listed("breaker.list", {})]
    if as_json:
        for breaker in breakers:
            click.echo(orjson.dumps(breaker))
    elif breakers:
        now = await gateway.now()
        rows = [row_of(breaker, now) for breaker in breakers]
        say("\n".join(drawn(HEADINGS, rows, width=width_now(), cut=CUT)))
    else:
        click.echo("there are no breakers yet: nothing was counted", err=True)


def row_of(breaker: Mapping[str, Any], now: float) -> tuple[str, ...]:
    """Give the cells of one breaker or domain."""
    opened, probe = breaker["opened_at"], breaker["probe_at"]
    return (
        breaker["name"],
        breaker["scope"],
        breaker["state"],
        NONE if opened is None else ago(now - seconds_of(opened)),
        NONE if probe is None else lasting(seconds_of(probe) - now),
        f"{breaker['failures']} of {breaker['outcomes']}",
    )
