"""``gateway run``: the command is as it would be without it, and how it failed is told."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from gateway.app.job import LINES_MAX, name_of
from tests.app.terminal import on_a_terminal, piped
from tests.transports.world import World, until, world


async def details(here: World) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each failure that was told, with its detail."""
    entries = await here.engine.log.read(after=0, topics=None, limit=99)
    events = [orjson.loads(entry.operator) for entry in entries]
    return [(event, event["detail"]) for event in events if event["type"] == "agent_error"]


def arguments(here: World, *command: str, name: str = "nightly") -> list[str]:
    return ["run", "--name", name, "--user", "42", "--url", here.http, "--", *command]


@pytest.mark.parametrize(
    ("command", "name"),
    [(["/usr/bin/my import.sh", "x"], "my-import.sh"), (["ls"], "ls"), (["/"], "job")],
)
def test_a_job_is_named_after_its_command(command: list[str], name: str) -> None:
    assert name_of(command) == name


async def test_output_and_exit_code_are_the_commands_own_and_its_last_lines_are_told() -> None:
    script = "echo out; for i in $(seq 30); do echo line $i >&2; done; printf 'no end' >&2; exit 3"
    async with world() as here:
        code, out, err = await piped(arguments(here, "sh", "-c", script))
        ((event, detail),) = await details(here)
        lines = [f"line {number}" for number in range(1, 31)] + ["no end"]
        assert (code, out, err.splitlines()) == (3, "out\n", lines)
        assert detail["stderr"].splitlines() == lines[-LINES_MAX:]
        assert (detail["exit_code"], event["user_id"], event["agent_name"]) == (3, "42", "nightly")
        assert detail["runtime"] >= 0
        # A success is told when there is something that it ends.
        assert (await piped(arguments(here, "true")))[0] == 0
        assert list(here.engine.parts.state.failures) == []
        assert here.engine.log.head == 2


@pytest.mark.parametrize(("command", "code"), [("false", 1), ("/none/such", 127)])
async def test_its_user_is_told_what_its_owner_wrote(command: str, code: int) -> None:
    async with world() as here:
        said = arguments(here, command)
        said[1:1] = ["--user-message", "Your figures will be those of yesterday."]
        assert (await piped(said))[0] == code
        ((event, _),) = await details(here)
    assert event["user_message"] == "Your figures will be those of yesterday."


async def test_one_that_is_not_there_ends_as_a_shell_would() -> None:
    async with world() as here:
        code, _, err = await piped(arguments(here, "/none/such"))
        ((_, detail),) = await details(here)
    assert (code, detail["exit_code"]) == (127, 127)
    assert err == "gateway run: /none/such: No such file or directory\n"


async def test_without_a_gateway_the_job_is_as_without_us() -> None:
    code, out, err = await piped(
        ["run", "--url", "http://127.0.0.1:9", "sh", "-c", "echo -n out; exit 5"]
    )
    assert (code, out) == (5, "out")
    assert err.count("\n") == 1
    assert "the failure of sh could not be reported: http://127.0.0.1:9" in err


async def test_at_its_limit_it_is_ended_with_all_that_it_has_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sleep 300 & echo $! $$ > {pids}; wait"
    async with world() as here:
        before = arguments(here, "sh", "-c", script)
        before[1:1] = ["--timeout", "0.5"]
        code, _, _ = await piped(["-c", RUN_SOON, *before], module=False)
        ((event, _),) = await details(here)
    assert code == 124
    assert (event["error_type"], event["error_code"]) == ("timeout", "task_timeout")
    left = [int(pid) for pid in pids.read_text().split() if psutil.pid_exists(int(pid))]
    assert [pid for pid in left if psutil.Process(pid).status() != "zombie"] == []


# The bound on how long it may take to stop, by its name; ten seconds are too long for a test.
RUN_SOON = (
    "import sys, gateway.app.job as job; job.GRACE_S = 0.3; "
    "from gateway.app.cli import main; main(sys.argv[1:])"
)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_signals_reach_the_command(sign: signal.Signals, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"trap 'exit 9' TERM INT; touch {ready}; while :; do sleep 0.05; done"
    async with world() as here:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", *arguments(here, "sh", "-c", script)),
            stdin=asyncio.subprocess.DEVNULL,
        )
        await until(ready.exists)
        process.send_signal(sign)
        assert await process.wait() == 9


async def test_a_signal_that_ends_it_is_an_exit_code_as_in_a_shell() -> None:
    async with world() as here:
        code, _, _ = await piped(arguments(here, "sh", "-c", "kill -KILL $$"))
        ((_, detail),) = await details(here)
    assert (code, detail["signal"]) == (128 + signal.SIGKILL, "SIGKILL")


async def test_on_a_terminal_the_command_has_it() -> None:
    """It may read from it, and what the command writes to stdout may have colours."""
    async with world() as here:
        code, said = await on_a_terminal(
            arguments(here, "sh", "-c", "test -t 0 && test -t 1 && echo yes >&2; exit 4")
        )
    assert (code, said.strip()) == (4, "yes")
