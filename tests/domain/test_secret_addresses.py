"""Users and passwords in addresses, and what follows the name of a scheme."""

from __future__ import annotations

import base64

import pytest

from gateway.domain.secret_addresses import passwords_in, schemes_in
from tests.domain.harmless_samples import HARMLESS
from tests.domain.secret_samples import letters


def in_address(text: str) -> list[str]:
    return [text[start:end] for start, end, _ in passwords_in(text)]


def after_scheme(text: str) -> list[str]:
    return [text[start:end] for start, end, _ in schemes_in(text, text.lower())]


@pytest.mark.parametrize(
    "password", ["x", "a/b", "a@b", "a%2Fb", "p@s/w%rd", "a#b", "a?b", "a:b", "1/2", "", "a/b@c/d"]
)
@pytest.mark.parametrize("user", ["bob", "", "b.b", "b%40c"])
def test_a_password_in_an_address_may_have_any_sign(user: str, password: str) -> None:
    secret = f"{user}:{password}"
    for text in (
        f"nats://{secret}@db:4222",
        f"the store at nats://{secret}@db:4222 is away",
        f"'postgres://{secret}@db.example.org/x?y=1'",
        f"nats://a:4222,nats://{secret}@db:4222",
    ):
        if user == "b.b" and password == "1/2":
            continue  # this is a host with a port and a path
        assert in_address(text) == [secret], text


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("https://h/p?x=a@b.org", []),
        ("https://host:8080/p/@x", []),
        ("https://h.example.org:8080/p/a@b", []),
        ("https://u:p@h/p?x=a@b.org", ["u:p"]),
        ("ssh://git@h/x", []),
        ("https://bob@h/x", []),
        (f"https://{letters(20)}@h/x", [letters(20)]),
        ("nats://a:b@h,nats://c:d@i", ["a:b", "c:d"]),
        ("nats://a:4222,nats://b:4222", []),
        ("bob:pw@db:5432", ["bob:pw"]),
        ("image:1.25@sha256:" + "0" * 64, []),
        ("jdbc:oracle:thin:scott/tiger@//h", ["scott/tiger"]),
        ("://a:[redacted:url-password]@h", ["a:[redacted:url-password]"]),
        ("nats://[redacted:url-password]@h", []),
        ("nats://[redacted:api-key]@h", []),
    ],
)
def test_where_user_and_password_end(text: str, secrets: list[str]) -> None:
    assert in_address(text) == secrets


BASIC = base64.b64encode(b"bob:x").decode()


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("Bearer abc.def-1", ["abc.def-1"]),
        (f"Basic {BASIC}", [BASIC]),
        (f"basic+{BASIC}", [BASIC]),
        ("Basic authentication", []),
        ("Basic usage:", []),
        ("bearer tokens", []),
        ('Bearer realm="x"', []),
        ("Negotiate YIIabc1", ["YIIabc1"]),
        ("['bearer', 'abc.def-1']", ["abc.def-1"]),
        ("['bearer', 'basic']", []),
        ("?key=abcdef12", ["abcdef12"]),
        ("?code=429", []),
        ("?key=users", []),
        (f"https://h/password-reset/{letters(20)}", [letters(20)]),
        ("https://h/password-reset/how-to-do-it-right", []),
    ],
)
def test_what_follows_a_scheme_is_a_credential_or_a_word(text: str, secrets: list[str]) -> None:
    assert after_scheme(text) == secrets


def test_other_addresses_and_words_stay() -> None:
    assert [text for text in HARMLESS if in_address(text)] == []
    assert [text for text in HARMLESS if after_scheme(text)] == []
