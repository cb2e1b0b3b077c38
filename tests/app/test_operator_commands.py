"""The operators' commands: what each one takes, and which exit code it ends with."""

from __future__ import annotations

import pytest

from gateway.app.operator_commands import OPERATOR_COMMANDS
from tests.app.terminal import piped


@pytest.mark.parametrize("command", OPERATOR_COMMANDS, ids=lambda each: each.name)
def test_each_says_what_it_is_for(command: object) -> None:
    assert getattr(command, "help", "")


async def test_status_ends_with_3_where_no_gateway_is() -> None:
    """A script tells "nobody answers" from "something is not well", which is 1."""
    code, out, err = await piped(["status", "--url", "http://127.0.0.1:9", "--json"])
    assert (code, out) == (3, "")
    assert err.startswith("Error: http://127.0.0.1:9: no answer")
    assert err.count("\n") == 1
