"""What the commands do to several things at once: each is done, and each refusal is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click
import orjson

from gateway.app.reaching import Reached
from gateway.client.errors import CallFailed
from gateway.domain.errors import GatewayError

__all__ = ["act"]

# What has become of one, by operation; the parameter that names it.
DONE: Mapping[str, tuple[str, str]] = {
    "dead_letter.retry": ("retried", "task_id"),
    "dead_letter.discard": ("discarded", "task_id"),
    "task.cancel": ("cancelled", "task_id"),
    "task.retry": ("retried", "task_id"),
    "breaker.open": ("opened", "name"),
    "breaker.close": ("closed", "name"),
}


async def act(
    url: str,
    token: str | None,
    operation: str,
    names: Sequence[str],
    *,
    as_json: bool,
) -> None:
    """
    Carry out an operation on each, and print what became of it.

    Args:
        operation: One of ``DONE``.
        names: Ids of tasks, or names of breakers.
        as_json: One answer a line, as JSON; otherwise a sentence for people.

    Raises:
        ConfigurationError: If ``url`` cannot be read.
        GatewayError: If the gateway does not answer, or refused any; the others are done.
    """
    gateway = Reached(url, token)
    done, parameter = DONE[operation]
    refused = 0
    for name in names:
        try:
            answer = await gateway.call(operation, {parameter: name})
        except CallFailed as error:
            refused += 1
            click.echo(f"{name}: {error.message}", err=True)
            continue
        if as_json:
            click.echo(orjson.dumps(answer))
            continue
        made = answer["task_id"] if operation.endswith(".retry") else name
        click.echo(f"{name} {done}" + (f" as {made}" if made != name else ""))
        if answer.get("warning") == "no_worker":
            click.echo(f"{made}: no worker takes it now; start one", err=True)
    if refused:
        raise GatewayError(f"{refused} of {len(names)} not {done}")
