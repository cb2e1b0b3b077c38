"""The commands of those who look after a gateway: ``status``, ``dead-letters``, ``run``."""

from __future__ import annotations

import asyncio
import sys

import click

from gateway.app.command_group import Commands
from gateway.app.flags import connection_flags
from gateway.app.logs import log_to_stderr
from gateway.app.process import run

__all__ = ["OPERATOR_COMMANDS"]


class _NotReached(click.ClickException):
    """There is no gateway, or it does not let one in."""

    exit_code = 3


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@connection_flags
def status_command(as_json: bool, url: str, token: str | None) -> None:
    """Show on one screen whether all is well, and what needs a person (operators only).

    Ends with 0 when all is well; 1 when something is degraded or needs a person: a breaker that is
    not closed, a domain that is slowed, a task that nobody serves, a dead letter of the last hour;
    2 after a mistake in the command; 3 when there is no gateway, or it does not let you in.
    """
    from gateway.app.reaching import NotReached
    from gateway.app.status import show

    try:
        code = asyncio.run(show(url, token, as_json=as_json))
    except NotReached as error:
        raise _NotReached(str(error)) from error
    sys.exit(code)


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, metavar="-- COMMAND [ARGUMENT]...")
@click.option("--name", help="What the job is called.  [default: the command's file name]")
@click.option("--user", "user_id", default="local", show_default=True, help="Whom it concerns.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, 86_400 * 7, min_open=True),
    help="Seconds after which it is ended, with all that it has started.  [default: none]",
)
@connection_flags
def run_command(
    command: tuple[str, ...],
    name: str | None,
    user_id: str,
    timeout: float | None,
    url: str,
    token: str | None,
) -> None:
    """Run a command, for cron, and report to its user and to operators if it fails.

    \b
    gateway run --name nightly-import --user 42 --timeout 3600 -- ./import.sh

    Its output and its exit code are its own, signals reach it. Anything but 0 is reported with the
    exit code, how long it ran, and the last 20 lines of its stderr; the next success of that name
    and user ends it. A gateway that is away is a line on stderr and changes nothing else. At its
    limit it ends with 124; 126 and 127 say that it could not be started. The token needs the scope
    `agent`.
    """
    from gateway.app.job import name_of, run_job

    log_to_stderr("warning")
    sys.exit(
        run_job(
            command,
            name=name or name_of(command),
            user_id=user_id,
            url=url,
            token=token,
            timeout_s=timeout,
        )
    )


@click.group("dead-letters", cls=Commands)
def dead_letters_group() -> None:
    """List, retry or discard tasks that were given up (operators only).

    A task is given up after its last attempt, or when no worker takes it. It is kept for seven
    days, with its input and the error of every attempt.
    """


@dead_letters_group.command("list")
@click.option("--agent", metavar="NAME", help="Only those of this agent.")
@click.option("--reason", help="Only those given up for this: no_worker, attempts_exhausted, ...")
@click.option("--user", "user_id", metavar="ID", help="Only those of this user.")
@click.option("--limit", type=click.IntRange(1), help="At most so many.  [default: all]")
@click.option("--json", "as_json", is_flag=True, help="One a line, whole, as JSON.")
@connection_flags
def dead_letters_list(
    limit: int | None, as_json: bool, url: str, token: str | None, **filters: str | None
) -> None:
    """Show what was given up, newest first."""
    from gateway.app.dead_letters import show

    run(show(url, token, filters=filters, limit=limit, as_json=as_json))


def _act_on_dead_letters(action: str, summary: str) -> None:
    @dead_letters_group.command(action, help=summary)
    @click.argument("ids", nargs=-1, required=True, metavar="ID...")
    @click.option("--json", "as_json", is_flag=True, help="One answer a line, as JSON.")
    @connection_flags
    def command(ids: tuple[str, ...], as_json: bool, url: str, token: str | None) -> None:
        from gateway.app.dead_letters import act

        run(act(url, token, action, ids, as_json=as_json))


_act_on_dead_letters("retry", "Make a new task of each; a letter is retried once.")
_act_on_dead_letters("discard", "Let go of each, for good.")


OPERATOR_COMMANDS: tuple[click.Command, ...] = (status_command, dead_letters_group, run_command)
