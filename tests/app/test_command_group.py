"""How commands end: the order of the list, and which error is which exit code."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from gateway.app.command_group import Commands
from gateway.domain.errors import ConfigurationError, GatewayError, StoreNotThere


def group_of(error: Exception) -> Commands:
    group = Commands("tool")

    @group.command("zeta")
    def zeta() -> None:
        raise error

    @group.command("alpha")
    def alpha() -> None:
        """Do nothing."""

    return group


def test_commands_are_listed_as_they_were_declared() -> None:
    group = group_of(GatewayError("x"))
    assert group.list_commands(click.Context(group)) == ["zeta", "alpha"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GatewayError("no password=hunter2hunter2 here"), 1),
        (ConfigurationError("no password=hunter2hunter2 here"), 2),
        (StoreNotThere("no password=hunter2hunter2 here"), 1),
    ],
)
def test_an_error_is_a_sentence_without_secrets_and_an_exit_code(
    error: Exception, code: int
) -> None:
    said = CliRunner().invoke(group_of(error), ["zeta"])
    assert said.exit_code == code
    assert "Error: no " in said.stderr
    assert "hunter2" not in said.stderr
    assert "Traceback" not in said.stderr
