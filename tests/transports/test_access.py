"""Tokens: what is accepted, what is not, and the caller of an open gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from gateway.domain.access import LOCAL_OPERATOR, OPEN_USER_SCOPES
from gateway.domain.errors import ConfigurationError, NotPermitted, Unauthenticated
from gateway.domain.settings import Settings
from gateway.transports.access import LEEWAY_S, Access, TokenExpired

SECRET = "s" * 32
NOW = 1_000_000.0


class FixedClock:
    def wall(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def access(*, secret: str = SECRET, jwks: str = "") -> Access:
    settings = Settings(token_secret=secret, jwks=jwks)
    return Access(settings, FixedClock(), open_gateway=not (secret or jwks))


def claims(**changes: Any) -> dict[str, Any]:
    whole = {"sub": "ann", "scope": "events:read agent", "exp": NOW + 60, **changes}
    return {name: value for name, value in whole.items() if value is not None}


def signed(key: Any = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm)


def test_a_token_names_its_caller_with_scopes_and_end() -> None:
    caller = access().caller(signed(aud="another", iss="another", iat=NOW + 9999))
    assert caller.user_id == "ann"
    assert caller.scopes == {"events:read", "agent"}
    assert caller.expires_at == NOW + 60


def test_unknown_scopes_give_nothing() -> None:
    assert access().caller(signed(scope="events:read fly")).scopes == {"events:read"}
    assert access().caller(signed(scope=None)).scopes == frozenset()


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b.c",
        "é.é.é",
        signed("t" * 32),
        signed(algorithm="HS512", key="s" * 64),
        signed(sub=None),
        signed(sub=""),
        signed(sub="*"),
        signed(sub=" ab"),
        signed(sub="a\nb"),
        signed(sub="x" * 257),
        signed(exp=None),
        signed(exp="soon"),
        signed(exp=True),
        signed(exp=1e30),
        signed(scope=["admin"]),
        signed(nbf=NOW + LEEWAY_S + 1),
        signed()[:-2],
        jwt.encode(claims(), "", "none"),
        jwt.encode(claims(), "", "none") + "x",
        jwt.encode(claims(), SECRET, headers={"crit": ["b64"], "b64": False}),
    ],
)
def test_any_other_token_is_refused(token: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        access().caller(token)
    assert not isinstance(refused.value, TokenExpired)
    assert refused.value.__cause__ is None or "jwt" not in str(refused.value)


@pytest.mark.parametrize(("exp", "good"), [(NOW + 0.1, True), (NOW, False), (NOW - 1, False)])
def test_the_end_is_exact_and_told_apart(exp: float, good: bool) -> None:
    """A client whose token ran out may come back with another; one with a bad one may not."""
    if good:
        assert access().caller(signed(exp=exp)).expires_at == exp
    else:
        with pytest.raises(TokenExpired):
            access().caller(signed(exp=exp))


def test_a_token_that_begins_now_is_good_although_clocks_differ() -> None:
    assert access().caller(signed(nbf=NOW + LEEWAY_S)).user_id == "ann"


def test_with_a_secret_a_caller_without_a_token_or_of_another_name_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        access().caller(None)
    with pytest.raises(NotPermitted) as refused:
        access().caller(signed(), user_id="bob")
    assert refused.value.field == "user_id"
    assert access().caller(signed(), user_id="ann").user_id == "ann"


def test_on_an_open_gateway_a_caller_without_a_name_is_an_operator() -> None:
    opened = access(secret="")
    assert opened.caller(None) is LOCAL_OPERATOR
    assert opened.caller("whatever") is LOCAL_OPERATOR
    assert opened.caller(None, user_id="ann").scopes == OPEN_USER_SCOPES


# --- keys -----------------------------------------------------------------------------------

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def jwks(tmp_path: Path) -> str:
    keys = [
        RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True) | {"kid": "r", "alg": "RS256"},
        ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True) | {"kid": "e"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "o"},
    ]
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": keys}))
    return str(path)


def test_keys_of_a_set_are_found_by_name_and_kind(jwks: str) -> None:
    them = access(secret="", jwks=jwks)
    for key, algorithm, kid in ((RSA_KEY, "RS256", "r"), (EC_KEY, "ES256", "e")):
        for headers in ({"kid": kid}, {}):
            token = jwt.encode(claims(), key, algorithm, headers=headers)
            assert them.caller(token).user_id == "ann"
        with pytest.raises(Unauthenticated):
            them.caller(jwt.encode(claims(), key, algorithm, headers={"kid": "other"}))


def test_a_public_key_is_no_secret(jwks: str) -> None:
    """The old trick: HS256 signed with the text of the RSA key."""
    them = access(secret="", jwks=jwks)
    with pytest.raises(Unauthenticated):
        them.caller(jwt.encode(claims(), "c2VjcmV0" * 4, "HS256"))
    both = access(jwks=jwks)
    assert both.caller(signed()).user_id == "ann"
    assert both.caller(jwt.encode(claims(), RSA_KEY, "RS256")).user_id == "ann"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys":[]}', '{"keys":[{"kty":"oct"}]}'])
def test_a_file_that_is_no_key_set_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="jwks"):
        access(secret="", jwks=str(path))
    with pytest.raises(ConfigurationError, match="jwks"):
        access(secret="", jwks=str(tmp_path / "none.json"))
