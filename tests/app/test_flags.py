"""Flags that commands share: a connection's address and token, and what is said of secrets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from gateway.app.flags import DEFAULT_URL, connection_flags, settings_flags
from gateway.app.settings import read_settings

SEEN: dict[str, Any] = {}


@click.command()
@connection_flags
def connect(url: str, token: str | None) -> None:
    SEEN.update(url=url, token=token)


@click.command()
@settings_flags
@click.option("--store")
def serve(**flags: str | None) -> None:
    SEEN.update(secret=read_settings(os.environ, flags).token_secret)


def call(command: click.Command, *arguments: str, **environment: str) -> Result:
    SEEN.clear()
    clean = {name: None for name in os.environ if name.startswith("GATEWAY_")}
    said = CliRunner().invoke(command, list(arguments), env={**clean, **environment})
    assert said.exception is None, said.output
    return said


def test_without_flags_the_address_is_this_machine_and_there_is_no_token() -> None:
    assert call(connect).stderr == ""
    assert SEEN == {"url": DEFAULT_URL, "token": None}


def test_a_token_comes_from_a_flag_a_file_or_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("of-a-file\n")
    named = {"GATEWAY_TOKEN_FILE": str(path)}
    for arguments, environment, token in (
        (["--token", "of-a-flag"], {"GATEWAY_TOKEN": "known", **named}, "of-a-flag"),
        (["--token-file", str(path)], {"GATEWAY_TOKEN": "known"}, "of-a-file"),
        (["--token-file", str(path), "--token", "of-a-flag"], {}, "of-a-flag"),
        ([], {"GATEWAY_TOKEN": "known", **named}, "known"),
        ([], named, "of-a-file"),
        ([], {"GATEWAY_TOKEN": "", **named}, "of-a-file"),
        ([], {"GATEWAY_TOKEN": ""}, None),
    ):
        call(connect, *arguments, **environment)
        assert SEEN["token"] == token


def test_a_secret_in_the_list_of_processes_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("f" * 32)
    for command, flag in ((connect, "--token"), (serve, "--token-secret")):
        variable = f"GATEWAY_{flag.strip('-').replace('-', '_').upper()}"
        said = call(command, flag, "x" * 32)
        assert f"{flag}-file" in said.stderr
        assert variable in said.stderr
        assert "x" * 32 not in said.stderr
        assert call(command, **{variable: "x" * 32}).stderr == ""
        assert call(command, f"{flag}-file", str(path)).stderr == ""
    assert SEEN == {"secret": "f" * 32}


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("ws://gate.example/ws", True),
        ("http://192.0.2.7:8000", True),
        ("wss://gate.example/ws", False),
        ("https://gate.example", False),
        ("ws://127.0.0.1:8000/ws", False),
        ("http://localhost:8000", False),
        ("ws://[::1]:8000/ws", False),
    ],
)
def test_a_token_that_travels_unencrypted_is_warned_of(url: str, warned: bool) -> None:
    said = call(connect, "--url", url, GATEWAY_TOKEN="x")
    assert ("unencrypted" in said.stderr) is warned
    assert call(connect, "--url", url).stderr == "", "there is nothing to be read on the way"
