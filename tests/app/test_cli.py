"""The command line: flags, help, exit codes and what is said on the way."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner, Result

import event_schemas
from gateway.app.cli import main
from gateway.app.flags import OWN_FLAGS
from gateway.domain.settings import SETTINGS

SECRET = "s" * 32


def call(arguments: Sequence[str], *, input: str | None = None, **environment: str) -> Result:
    """Run a command in this process, without the settings of the test's own environment."""
    clean = {name: None for name in os.environ if name.startswith("GATEWAY_")}
    return CliRunner().invoke(main, list(arguments), input=input, env={**clean, **environment})


# --- help -----------------------------------------------------------------------------------


def test_commands_are_listed_in_the_order_of_a_first_visit() -> None:
    listed = call(["--help"]).output.partition("Commands:")[2].split("\n")
    names = [line.split()[0] for line in listed if line[:2] == "  " and line[2:3].isalpha()]
    first = ["serve", "work", "demo", "tail", "status", "tasks", "dead-letters", "breakers"]
    assert names == [*first, "mode", "run", "check", "token"]


def test_help_of_serve_names_each_setting_its_variable_and_its_default() -> None:
    said = " ".join(call(["serve", "--help"]).output.split())
    for name in SETTINGS:
        assert f"--{name.replace('_', '-')} " in said
        # A long variable is broken at a hyphen or not at all.
        assert f"GATEWAY_{name.upper()}" in said.replace(" ", "") or name in OWN_FLAGS
    assert "default: memory" in said
    assert "--token-secret-file FILE" in said


def test_the_version_is_the_packages() -> None:
    said = call(["--version"])
    assert said.exit_code == 0
    assert said.output.startswith("gateway, version ")


# --- mistakes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "agents"], "MODULE:NAME"),
        (["serve", "no_such_module:gateway"], "no module"),
        (["serve", "--retry-base", "soon"], "GATEWAY_RETRY_BASE has to be a number"),
        (["serve", "--host", "0.0.0.0"], "serves this machine only"),
        (["serve", "--allowed-origins", "*"], "allowed_origins"),
        (["serve", "--token-audience", "us"], "token_audience"),
        (["serve", "--jwks", "http://sign-in.example/keys"], "jwks"),
        (["serve", "--trusted-proxies", "*"], "trusted_proxies"),
        (["serve", "--tls-cert", "/none.pem", "--port", "0"], "tls_cert: /none.pem"),
        (["serve", "--port", "65536"], "--port"),
        (["demo", "--host", "0.0.0.0"], "serves this machine only"),
        (["demo", "--pace", "0"], "--pace"),
        (["tail", "--url", "ftp://127.0.0.1"], "--url"),
        (["tail", "--since", "x"], "--since"),
        (["work"], "MODULE:GATEWAY"),
        (["tasks", "list", "--status", "odd"], "--status"),
        (["tasks", "get"], "ID"),
        (["mode", "set", "odd"], "odd"),
        (["breakers", "open"], "NAME..."),
        (["run"], "COMMAND"),
        (["run", "--timeout", "0", "true"], "--timeout"),
        (["status", "--url", "127.0.0.1"], "--url"),
        (["dead-letters", "list", "--url", "127.0.0.1"], "--url"),
        (["dead-letters", "list", "--limit", "0"], "--limit"),
        (["dead-letters", "retry"], "ID..."),
        (["dead-letters", "discard"], "ID..."),
        (["dead-letters", "burn"], "No such command"),
        (["check"], "FILES"),
        (["token"], "--user"),
        (["fly"], "No such command"),
    ],
)
@pytest.mark.usefixtures("process_kept")
def test_a_mistake_is_a_sentence_and_exit_code_2(arguments: list[str], message: str) -> None:
    said = call(arguments)
    assert (said.exit_code, said.stdout) == (2, "")
    assert message in said.stderr
    assert "Traceback" not in said.stderr


# --- check ----------------------------------------------------------------------------------


