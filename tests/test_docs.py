"""The documentation: its site is built, its programs run, its commands and reference are right."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from gateway.app.cli import main
from tests.reference import FOLDER, PAGES

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
LINE_S = 30.0


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL
    )


def commands() -> list[tuple[str, str]]:
    """Each ``gateway …`` that stands in a block of commands, with its page."""
    return [
        (page.name, line.removeprefix("$ ").split("#")[0].split(" > ")[0].strip(" &"))
        for page in [*DOCS, ROOT / "README.md"]
        for block in blocks(page, "console")
        for line in block.replace("\\\n", " ").splitlines()
        if line.removeprefix("$ ").startswith("gateway ")
    ]


@pytest.mark.parametrize("name", PAGES)
def test_the_reference_says_what_the_code_says(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name](), "run `make reference`"


def test_the_site_is_built_and_every_page_is_in_its_index(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "index.html").exists()
    named = (ROOT / "mkdocs.yml").read_text()
    assert [page.name for page in DOCS if f"{page.name}\n" not in named] == []


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_its_python_compiles(page: Path) -> None:
    for number, block in enumerate(blocks(page, "python")):
        compile(block, f"{page.name}, block {number + 1}", "exec", flags=0x2000)  # await anywhere


@pytest.mark.parametrize(("page", "command"), commands())
def test_its_commands_have_the_options_that_they_are_given(page: str, command: str) -> None:
    # What stands behind "--" is another's command.
    words = shlex.split(command.partition(" -- ")[0])[1:]
    found: click.Command = main
    while isinstance(found, click.Group):
        found = found.commands[words.pop(0)]
    known = {name for param in found.params for name in param.opts}
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert given <= known


async def test_the_first_page_works_as_it_stands(tmp_path: Path) -> None:
    """The agent, the gateway that serves it, and the program that asks it."""
    agent, program, *_ = blocks(ROOT / "docs" / "start.md", "python")
    (tmp_path / "my_agents.py").write_text(agent)
    serving = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "serve", "my_agents:gateway", "--port", "0"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert serving.stdout is not None
        async with asyncio.timeout(LINE_S):
            url = (await serving.stdout.readline()).decode().split()[1]
            asking = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", program.replace("http://127.0.0.1:8000", url)),
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
            )
            said, _ = await asking.communicate()
        assert said.decode().strip() in ("pending", "running", "succeeded")
        assert asking.returncode == 0
    finally:
        serving.terminate()
        await serving.wait()
