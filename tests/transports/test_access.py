"""Tokens: what is accepted, what is not, and the caller of an open gateway."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.utils import base64url_encode

from gateway.domain.access import LOCAL_OPERATOR, OPEN_USER_SCOPES, Caller
from gateway.domain.errors import ConfigurationError, NotPermitted, Unauthenticated
from gateway.domain.settings import Settings
from gateway.transports.access import LEEWAY_S, Access, TokenExpired
from tests.identity import Provider
from tests.transports.http_client import ask
from tests.transports.world import CLOCK, world

SECRET = "s" * 32
BOTH = {"token_audience": "us", "token_issuer": "them"}
NOW = 1_000_000.0
LEFT_OUT = object()


class FixedClock:
    def wall(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return NOW

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def access(*, secret: str = SECRET, jwks: str = "", **changes: Any) -> Access:
    settings = Settings(token_secret=secret, jwks=jwks, **changes)
    return Access(settings, FixedClock(), open_gateway=settings.open)


def claims(**changes: Any) -> dict[str, Any]:
    whole = {"sub": "ann", "scope": "events:read agent", "exp": NOW + 60, **changes}
    return {name: value for name, value in whole.items() if value is not LEFT_OUT}


def signed(key: Any = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm)


async def caller(token: str, **settings: Any) -> Caller:
    return await access(**settings).caller(token)


async def test_a_token_names_its_caller_with_scopes_and_end() -> None:
    ann = await caller(signed(aud="another", iss="another", iat=NOW + 9999))
    assert ann.user_id == "ann"
    assert ann.scopes == {"events:read", "agent"}
    assert ann.expires_at == NOW + 60
    assert (ann.agents, ann.channels) == (None, None)


@pytest.mark.parametrize(
    ("given", "scopes"),
    [
        ({"scope": "events:read fly"}, {"events:read"}),
        ({"scope": "tasks:critical"}, {"tasks:critical"}),
        ({"scope": ["events:read", "agent"]}, {"events:read", "agent"}),
        ({"scope": LEFT_OUT}, set()),
        ({"scope": None}, set()),
        ({"scope": LEFT_OUT, "scp": "agent"}, {"agent"}),
        ({"scope": LEFT_OUT, "scp": ["agent", "admin"]}, {"agent", "admin"}),
        ({"scope": "events:read", "scp": "admin"}, {"events:read"}),
        ({"scope": " events:read  agent "}, {"events:read", "agent"}),
        # One word to its issuer (RFC 6749, 3.3), which knows no such scope.
        ({"scope": "agent\tadmin"}, set()),
        ({"scope": "agent\u00a0admin events:read"}, {"events:read"}),
    ],
)
async def test_the_scope_is_a_string_or_a_list_under_either_name(
    given: dict[str, Any], scopes: set[str]
) -> None:
    assert (await caller(signed(**given))).scopes == scopes


async def test_a_claim_that_a_setting_names_is_the_only_scope_and_the_only_user() -> None:
    """The `scope` of a token is often what its bearer has asked for, not what is granted."""
    theirs = {"token_scope_claim": "permissions", "token_user_claim": "https://example.org/uid"}
    token = signed(
        sub=LEFT_OUT,
        scope="admin",
        permissions=["tasks:write"],
        **{"https://example.org/uid": "auth0|5f7c"},
    )
    ann = await caller(token, **theirs)
    assert (ann.user_id, ann.scopes) == ("auth0|5f7c", frozenset({"tasks:write"}))
    without = signed(scope="admin", **{"https://example.org/uid": "ann"})
    assert (await caller(without, **theirs)).scopes == frozenset()
    with pytest.raises(Unauthenticated):
        await caller(signed(), **theirs)


@pytest.mark.parametrize("claim", ["agents", "channels"])
async def test_claims_that_narrow_are_kept_with_the_caller(claim: str) -> None:
    for given, kept in (
        (["a", "b"], {"a", "b"}),
        ("a b", {"a", "b"}),
        ([], set()),  # none at all
        (None, None),
    ):
        more: dict[str, Any] = {claim: given}
        assert getattr(await caller(signed(**more)), claim) == kept


@pytest.mark.parametrize(
    "user_id",
    ["auth0|5f7c", "google-oauth2|1/2", "ann+test@example.org", "Änne Müller", "x" * 256, "日本"],
)
async def test_a_user_id_is_taken_as_the_sign_in_issues_it(user_id: str) -> None:
    assert (await caller(signed(sub=user_id))).user_id == user_id


# Each with a part of what the log says.
REFUSED = [
    ("", "no JWT"),
    ("x", "no JWT"),
    ("a.b.c", "no JWT"),
    ("é.é.é", "no JWT"),
    ("\ud800.b.c", "no JWT"),
    (signed("t" * 32), "another secret"),
    (signed(algorithm="HS512", key="s" * 64), "algorithm is not"),
    (signed(sub=LEFT_OUT), "'sub' is no user id"),
    (signed(sub=""), "'sub' is no user id"),
    (signed(sub="*"), "'sub' is no user id"),
    (signed(sub=" ab"), "'sub' is no user id"),
    (signed(sub="a\nb"), "'sub' is no user id"),
    (signed(sub="x" * 257), "'sub' is no user id"),
    (signed(sub=7), "'sub' is no user id"),
    (signed(sub="a\ud800"), "'sub' is no user id"),
    (signed(exp=LEFT_OUT), "its exp is missing"),
    (signed(exp="soon"), "its exp is missing or no time"),
    (signed(exp=True), "its exp is missing or no time"),
    (signed(exp=1e30), "its exp is missing or no time"),
    (signed(nbf="soon"), "its nbf is no time"),
    (signed(nbf=NOW + LEEWAY_S + 1), r"not valid yet \(for 6 s\)"),
    (signed(scope=7), "its scope is no string"),
    (signed(scope=["admin", 7]), "its scope is no string"),
    (signed(agents=7), "its agents is no list of names"),
    (signed(agents=["my agent"]), "its agents is no list of names"),
    (signed(channels=["*"]), "its channels is no list of names"),
    (signed(channels={"a": 1}), "its channels is no list of names"),
    (signed(sub="bob").rpartition(".")[0] + "." + signed().rpartition(".")[2], "another secret"),
    (signed()[:-2], "no JWT"),
    (jwt.encode(claims(), "", "none"), "algorithm is not"),
    (jwt.encode(claims(), "", "none") + "x", "no JWT"),
    (jwt.encode(claims(), SECRET, headers={"crit": ["b64"], "b64": False}), "no JWT"),
    (jwt.encode(claims(), SECRET, headers={"crit": ["exp"], "exp": 1}), "no JWT"),
    (jwt.encode(claims(), SECRET, headers={"crit": ["b64"], "b64": True}), "critical|no JWT"),
]


@pytest.mark.parametrize(("token", "why"), REFUSED)
async def test_any_other_token_is_refused_for_a_reason_that_is_in_the_log_alone(
    token: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await caller(token)
    assert not isinstance(refused.value, TokenExpired)
    assert refused.value.message == "the token is not accepted; the gateway's log says why"
    assert refused.value.__cause__ is None
    (record,) = caplog.records
    assert re.search(why, record.getMessage())


async def test_what_a_token_says_writes_no_line_of_its_own_into_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(Unauthenticated):
        await caller(signed(sub="*", iss="x\nERROR all is lost" + "x" * 500), token_issuer="us")
    (record,) = caplog.records
    assert len(record.getMessage()) < 150
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize(
    ("given", "good"),
    [
        ({"aud": "gateway"}, True),
        ({"aud": ["other", "gateway"]}, True),
        ({"aud": "other"}, False),
        ({"aud": "gateway2"}, False),
        ({"aud": ["other"]}, False),
        ({"aud": []}, False),
        ({"aud": {"gateway": 1}}, False),
        ({}, False),
    ],
)
async def test_a_token_for_another_application_is_refused(given: Any, good: bool) -> None:
    """The same sign-in issues tokens for many; each says whom it is for."""
    token = signed(**given)
    if good:
        assert (await caller(token, token_audience="gateway")).user_id == "ann"
    else:
        with pytest.raises(Unauthenticated):
            await caller(token, token_audience="gateway")
    assert (await caller(token)).user_id == "ann", "not looked at when nothing is set"


@pytest.mark.parametrize(
    ("given", "good"), [("https://us/", True), ("https://us", False), ("https://us/x", False)]
)
async def test_a_token_of_another_issuer_is_refused(given: Any, good: bool) -> None:
    theirs = access(token_issuer="https://us/")
    if good:
        assert (await theirs.caller(signed(iss=given))).user_id == "ann"
    else:
        with pytest.raises(Unauthenticated):
            await theirs.caller(signed(iss=given))
    with pytest.raises(Unauthenticated):
        await theirs.caller(signed())


@pytest.mark.parametrize(("exp", "good"), [(NOW + 0.1, True), (NOW, False), (NOW - 1, False)])
async def test_the_end_is_exact_and_told_apart(exp: float, good: bool) -> None:
    """A client whose token ran out may come back with another; one with a bad one may not."""
    if good:
        assert (await caller(signed(exp=exp))).expires_at == exp
    else:
        with pytest.raises(TokenExpired):
            await caller(signed(exp=exp))


async def test_of_an_expired_token_for_others_nothing_more_is_said() -> None:
    with pytest.raises(Unauthenticated) as refused:
        await caller(signed(exp=NOW - 1, aud="other"), token_audience="gateway")
    assert not isinstance(refused.value, TokenExpired)


async def test_a_token_that_begins_now_is_good_although_clocks_differ() -> None:
    assert (await caller(signed(nbf=NOW + LEEWAY_S))).user_id == "ann"


async def test_with_a_secret_a_caller_without_a_token_or_of_another_name_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        await access().caller(None)
    with pytest.raises(NotPermitted) as refused:
        await access().caller(signed(), user_id="bob")
    assert refused.value.field == "user_id"
    assert (await access().caller(signed(), user_id="ann")).user_id == "ann"


async def test_on_an_open_gateway_a_caller_without_a_name_is_an_operator() -> None:
    opened = access(secret="")
    assert await opened.caller(None) is LOCAL_OPERATOR
    assert await opened.caller("whatever") is LOCAL_OPERATOR
    assert (await opened.caller(None, user_id="ann")).scopes == OPEN_USER_SCOPES


@pytest.mark.parametrize(
    "header", ["Bearer x", "Basic YTpi", "Bearer", "", "Negotiate " + "x" * 5000]
)
async def test_on_an_open_gateway_authorization_is_not_looked_at(header: str) -> None:
    """Tools and proxies on a desk send one for something else."""
    headers = [("authorization", header), ("authorization", "twice")]
    async with world() as here:
        for path in ("/api/tasks", "/api/events"):
            assert (await ask(here, "GET", path, headers=headers)).status == 200


# --- keys -----------------------------------------------------------------------------------

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
STRANGE_KEY = ec.generate_private_key(ec.SECP256R1())


def public(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    return ECAlgorithm.to_jwk(key.public_key(), as_dict=True)


@pytest.fixture
def jwks(tmp_path: Path) -> str:
    keys = [
        RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True) | {"kid": "r", "alg": "RS256"},
        public(EC_KEY) | {"kid": "e"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "o"},
    ]
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": keys}))
    return str(path)


async def test_keys_of_a_set_are_found_by_name_and_kind(jwks: str) -> None:
    them = access(secret="", jwks=jwks)
    for key, algorithm, kid in ((RSA_KEY, "RS256", "r"), (EC_KEY, "ES256", "e")):
        for headers in ({"kid": kid}, {}):
            token = jwt.encode(claims(), key, algorithm, headers=headers)
            assert (await them.caller(token)).user_id == "ann"
        with pytest.raises(Unauthenticated):
            await them.caller(jwt.encode(claims(), key, algorithm, headers={"kid": "other"}))


@pytest.mark.parametrize("name", [None, "same"])
async def test_every_key_that_fits_is_tried(tmp_path: Path, name: str | None) -> None:
    """Some sets name no keys, and some give two keys one name while they are changed."""
    headers = {} if name is None else {"kid": name}
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [public(key) | headers for key in (STRANGE_KEY, EC_KEY)]}))
    them = access(secret="", jwks=str(path))
    for key in (STRANGE_KEY, EC_KEY):
        token = jwt.encode(claims(), key, "ES256", headers=headers)
        assert (await them.caller(token)).user_id == "ann"
    other = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(Unauthenticated):
        await them.caller(jwt.encode(claims(), other, "ES256", headers=headers))


async def test_a_public_key_is_no_secret(jwks: str) -> None:
    """The old trick: HS256 signed with the text of the RSA key."""
    them = access(secret="", jwks=jwks)
    modulus = RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True)["n"]
    pem = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for secret in (b"c2VjcmV0" * 4, b"secret", modulus.encode(), pem):
        forged = jwt.encode(claims(), "t" * 32, "HS256").rpartition(".")[0]
        mac = hmac.new(secret, forged.encode(), hashlib.sha256).digest()
        with pytest.raises(Unauthenticated):
            await them.caller(f"{forged}.{base64url_encode(mac).decode()}")
    both = access(jwks=jwks)
    assert (await both.caller(signed())).user_id == "ann"
    assert (await both.caller(jwt.encode(claims(), RSA_KEY, "RS256"))).user_id == "ann"


def test_a_secret_that_everybody_may_know_is_refused_at_the_start(jwks: str) -> None:
    pem = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem.decode(), Path(jwks).read_text()):
        with pytest.raises(ConfigurationError, match="token_secret"):
            access(secret=secret)


def test_a_file_that_is_no_key_set_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="jwks"):
        access(secret="", jwks=str(tmp_path / "none.json"))


async def test_a_forged_signature_of_a_key_that_is_known_is_refused_without_asking_again() -> None:
    async with Provider() as provider:
        settings = Settings(jwks=provider.url, token_audience="us", token_issuer="them")
        them = Access(settings, CLOCK, open_gateway=False)
        async with them.running():
            token = provider.token("ann", aud="us", iss="them")
            assert (await them.caller(token)).user_id == "ann"
            forged = jwt.encode({"sub": "ann"}, STRANGE_KEY, "ES256", headers={"kid": "k1"})
            for _ in range(10):
                with pytest.raises(Unauthenticated):
                    await them.caller(forged)
            assert provider.asked == 1


async def test_a_token_may_be_younger_than_the_reading_that_found_its_key() -> None:
    async with Provider() as provider:
        them = Access(Settings(jwks=provider.url), CLOCK, open_gateway=False)
        async with them.running():
            # The first reading has just begun, and each of these is made after it.
            tokens = [provider.token("ann") for _ in range(5)]
            callers = await asyncio.gather(*map(them.caller, tokens))
            assert {each.user_id for each in callers} == {"ann"}
            assert provider.asked == 1
            provider.rotate()
            tokens = [provider.token("bob") for _ in range(5)]
            callers = await asyncio.gather(*map(them.caller, tokens))
            assert {each.user_id for each in callers} == {"bob"}
            assert provider.asked == 2


async def test_a_flood_of_strange_keys_asks_the_provider_once() -> None:
    async with Provider() as provider:
        them = Access(Settings(jwks=provider.url), CLOCK, open_gateway=False)
        async with them.running():
            await them.caller(provider.token("ann"))
            for number in range(50):
                kid = {"kid": f"strange{number}"}
                with pytest.raises(Unauthenticated):
                    await them.caller(jwt.encode({}, STRANGE_KEY, "ES256", headers=kid))
            assert provider.asked == 2


@pytest.mark.parametrize(("setting", "warned"), [({}, True), (BOTH, False)])
async def test_keys_that_are_for_others_too_are_warned_of(
    setting: dict[str, str], warned: bool, jwks: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with access(secret="", jwks=jwks, **setting).running():
        assert ("other applications" in caplog.text) is warned
