"""``gateway dead-letters``: shows what was given up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import orjson

from gateway.app.reaching import Reached
from gateway.app.tables import NONE, drawn, say, width_now

__all__ = ["show"]

HEADINGS = ("DIED", "TASK", "AGENT", "USER", "TRIES", "REASON", "LAST ERROR", "RETRIED AS")
CUT = frozenset({"AGENT", "USER", "REASON", "LAST ERROR"})
SPARE = ("RETRIED AS", "TRIES", "USER", "REASON", "LAST ERROR")


async def show(
    url: str,
    token: str | None,
    *,
    filters: Mapping[str, str | None],
    limit: int | None,
    as_json: bool,
) -> None:
    """
    Print the letters that there are, newest first.

    Args:
        url: The gateway, ``ws://127.0.0.1:8000/ws`` or ``http://127.0.0.1:8000``.
        token: The bearer token; None: an open gateway.
        filters: Parameters of ``dead_letter.list``; those that are None do not count.
        limit: How many at the most; None: all.
        as_json: One letter a line, whole, as JSON; otherwise a table for people.

    Raises:
        ConfigurationError: If ``url`` cannot be read.
        GatewayError: If the gateway does not answer, or refuses.
    """
    gateway = Reached(url, token)
    rows: list[tuple[str, ...]] = []
    async for letter in gateway.listed("dead_letter.list", filters, limit):
        if as_json:
            click.echo(orjson.dumps(letter))
        else:
            rows.append(_row(letter))
    if rows:
        say("\n".join(drawn(HEADINGS, rows, width=width_now(), cut=CUT, spare=SPARE)))
    elif not as_json:
        narrowed = any(value is not None for value in filters.values())
        click.echo("there are no dead letters" + (" of these" if narrowed else ""), err=True)


def _row(letter: Mapping[str, Any]) -> tuple[str, ...]:
    errors = letter["errors"]
    return (
        letter["died_at"][:19].replace("T", " "),
        letter["task_id"],
        letter["agent_name"] or NONE,
        letter["user_id"],
        str(letter["attempts"]),
        letter["reason"],
        errors[-1]["error_code"] if errors else NONE,
        letter.get("retried_as", NONE),
    )