def recording(folder: Path, *events: dict[str, object] | str) -> str:
    path = folder / "recording.jsonl"
    lines = (each if isinstance(each, str) else json.dumps(each) for each in events)
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_a_recording_that_complies_is_told_on_stdout(tmp_path: Path) -> None:
    path = recording(tmp_path, event_schemas.example("task_submitted"))
    said = call(["check", path])
    assert (said.exit_code, said.stdout) == (0, f"{path}: 1 events, complies\n")


def test_findings_have_line_and_offset_and_exit_code_1(tmp_path: Path) -> None:
    event = event_schemas.example("task_submitted") | {"offset": 7, "severity": "mild"}
    path = recording(tmp_path, "no json", event)
    said = call(["check", path])
    assert said.exit_code == 1
    first, second = said.stdout.splitlines()
    assert first.startswith(f"{path}:1: json: not JSON")
    assert second.startswith(f"{path}:2 (offset 7): schema: task_submitted: severity")
    assert said.stderr == f"{path}: 1 events, does not comply\n"


def test_only_a_complete_recording_has_open_ends(tmp_path: Path) -> None:
    path = recording(tmp_path, event_schemas.example("task_submitted"))
    assert call(["check", "--complete", path]).exit_code == 1


def test_several_files_are_checked_and_a_dash_is_stdin(tmp_path: Path) -> None:
    path = recording(tmp_path, event_schemas.example("task_submitted"))
    said = call(["check", "-", path], input="[]\n")
    assert said.exit_code == 1
    assert "-:1: json: not a JSON object" in said.stdout
    assert f"{path}: 1 events, complies" in said.stdout


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = call(["check", str(tmp_path / "none.jsonl")])
    assert said.exit_code == 1
    assert "none.jsonl" in said.stderr


# --- token ----------------------------------------------------------------------------------


def test_a_token_is_made_of_flags_and_of_the_settings_of_its_gateway(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    arguments = ["--user", "ops", "--scope", "admin", "--scope", "agent", "--expires", "2m"]
    arguments += ["--agents", "a,b", "--channels", "c", "--audience", "us"]
    secret_file = {"GATEWAY_TOKEN_SECRET_FILE": str(path), "GATEWAY_TOKEN_ISSUER": "them"}
    said = call(["token", *arguments], **secret_file)
    assert said.exit_code == 0, said.output
    claims = jwt.decode(said.stdout.strip(), SECRET, ["HS256"], audience="us", issuer="them")
    assert (claims["sub"], claims["scope"]) == ("ops", "admin agent")
    assert (claims["agents"], claims["channels"]) == (["a", "b"], ["c"])
    assert claims["exp"] - claims["iat"] == pytest.approx(120)
    said = call(["token", "--user", "42", "--ttl", "60", "--token-secret-file", str(path)])
    claims = jwt.decode(said.stdout.strip(), SECRET, ["HS256"])
    assert claims["exp"] - claims["iat"] == pytest.approx(60), "as it was called before"


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--user", "*"], {"GATEWAY_TOKEN_SECRET": SECRET}, "--user has to have"),
        (["--user", "42"], {}, "GATEWAY_TOKEN_SECRET is not set"),
        (["--user", "42"], {"GATEWAY_TOKEN_SECRET": "short"}, "token_secret"),
        (["--user", "42"], {"GATEWAY_TOKEN_SECRET_FILE": "/none"}, "/none"),
        (["--user", "42", "--scope", "fly"], {"GATEWAY_TOKEN_SECRET": SECRET}, "--scope"),
        (["--user", "42", "--expires", "0"], {"GATEWAY_TOKEN_SECRET": SECRET}, "--expires"),
    ],
)
def test_a_token_that_a_gateway_would_refuse_is_not_made(
    arguments: list[str], environment: dict[str, str], message: str
) -> None:
    said = call(["token", *arguments], **environment)
    assert (said.exit_code, said.stdout) == (2, "")
    assert message in said.stderr


def test_a_store_that_does_not_answer_ends_the_command_with_exit_code_1() -> None:
    """Nothing is wrong with the command, so it is no usage error."""
    address = "nats://127.0.0.1:1"
    said = call(["serve", "--port", "0", "--store", address, "--store-timeout", "0.2"])
    assert (said.exit_code, said.stdout) == (1, "")
    assert "nothing listens there" in said.stderr
    assert "Usage" not in said.stderr
