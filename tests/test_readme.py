"""The session in README.md runs, and the replies that stand there are the real ones."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()
BIN = Path(sys.executable).parent
LINE_S = 20


def blocks(language: str) -> list[str]:
    """The README's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def session(block: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block with the lines that stand below it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *lines = part.rstrip("\n").split("\n")
        yield command, lines


def expected(line: str) -> re.Pattern[str]:
    """A line of the README as a pattern: "…" stands for anything."""
    words = " ".join(line.split())
    return re.compile(re.escape(words).replace("…", ".*"))


async def start(command: str, folder: Path) -> asyncio.subprocess.Process:
    """Run a command as a shell would, with our environment's programs; curl need not be there."""
    if command.startswith("curl "):
        *_, url, _, body = shlex.split(command)
        kind = {"content-type": "application/json"}  # `--json` says so
        sent = f"Request({url!r}, {body.encode()!r}, {kind!r})"
        names = "from urllib.request import Request, urlopen"
        program = f"{names}; print(urlopen({sent}).read().decode())"
        command = shlex.join([sys.executable, "-c", program])
    return await asyncio.create_subprocess_shell(
        f"exec {command}",
        cwd=folder,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "500"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def next_line(process: asyncio.subprocess.Process) -> str:
    """The next line that a process says, white space folded."""
    assert process.stdout is not None
    async with asyncio.timeout(LINE_S):
        return " ".join((await process.stdout.readline()).decode().split())


async def end(process: asyncio.subprocess.Process) -> None:
    """Press Ctrl-C."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    async with asyncio.timeout(LINE_S):
        await process.communicate()


async def leave(process: asyncio.subprocess.Process) -> None:
    """Press Ctrl-D: a thread that reads the keyboard can hold up a Python that ends by a signal."""
    assert process.stdin is not None
    process.stdin.close()
    async with asyncio.timeout(LINE_S):
        await process.communicate()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_the_session_of_the_readme_gives_the_replies_of_the_readme(
    tmp_path: Path, free_port: int
) -> None:
    agents = next(block for block in blocks("python") if block.startswith("# my_agents.py"))
    (tmp_path / "my_agents.py").write_text(agents)
    shell, websocket = (block for block in blocks("console") if "$ " in block)
    serving = None
    try:
        for command, lines in session(shell):
            asked = command.replace(":8000", f":{free_port}")
            asked = asked.replace(
                "serve my_agents:gateway &", f"serve my_agents:gateway --port {free_port}"
            )
            asked = asked.replace(
                "gateway tail", f"gateway tail --url ws://127.0.0.1:{free_port}/ws"
            )
            process = await start(asked, tmp_path)
            if command.endswith("&"):
                serving = process
            for line in lines:
                wanted = expected(line.replace(":8000", f":{free_port}"))
                said = await next_line(process)
                while serving is process and not said.startswith("ready"):
                    said = await next_line(process)
                assert wanted.fullmatch(said), f"$ {command}\nexpected {line}\ngot      {said}"
            if not command.endswith("&"):
                await end(process)
        (command, lines), *_ = session(websocket)
        process = await start(command.replace(":8000", f":{free_port}"), tmp_path)
        assert process.stdin is not None
        for line in lines:
            if line.startswith("> "):
                process.stdin.write(line[2:].encode() + b"\n")
                await process.stdin.drain()
                continue
            wanted = re.compile(".*" + expected(line).pattern)
            said = await next_line(process)
            while "{" not in said or said.startswith(">"):
                said = await next_line(process)
            assert wanted.fullmatch(said), f"expected {line}\ngot      {said}"
        await leave(process)
    finally:
        if serving is not None:
            await end(serving)


def test_the_readme_begins_with_a_sentence_two_commands_and_a_picture() -> None:
    sentence, commands, picture = (
        README.index("When an AI agent fails"),
        README.index("make demo"),
        README.index("!["),
    )
    assert sentence < commands < picture < README.index("## A session")
