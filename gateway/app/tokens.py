"""``gateway token``: makes a token that a gateway of the same settings accepts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import jwt

from gateway.domain.errors import ConfigurationError
from gateway.domain.names import is_name, is_user_id
from gateway.domain.redaction import quoted
from gateway.domain.settings import Settings
from gateway.ports import Clock

__all__ = ["signed"]

DEFAULT_SCOPES = ("events:read", "tasks:write")
EXPIRES_S_MAX = 10 * 365 * 86_400
_TIME = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd]?)")
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def signed(
    settings: Settings,
    *,
    user: str,
    scopes: Iterable[str],
    expires: str,
    agents: Iterable[str],
    channels: Iterable[str],
    clock: Clock,
) -> str:
    """
    Make a token.

    Args:
        settings: Those of the gateway: secret, audience, issuer, names of claims.
        user: The user's id.
        scopes: What it may do; empty: what a user may.
        expires: When it expires, from now: a number of seconds, or with a unit s, m, h or d.
        agents: The only agents that it may serve, each text a name or several with commas between
            them; empty: it is not narrowed.
        channels: The only channels that it may use; the same.
        clock: Tells when now is.

    Raises:
        ConfigurationError: If there is no secret, or a gateway would not take the token.
    """
    if not is_user_id(user):
        raise ConfigurationError(
            "--user has to have 1 to 256 characters, no control characters, no space at either "
            "end, and may not be *"
        )
    if not settings.token_secret:
        raise ConfigurationError(
            "GATEWAY_TOKEN_SECRET is not set; it has to be the gateway's own, of at least 32 bytes"
        )
    now = clock.wall()
    claims: dict[str, Any] = {
        settings.token_user_claim: user,
        settings.token_scope_claim or "scope": " ".join(tuple(scopes) or DEFAULT_SCOPES),
        "iat": now,
        "exp": now + _seconds_of(expires),
    }
    if settings.token_audience:
        claims["aud"] = settings.token_audience
    if settings.token_issuer:
        claims["iss"] = settings.token_issuer
    for name, given in (("agents", agents), ("channels", channels)):
        if names := _names_of(given, f"--{name}"):
            claims[name] = names
    return jwt.encode(claims, settings.token_secret, algorithm="HS256")


def _seconds_of(text: str) -> float:
    found = _TIME.fullmatch(text)
    seconds = float(found[1]) * _UNITS_S[found[2]] if found else 0.0
    if not 1 <= seconds <= EXPIRES_S_MAX:
        raise ConfigurationError(
            f"--expires has to be 1 second to 10 years, such as 90, 15m, 12h or 30d; it is {text!r}"
        )
    return seconds


def _names_of(given: Iterable[str], flag: str) -> list[str]:
    names = [name.strip() for text in given for name in text.split(",")]
    for name in names:
        if not is_name(name):
            raise ConfigurationError(
                f"{flag} has to be names of 1 to 128 of A-Z a-z 0-9 . _ ~ @ : -, with commas "
                f"between them; {quoted(name)} is none"
            )
    return names
