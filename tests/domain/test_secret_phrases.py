"""What is written around a secret: command lines, commands, forms, refusals, keys as JSON."""

from __future__ import annotations

import pytest

from gateway.domain.secret_phrases import phrases_in
from tests.domain.harmless_samples import HARMLESS


def in_phrases(text: str) -> list[str]:
    return [text[start:end] for start, end, _ in phrases_in(text, text.lower())]


REFUSED = "{}\n  Too short [type=string_too_short, input_value={}, input_type=str]"


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("mysql -u root -px1 db", ["x1"]),
        ("az login -u bob -p x1", ["x1"]),
        ("curl -u bob:x h", ["bob:x"]),
        ("curl -X GET -u 'bob:x' h", ["bob:x"]),
        ("docker run -u 1000:1000 x", []),
        ("unzip -q -P hunter2 a.zip", ["hunter2"]),
        ("zip -r a.zip -P", []),
        ("smbclient //h/s -U bob%hunter2", ["hunter2"]),
        ("identified by 'x'", ["x"]),
        ("IDENTIFIED BY '***'", []),
        ("set password = 'x'", ["x"]),
        ("AUTH PLAIN AGJvYgB4", ["AGJvYgB4"]),
        ("AUTH PLAIN failed", []),
        ('form-data; name="token"\r\n\r\nx\r\n', ["x"]),
        ('form-data; name="file"\r\n\r\nx\r\n', []),
        (REFUSED.format("login.password", "'x'"), ["x"]),
        (REFUSED.format("login.password", "None"), []),
        (REFUSED.format("login.user", "'x'"), []),
        ('{"kty": "oct", "k": "abcdefghijklmnop"}', ["abcdefghijklmnop"]),
        ('{"kty": "oct", "n": "abcdefghijklmnop"}', []),
        ('{"k": "abcdefghijklmnop"}', []),
    ],
)
def test_a_secret_is_known_by_what_is_written_around_it(text: str, secrets: list[str]) -> None:
    assert in_phrases(text) == secrets


def test_other_phrases_stay() -> None:
    assert [text for text in HARMLESS if in_phrases(text)] == []
