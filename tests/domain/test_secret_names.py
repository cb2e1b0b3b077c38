"""What stands under a secret name goes, however the two are written; what only looks so stays."""

from __future__ import annotations

import pytest

from gateway.domain.secret_names import (
    NAMES_READ_MAX,
    flags_in,
    is_pair,
    is_secret_name,
    named_in,
)
from tests.domain.harmless_samples import HARMLESS


def found(text: str) -> list[str]:
    return [text[start:end] for start, end, _ in named_in(text, text.lower())]


@pytest.mark.parametrize(
    "name",
    [
        "password", "Password", "DB_PASSWORD", "user.password", "passwords", "password2",
        "hashed_password", "password_hash", "token", "accessToken", "refresh_token", "tokens",
        "api_key", "api_keys", "apiKey", "X-Api-Key", "x-goog-api-key", "OPENAI_API_KEY",
        "private_key_pem", "client_secret", "secrets", "secret_key_base64", "auth", "auth_header",
        "credentials_json", "passwordEncrypted",
        "basicAuth", "Authorization", "Proxy-Authorization", "cookie", "Set-Cookie", "cookies",
        "connectionString", "connection_string", "credentials", "aws_secret_access_key", "pwd",
        "passphrase", "session_id", "sessionid", "PHPSESSID", "connect.sid", "csrf_token", "jwt",
        "signature", "X-Amz-Signature", "sig", "otp", "cvv", "pin", "mnemonic_phrase", "sas_token",
        "subscription-key", "AccountKey", "SharedAccessKey", "api key", "access token", "_auth",
    ],
)  # fmt: skip
def test_a_name_is_secret_by_its_end(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "token_type", "token_count", "max_tokens_left", "tokenizer", "password_required",
        "password_file", "key", "primary_key", "public_key", "keys", "key_id", "api_key_id",
        "author", "authority", "oauth_scopes", "compass", "bypass", "secretary", "passport",
        "side", "signal", "design", "string", "phrase", "code", "status_code", "pins", "session",
        "user_id", "name", "", "a" * 1000, "cookie_name", "signature_algorithm", "keyboard",
    ],
)  # fmt: skip
def test_other_names_are_not(name: str) -> None:
    assert not is_secret_name(name)


def test_what_says_nothing_or_is_code_stays() -> None:
    assert [text for text in HARMLESS if found(text)] == []
    assert [text for text in HARMLESS if list(flags_in(text, text.lower()))] == []


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("password=a1;user=b", ["a1"]),
        ("password=p;b&c,d e", ["p;b&c,d"]),
        ("(password=a1)", ["a1"]),
        ("password: a1.", ["a1"]),
        ("password=p(a)ss", ["p(a)ss"]),
        ('password="a\\"b" x="c"', ['a\\"b']),
        ("password='p' user='b'", ["p"]),
        ('{"token": "must be set", "password": "a1"}', ["a1"]),
        ("token: 'value is missing: password=a1'", ["a1"]),
        ("password=a1 token=b2 secret=c3", ["a1", "b2", "c3"]),
        ('print("the token:", token)', []),
        ("password: |\n  a\n  b\nuser: c", ["|\n  a\n  b"]),
        ("  x:\n    secret: >-\n      a\n    c: d", [">-\n      a"]),
        ("Cookie: a=b; c=\"d e\"; f=g\nHost: h", ['a=b; c="d e"; f=g']),
        ("Authorization: Bearer a1 b\nHost: h", ["Bearer a1 b"]),
        ("auth=('bob', 'a1')", ["'bob', 'a1'"]),
        ("('password', 'email', 'name')", []),
        ("('x-api-key', 'a1')", ["a1"]),
        ('password="p\nq"', ["p"]),
    ],
)  # fmt: skip
def test_a_value_ends_where_its_kind_ends(text: str, secrets: list[str]) -> None:
    assert found(text) == secrets


def test_in_a_text_full_of_names_every_value_is_taken_for_a_secret() -> None:
    """Nobody wrote it, and to read each would cost too much."""
    few, many = "token=none " * NAMES_READ_MAX, "token=none " * (NAMES_READ_MAX + 1)
    assert found(few) == []
    assert found(many) == ["none"]


def test_a_header_is_shown_as_one() -> None:
    text = "Authorization: Bearer a1\npassword: a1"
    assert [kind for *_, kind in named_in(text, text.lower())] == ["header", "secret"]


def test_a_line_of_source_in_a_traceback_holds_secrets_in_quotation_marks_only() -> None:
    """The text of such a line is code: without quotation marks there are names."""
    traced = '  File "/app/a.py", line 3, in go\n    login(password=given)\n    token = "a1b2"\n'
    assert found(traced) == ["a1b2"]
    assert found(traced + "ValueError: password=swordfish") == ["a1b2", "swordfish"]


def test_a_flag_of_a_command_is_followed_by_a_secret() -> None:
    for text, secrets in (
        ("tool --password p --user b", ["p"]),
        ("tool -token 'a b' x", ["a b"]),
        ("--use-it --api-key a1", ["a1"]),
        ("give it with --token or not", []),
        ("a--password b", []),
        ("machine h login bob password a1", ["a1"]),
    ):
        assert [text[a:b] for a, b, _ in flags_in(text, text.lower())] == secrets, text


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("authorization", "Bearer abc", True),
        ("x-api-key", "a1b2", True),
        ("--password", "swordfish", True),
        ("cookie", "a=b", True),
        ("password", "email", False),
        ("authorization", "x-api-key", False),
        ("password", "", False),
        ("token", "None", False),
        ("authorization", "Bearer ***", False),
        ("name", "a1b2", False),
    ],
)
def test_two_texts_side_by_side_are_a_name_and_a_secret_or_two_names(
    name: str, value: str, secret: bool
) -> None:
    assert is_pair(name, value) is secret
