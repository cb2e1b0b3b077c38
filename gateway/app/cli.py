"""
The command line: ``gateway serve | work | demo | tail | status | … | check | token``.

Each command imports what it needs when it runs: `gateway tail` does not wait for the import of a
web server, and the keeper of a worker stays small (decision 9).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from gateway.app.command_group import Commands
from gateway.app.flags import address_flags, connection_flags, settings_flags
from gateway.app.logs import log_to_stderr
from gateway.app.operator_commands import OPERATOR_COMMANDS
from gateway.app.process import run, say_ends, say_ready, until_signal
from gateway.app.settings import file_of, read_settings
from gateway.domain.access import SCOPES
from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import ConfigurationError

__all__ = ["main"]

logger = logger_of(__name__)

# So many worker processes of its own a gateway may be asked to have.
PROCESSES_MAX = 256


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="agent-failure-gateway", prog_name="gateway")
def main() -> None:
    """When an agent fails, everyone who depends on it knows: at once, in order, even if away.

    \b
    gateway demo                       a gateway, agents that really fail, a page to watch
    gateway serve my_agents:gateway    serve your agents
    gateway work my_agents:gateway     run them in a process of their own
    gateway tail                       follow what happens
    gateway status                     is all well, and what is not
    """


@main.command("serve")
@click.argument("target", required=False, metavar="[MODULE:GATEWAY]")
@address_flags
@click.option(
    "--store",
    help="Where the log is kept: memory, or nats://host:4222[,...] for NATS JetStream: durable, "
    "and shared by any number of gateways.  [GATEWAY_STORE; default: memory]",
)
@click.option(
    "--log-level",
    default="info",
    show_default=True,
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="What is logged to stderr.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, PROCESSES_MAX),
    metavar="N",
    help="Run the agents in N worker processes on this machine, not in the gateway's own: what "
    "blocks, leaks or crashes there does not touch the gateway.",
)
@settings_flags
def serve_command(
    target: str | None,
    host: str,
    port: int,
    log_level: str,
    processes: int | None,
    **flags: str | None,
) -> None:
    """Serve a gateway until SIGTERM or Ctrl-C.

    MODULE:GATEWAY names a Gateway in a module, with its agents; without it the gateway serves
    agents that report from elsewhere. Prints one line, `ready http://HOST:PORT`, once it serves.
    Every setting below may be given as a flag or as an environment variable; flags win.
    """
    from gateway.app.gateway import Gateway
    from gateway.app.load import load
    from gateway.app.serve import require_secret, serve, warning_for

    settings = read_settings(os.environ, flags)
    log_to_stderr(log_level, settings.log_format)
    say_ends()
    gateway = load(target) if target is not None else Gateway()
    gateway.configure(settings)
    require_secret(gateway, host)
    if (warning := warning_for(gateway.settings, host)) is not None:
        logger.warning(warning)
    beside = None
    if processes is not None:
        from gateway.app.processes import processes_for

        beside = processes_for(gateway.settings, target, processes, log_level=log_level)
    run(serve(gateway, host=host, port=port, ready=say_ready, processes=beside))


@main.command("work")
@click.argument("target", metavar="MODULE:GATEWAY")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1024),
    help="Tasks worked on at once.  [GATEWAY_WORKERS; default: 16]",
)
@click.option("--domain", help="Failure domain: a zone, a provider. One that fails is slowed down.")
@click.option("--handle", help="What workers of this kind are called.  [default: MODULE]")
@click.option(
    "--grace",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0, 86400),
    help="Seconds that running tasks get when it is told to stop.",
)
@click.option(
    "--log-level",
    default="info",
    show_default=True,
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="What is logged to stderr.",
)
@click.option(
    "--log-format",
    default="text",
    show_default=True,
    envvar="GATEWAY_LOG_FORMAT",
    type=click.Choice(["text", "json"]),
    help="Lines for people, or a JSON object a line.",
)
@click.option("--kept", type=int, hidden=True, help="Socket to the process that started this one.")
@click.option("--parent", type=int, hidden=True, help="The process without which it ends.")
@connection_flags
def work_command(
    target: str,
    concurrency: int | None,
    domain: str | None,
    handle: str | None,
    grace: float,
    log_level: str,
    log_format: str,
    kept: int | None,
    parent: int | None,
    url: str,
    token: str | None,
) -> None:
    """Do tasks for a gateway elsewhere, with the agents of MODULE:GATEWAY, until SIGTERM or Ctrl-C.

    Prints one line, `ready AGENT_ID`, once the gateway has accepted it, and keeps trying while
    there is none. The agents run in a process of their own: when it dies, what it held is
    reported at once and another process takes its place.
    """
    log_to_stderr(log_level, log_format)
    say_ends()
    logged = ("--log-level", log_level, "--log-format", log_format)
    options = {"concurrency": concurrency, "domain": domain, "handle": handle}
    from gateway.app.working import keep, work

    if kept is None:
        keep(target, options, grace_s=grace, logged=logged, url=url, token=token, parent=parent)
    else:
        work(target, options, grace_s=grace, url=url, line_fd=kept)


@main.command("demo")
@address_flags
@click.option(
    "--pace",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.1, 10),
    help="How many times as fast; 1 is for a person who watches.",
)
def demo_command(host: str, port: int, pace: float) -> None:
    """Show what it is about: agents on a model upstream that really fails, and a page.

    Needs the extra `demo` (the openai SDK).
    """
    log_to_stderr("warning")
    say_ends()
    # Its agents fail on purpose, and the page shows it.
    failures = logger_of("gateway.events")
    try:
        from gateway.app.demo.serving import serve_demo
    except ModuleNotFoundError as error:
        if error.name != "openai":
            raise
        raise ConfigurationError(
            "the demo needs the openai SDK: pip install 'agent-failure-gateway[demo]'"
        ) from error
    failures.disabled = True
    try:
        run(serve_demo(host=host, port=port, pace=pace, say=click.echo))
    finally:
        failures.disabled = False


@main.command("tail")
@click.argument("topics", nargs=-1, metavar="[TOPIC]...")
@click.option(
    "--since",
    metavar="start|EPOCH:OFFSET",
    help="Replay from here first; without it only what happens from now on.",
)
@click.option("--json", "as_json", is_flag=True, help="One event a line, as JSON.")
@click.option(
    "--detail",
    "with_detail",
    is_flag=True,
    help="Beneath a failure what operators alone see: exception, causes, stack; without secrets.",
)
@click.option("--user", "user_id", help="Whom to be on an open gateway; without it an operator.")
@connection_flags
def tail_command(
    topics: tuple[str, ...],
    since: str | None,
    as_json: bool,
    with_detail: bool,
    user_id: str | None,
    url: str,
    token: str | None,
) -> None:
    """Follow events; comes back by itself and misses nothing.

    \b
    TOPIC is user:ID, task:ID, agent:NAME, channel:NAME, recipient:ID, system,
    or * for everything (operators only). The default is everything for operators,
    and for others what is their own.
    """
    from gateway.app.tail import tail

    work = tail(
        topics,
        since=since,
        as_json=as_json,
        url=url,
        token=token,
        user_id=user_id,
        with_detail=with_detail,
    )
    run(until_signal(work))


for _command in OPERATOR_COMMANDS:
    main.add_command(_command)


@main.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--complete", is_flag=True, help="The recording is over: what is still open is an error."
)
def check_command(files: tuple[Path, ...], complete: bool) -> None:
    """Check recorded events, one JSON object a line, against schemas and the rules over time.

    Exits with 1 and says what is wrong, and where. `-` reads from stdin.
    """
    from gateway.app.check import check_lines

    good = True
    for path in files:
        try:
            with click.open_file(str(path), "rb") as lines:
                report = check_lines(lines, complete=complete)
        except OSError as error:
            raise click.ClickException(f"{path}: {error.strerror}") from error
        for finding in report.findings:
            at = "" if finding.offset is None else f" (offset {finding.offset})"
            click.echo(f"{path}:{finding.position}{at}: {finding.rule}: {finding.message}")
        if report.findings_left_out:
            click.echo(f"{path}: and {report.findings_left_out} more")
        verdict = "complies" if report.ok else "does not comply"
        click.echo(f"{path}: {report.events} events, {verdict}", err=not report.ok)
        good = good and report.ok
    if not good:
        sys.exit(1)


@main.command("token")
@click.option("--user", required=True, help="User id, the token's sub.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(list(SCOPES)),
    help="What it may do; may be given several times.  [default: events:read, tasks:write]",
)
@click.option(
    "--expires",
    "--ttl",
    "expires",
    default="1h",
    show_default=True,
    metavar="TIME",
    help="When it expires, from now: seconds, or a number with s, m, h or d.",
)
@click.option("--agents", multiple=True, metavar="NAMES", help="The only agents that it may serve.")
@click.option(
    "--channels", multiple=True, metavar="NAMES", help="The only channels that it may use."
)
@click.option("--audience", help="Its aud.  [GATEWAY_TOKEN_AUDIENCE]")
@click.option("--issuer", help="Its iss.  [GATEWAY_TOKEN_ISSUER]")
@click.option(
    "--token-secret-file",
    metavar="FILE",
    help="File that holds the secret to sign with.  [GATEWAY_TOKEN_SECRET_FILE]",
)
def token_command(
    user: str,
    scopes: tuple[str, ...],
    expires: str,
    agents: tuple[str, ...],
    channels: tuple[str, ...],
    audience: str | None,
    issuer: str | None,
    token_secret_file: str | None,
) -> None:
    """Make a token, signed with GATEWAY_TOKEN_SECRET, that a gateway of these settings takes.

    \b
    events:read      own events, tasks and notifications
    events:read:all  everybody's
    events:write     send notifications
    tasks:write      create, cancel and retry own tasks
    tasks:critical   give tasks priority 0
    agent            register workers, claim tasks, report
    admin            everything

    Names of agents and channels are separated by commas; a token without any is not narrowed.
    The claims that GATEWAY_TOKEN_USER_CLAIM and GATEWAY_TOKEN_SCOPE_CLAIM name hold user and scope.
    """
    from gateway.app.clock import SystemClock
    from gateway.app.tokens import signed

    overrides = {
        "token_audience": audience,
        "token_issuer": issuer,
        file_of("token_secret"): token_secret_file,
    }
    token = signed(
        read_settings(os.environ, overrides),
        user=user,
        scopes=scopes,
        expires=expires,
        agents=agents,
        channels=channels,
        clock=SystemClock(),
    )
    click.echo(token)
