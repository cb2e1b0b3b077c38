"""``gateway token``: every claim that a gateway looks at, and none that it would refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jwt
import pytest

from gateway.app.clock import SystemClock
from gateway.app.tokens import EXPIRES_S_MAX, signed
from gateway.domain.access import SCOPES
from gateway.domain.errors import ConfigurationError
from gateway.domain.settings import SETTINGS, Settings
from gateway.transports.access import Access

SECRET = "s" * 32
CLOCK = SystemClock()


PAGE = (Path(__file__).parents[2] / "docs" / "sign-in.md").read_text()


@pytest.mark.parametrize("scope", sorted(SCOPES))
def test_the_page_about_signing_in_has_every_scope(scope: str) -> None:
    assert f"\n| `{scope}` | " in PAGE


@pytest.mark.parametrize("name", [name for name in SETTINGS if name.startswith("token_")])
def test_the_page_about_signing_in_has_every_setting(name: str) -> None:
    assert f"\n| `GATEWAY_{name.upper()}` | " in PAGE


def made(settings: Settings | None = None, **changes: Any) -> str:
    whole: dict[str, Any] = {
        "user": "42",
        "scopes": (),
        "expires": "1h",
        "agents": (),
        "channels": (),
        **changes,
    }
    return signed(settings or Settings(token_secret=SECRET), **whole, clock=CLOCK)


def claims_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(
        token, SECRET, ["HS256"], options={"verify_aud": False, "verify_sub": False}
    )
    return found


def test_a_token_is_for_its_user_with_a_users_rights_for_an_hour() -> None:
    claims = claims_of(made())
    assert (claims["sub"], claims["scope"]) == ("42", "events:read tasks:write")
    assert claims["exp"] - claims["iat"] == pytest.approx(3600)
    assert 0 <= CLOCK.wall() - claims["iat"] < 10
    assert claims.keys() == {"sub", "scope", "iat", "exp"}


@pytest.mark.parametrize(
    "settings",
    [
        Settings(token_secret=SECRET),
        Settings(
            token_secret=SECRET,
            token_audience="https://gateway.example",
            token_issuer="https://sign-in.example/",
            token_user_claim="https://gateway.example/uid",
            token_scope_claim="permissions",
        ),
    ],
)
async def test_a_gateway_of_the_same_settings_takes_it(settings: Settings) -> None:
    token = made(
        settings,
        user="auth0|5f7c Müller",
        scopes=("agent", "tasks:critical"),
        agents=("researcher,writer", "critic"),
        channels=("news",),
    )
    caller = await Access(settings, CLOCK, open_gateway=False).caller(token)
    assert caller.user_id == "auth0|5f7c Müller"
    assert caller.scopes == {"agent", "tasks:critical"}
    assert caller.agents == frozenset({"researcher", "writer", "critic"})
    assert caller.channels == frozenset({"news"})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1),
        ("90s", 90),
        ("15m", 900),
        ("1.5h", 5400),
        ("30d", 2_592_000),
        ("3650d", EXPIRES_S_MAX),
    ],
)
def test_the_time_is_in_seconds_or_has_a_unit(text: str, seconds: float) -> None:
    claims = claims_of(made(expires=text))
    assert claims["exp"] - claims["iat"] == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user": ""}, "--user"),
        ({"user": "ab "}, "--user"),
        ({"user": "*"}, "--user"),
        ({"settings": Settings()}, "GATEWAY_TOKEN_SECRET"),
        ({"expires": ""}, "--expires"),
        ({"expires": "0"}, "--expires"),
        ({"expires": "-1"}, "--expires"),
        ({"expires": "1y"}, "--expires"),
        ({"expires": "1 h"}, "--expires"),
        ({"expires": "١h"}, "--expires"),
        ({"expires": "3651d"}, "--expires"),
        ({"agents": ("a,,b",)}, "--agents"),
        ({"agents": ("my agent",)}, "--agents"),
        ({"channels": ("*",)}, "--channels"),
        ({"channels": ("",)}, "--channels"),
    ],
)
def test_a_token_that_a_gateway_would_refuse_is_not_made(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        made(**changes)
