"""``gateway dead-letters``: shows what was given up, and has it retried or discarded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import click
import orjson

from gateway.client.errors import CallFailed, Disconnected
from gateway.client.http_calls import HttpCalls
from gateway.domain.errors import ConfigurationError, GatewayError

__all__ = ["act", "lines_of", "show"]

# As many as a page may have; the gateway ends a page earlier when its letters are large.
PAGE = 500
# How long the gateway may take for one answer, in seconds.
ANSWER_WAIT_S = 30.0
# Codes after which the next call would be refused, too.
FOR_ALL = ("unauthenticated", "not_permitted")

DONE = {"retry": "retried", "discard": "discarded"}
HEADINGS = ("DIED", "TASK", "AGENT", "USER", "TRIES", "REASON", "LAST ERROR", "RETRIED AS")
# What a row shows of something that is not there.
NONE = "-"


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
    gateway = _Gateway(url, token)
    asked: dict[str, Any] = {name: value for name, value in filters.items() if value is not None}
    rows: list[tuple[str, ...]] = []
    left = limit
    while left is None or left > 0:
        page = await gateway.call(
            "dead_letter.list", {**asked, "limit": PAGE if left is None else min(PAGE, left)}
        )
        if as_json:
            for letter in page["items"]:
                click.echo(orjson.dumps(letter))
        else:
            rows += map(_row, page["items"])
        if page["next"] is None:
            break
        asked["cursor"] = page["next"]
        left = None if left is None else left - len(page["items"])
    if rows:
        click.echo("\n".join(lines_of(rows)))
    elif not as_json:
        click.echo("there are no dead letters" + (" of these" if len(asked) else ""), err=True)


async def act(
    url: str, token: str | None, action: str, ids: Sequence[str], *, as_json: bool
) -> None:
    """
    Have each letter retried or discarded, and print what became of it.

    Args:
        action: ``retry`` or ``discard``.
        ids: Tasks that were given up.
        as_json: One answer a line, as JSON; otherwise a sentence for people.

    Raises:
        ConfigurationError: If ``url`` cannot be read.
        GatewayError: If the gateway does not answer, or refused any; the others are done.
    """
    gateway = _Gateway(url, token)
    refused, retries = 0, action == "retry"
    for id in ids:
        try:
            answer = await gateway.call(f"dead_letter.{action}", {"task_id": id})
        except CallFailed as error:
            refused += 1
            click.echo(f"{id}: {error.message}", err=True)
            continue
        if as_json:
            click.echo(orjson.dumps(answer))
        else:
            click.echo(f"{id} {DONE[action]}" + (f" as {answer['task_id']}" if retries else ""))
            if answer.get("warning") == "no_worker":
                click.echo(f"{answer['task_id']}: no worker takes it now; start one", err=True)
    if refused:
        raise GatewayError(f"{refused} of {len(ids)} not {DONE[action]}")


class _Gateway:
    """Calls over HTTP, whose failures say what to do."""

    def __init__(self, url: str, token: str | None) -> None:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("ws", "wss", "http", "https") and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            good = False
        if not good:
            raise ConfigurationError(
                f"--url has to be ws://HOST:PORT/ws or http://HOST:PORT, it is {url!r}"
            )
        self._url = url
        self._calls = HttpCalls(url, token=token)

    async def call(self, name: str, params: Mapping[str, Any]) -> Any:
        try:
            return await self._calls.call(name, params, timeout=ANSWER_WAIT_S)
        except Disconnected as error:
            raise GatewayError(f"{self._url}: {error}; --url names another gateway") from error
        except CallFailed as error:
            if error.code not in FOR_ALL:
                raise
            raise GatewayError(
                f"{self._url}: {error.message}; give an operator's token with --token or "
                "GATEWAY_TOKEN (`gateway token --scope admin` makes one)"
            ) from error


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


def lines_of(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Draw rows as a table, a line each, under its headings."""
    table = [HEADINGS, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
