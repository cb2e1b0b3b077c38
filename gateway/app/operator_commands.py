"""The commands of those who look after a gateway, and of their jobs."""

from __future__ import annotations

import asyncio
import sys

import click

from gateway.app.command_group import Commands
from gateway.app.flags import connection_flags
from gateway.app.logs import log_to_stderr
from gateway.app.process import run, until_signal
from gateway.protocol.mode_operations import MODES
from gateway.protocol.shapes import TASK_STATUSES

__all__ = ["OPERATOR_COMMANDS"]


class _NotReached(click.ClickException):
    """There is no gateway, or it does not let one in."""

    exit_code = 3


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option(
    "--watch",
    "every",
    type=click.FloatRange(0.5, 3600),
    is_flag=False,
    flag_value=2.0,
    metavar="[SECONDS]",
    help="Draw it again every so many seconds, 2 unless given, until Ctrl-C.",
)
@connection_flags
def status_command(as_json: bool, every: float | None, url: str, token: str | None) -> None:
    """Show whether all is well, and what is not.

    For operators. Ends with 0 when all is well; 1 when something is degraded or needs a person: a
    breaker that is not closed, a domain that is slowed, a task that nobody serves, a dead letter of
    the last hour; 2 after a mistake in the command; 3 when there is no gateway, or it does not let
    you in. With --watch Ctrl-C ends it with 0.
    """
    from gateway.app.clock import SystemClock
    from gateway.app.reaching import NotReached
    from gateway.app.status import show
    from gateway.app.watching import watch

    code = 0
    try:
        if every is None:
            code = asyncio.run(show(url, token, as_json=as_json))
        else:
            _check_watched(as_json=as_json)
            run(until_signal(watch(url, token, every_s=every, clock=SystemClock())))
    except NotReached as error:
        raise _NotReached(str(error)) from error
    sys.exit(code)


def _check_watched(*, as_json: bool) -> None:
    if as_json:
        raise click.UsageError("--watch draws for people; ask again with --json alone")
    if not sys.stdout.isatty():
        raise click.UsageError("--watch needs a terminal; into a pipe leave it out")


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, metavar="-- COMMAND [ARGUMENT]...")
@click.option("--name", help="What the job is called.  [default: the command's file name]")
@click.option("--user", "user_id", default="local", show_default=True, help="Whom it concerns.")
@click.option(
    "--user-message",
    help="What that user is told when it fails, at most 500 characters.  "
    "[default: the gateway's own sentence]",
)
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
    user_message: str | None,
    timeout: float | None,
    url: str,
    token: str | None,
) -> None:
    """Run a command, for cron, and report its failure.

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
            user_message=user_message,
            url=url,
            token=token,
            timeout_s=timeout,
        )
    )


@click.group("dead-letters", cls=Commands)
def dead_letters_group() -> None:
    """List, retry or discard tasks given up.

    For operators. A task is given up after its last attempt, or when no worker takes it. It is kept
    for seven days, with its input and the error of every attempt.
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


def _acts(group: click.Group, operation: str, action: str, what: str, summary: str) -> None:
    """Declare a command of a group that does something to each of what it is given."""

    @group.command(action, help=summary)
    @click.argument("names", nargs=-1, required=True, metavar=f"{what}...")
    @click.option("--json", "as_json", is_flag=True, help="One answer a line, as JSON.")
    @connection_flags
    def command(names: tuple[str, ...], as_json: bool, url: str, token: str | None) -> None:
        from gateway.app.acts import act

        run(act(url, token, operation, names, as_json=as_json))


_acts(
    dead_letters_group,
    *("dead_letter.retry", "retry", "ID"),
    "Make a new task of each; a letter is retried once.",
)
_acts(dead_letters_group, "dead_letter.discard", "discard", "ID", "Let go of each, for good.")


@click.group("tasks", cls=Commands)
def tasks_group() -> None:
    """List, show, cancel or retry tasks.

    A user's token has those of that user, an operator's all.
    """


@tasks_group.command("list")
@click.option("--agent", metavar="NAME", help="Only those of this agent.")
@click.option("--user", "user_id", metavar="ID", help="Only those of this user.")
@click.option("--status", type=click.Choice(TASK_STATUSES), help="Only those in this status.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="At most so many, the newest.",
)
@click.option("--json", "as_json", is_flag=True, help="One a line, as JSON.")
@connection_flags
def tasks_list(
    limit: int, as_json: bool, url: str, token: str | None, **filters: str | None
) -> None:
    """Show tasks, newest first."""
    from gateway.app.tasks import show

    run(show(url, token, filters=filters, limit=limit, as_json=as_json))


@tasks_group.command("get")
@click.argument("task_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Whole, as JSON.")
@connection_flags
def tasks_get(task_id: str, as_json: bool, url: str, token: str | None) -> None:
    """Show one task with its attempts."""
    from gateway.app.tasks import show_one

    run(show_one(url, token, task_id, as_json=as_json))


_acts(tasks_group, "task.cancel", "cancel", "ID", "End each now; what it has done is kept.")
_acts(
    tasks_group,
    *("task.retry", "retry", "ID"),
    "Try each now; one that has ended as a new task.",
)


@click.group("breakers", cls=Commands)
def breakers_group() -> None:
    """List, open or close circuit breakers.

    For operators. Failure domains are listed after them: open, they are slowed down.
    """


@breakers_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="One a line, as JSON.")
@connection_flags
def breakers_list(as_json: bool, url: str, token: str | None) -> None:
    """Show what each has counted."""
    from gateway.app.breakers import show

    run(show(url, token, as_json=as_json))


_acts(
    breakers_group,
    *("breaker.open", "open", "NAME"),
    "Open each: no calls for a cooldown, then probes; a failure domain is slowed down.",
)
_acts(breakers_group, "breaker.close", "close", "NAME", "Close each: calls go on at once.")


@click.group("mode", cls=Commands)
def mode_group() -> None:
    """Show or set what the gateway takes on."""


@mode_group.command("get")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@connection_flags
def mode_get(as_json: bool, url: str, token: str | None) -> None:
    """Show the mode, and why it is so."""
    from gateway.app.mode import show

    run(show(url, token, wanted=None, as_json=as_json))


@mode_group.command("set")
@click.argument("mode", type=click.Choice(MODES))
@click.option("--note", metavar="TEXT", help="Why, for other operators.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@connection_flags
def mode_set(mode: str, note: str | None, as_json: bool, url: str, token: str | None) -> None:
    """Set the mode (operators only); it stays until an operator sets another."""
    from gateway.app.mode import show

    run(show(url, token, wanted=mode, note=note, as_json=as_json))


OPERATOR_COMMANDS: tuple[click.Command, ...] = (
    status_command,
    tasks_group,
    dead_letters_group,
    breakers_group,
    mode_group,
    run_command,
)
