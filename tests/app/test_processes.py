"""The worker processes of a gateway's own: how they sign in; their life is in the scenarios."""

from __future__ import annotations

import jwt
import pytest

from gateway import Settings
from gateway.app.clock import SystemClock
from gateway.app.processes import processes_for, token_for
from gateway.domain.errors import ConfigurationError
from tests.transports.world import SECRET

CLOCK = SystemClock()


def test_an_open_gateway_needs_no_token() -> None:
    assert token_for(Settings(), None, CLOCK) is None


def test_with_a_secret_they_have_a_token_that_may_do_no_more_than_work() -> None:
    made = token_for(Settings(token_secret=SECRET), None, CLOCK)
    assert made is not None
    claims = jwt.decode(made, SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["scope"]) == ("gateway-processes", "agent")
    assert token_for(Settings(token_secret=SECRET), "given", CLOCK) == "given"


def test_where_tokens_are_signed_elsewhere_one_has_to_be_given() -> None:
    settings = Settings(jwks="keys.json")
    assert token_for(settings, "given", CLOCK) == "given"
    with pytest.raises(ConfigurationError, match="set GATEWAY_TOKEN to one with the scope agent"):
        token_for(settings, None, CLOCK)


def test_agents_have_to_be_named() -> None:
    with pytest.raises(ConfigurationError, match="name their module"):
        processes_for(Settings(), None, 2, log_level="info")
