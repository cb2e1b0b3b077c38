"""Secrets are found by their look and by their name, in linear time, and once is enough."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import redaction
from gateway.domain.redaction import (
    DEPTH_MAX,
    NODES_MAX,
    TEXT_CHARS_MAX,
    clip,
    redact,
    redact_text,
    shortened,
)

# In two parts, so that nothing in this repository looks like a key.
KEY = "PRIVATE" + " KEY-----"

SECRETS = [
    "sk-abc123DEF456",
    "sk-ant-api03-abcdefghijkl",
    "sk-proj-abc_def-123",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_abcdefghijklmnop1234",
    "github_pat_11ABCDEFG_abcdef",
    "xoxb-123456789-abcdef",
    "AIzaSyA1234567890abcdefghijklmnopqrstu",
    "sk_live_abcdefgh1234",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl",
    "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
    "alice.smith+x@example.co.uk",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", ["{}", "key {} end", "({})", '"{}"', "a={},b", "https://h/{}"])
def test_a_secret_is_known_by_its_look(secret: str, around: str) -> None:
    text = redact_text(around.format(secret))
    assert secret not in text
    assert "[redacted:" in text


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Authorization: Bearer abc\nnext", "Authorization: [redacted:header]\nnext"),
        ("{'authorization': 'Basic dXNl', 'x': 1}",
         "{'authorization': '[redacted:header]', 'x': 1}"),
        ("(b'Authorization', b'Bearer abc')", "(b'Authorization', b'[redacted:header]')"),
        ("Set-Cookie: a=b; Path=/\nnext", "Set-Cookie: [redacted:header]\nnext"),
        ("got Bearer abc.def-123 there", "got Bearer [redacted:token] there"),
        ("OPENAI_API_KEY=abc", "OPENAI_API_KEY=[redacted:secret]"),
        ('{"access_token": "ab cd"}', '{"access_token": "[redacted:secret]"}'),
        (r'{\"token\": \"abc\"}', r'{\"token\": \"[redacted:secret]\"}'),
        ("password: hunter2 is bad", "password: [redacted:secret] is bad"),
        ("https://h/p?api_key=1&z=2", "https://h/p?api_key=[redacted:secret]&z=2"),
        ("https://h/p?sig=ab%2F&z=2", "https://h/p?sig=[redacted:secret]&z=2"),
        ("postgres://bob:hunter2@db:5432/x", "postgres://[redacted:url-password]@db:5432/x"),
        ("nats://u:p@ss@host", "nats://[redacted:url-password]@host"),
        ("redis://:pw@host", "redis://[redacted:url-password]@host"),
        (
            f"-----BEGIN RSA {KEY}\nMII=\n-----END RSA {KEY}\nafter",
            "[redacted:private-key]\nafter",
        ),
        (f"-----BEGIN {KEY}\nMIIabc", "[redacted:private-key]"),
    ],
)  # fmt: skip
def test_a_secret_is_known_by_what_it_stands_under(text: str, redacted: str) -> None:
    assert redact_text(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=512, 3 tokens used",
        "risk-assessment of the task-scheduler",
        "http://127.0.0.1:8000/path?x=1",
        "llm_timeout after 0.3 s in /app/agents.py:12",
        "018f2c7e-7a30-7c3e-8f62-2b1d6a1e8c11",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact_text(text) == text


def test_values_under_secret_names_go_whatever_they_are() -> None:
    value = {
        "Password": "x",
        "x-api-key": 7,
        "accessToken": ["a"],
        "cookie": {"a": "b"},
        "client_secret": "y",
        "tokens": 12,
        "max_tokens": 5,
        "has_token": True,
        "token": None,
        "nested": [{"authorization": "z"}],
    }
    gone = "[redacted:secret]"
    assert redact(value) == {
        "Password": gone,
        "x-api-key": gone,
        "accessToken": gone,
        "cookie": gone,
        "client_secret": gone,
        "tokens": 12,
        "max_tokens": 5,
        "has_token": True,
        "token": None,
        "nested": [{"authorization": gone}],
    }


def test_what_is_not_json_becomes_the_name_of_its_type() -> None:
    assert redact({"a": object(), "b": b"sk-abc123456", 3: {1}}) == {
        "a": "[object]",
        "b": "[redacted:api-key]",
        "3": [1],
    }


def test_depth_and_size_are_bounded() -> None:
    deep: Any = "x"
    for _ in range(DEPTH_MAX + 5):
        deep = [deep]
    assert "[too deep]" in str(redact(deep))
    wide = redact(list(range(NODES_MAX + 5)))
    assert wide[-1] == "[truncated]"
    assert len(wide) == NODES_MAX
    broad = redact({str(number): number for number in range(NODES_MAX + 5)})
    assert broad["[truncated]"] == "[truncated]"
    assert len(broad) == NODES_MAX
    assert len(redact("word " * TEXT_CHARS_MAX)) <= TEXT_CHARS_MAX


@pytest.mark.parametrize(
    "value",
    [
        {"text": "word " * 50_000},
        {"text": "x" * 200_000},
        {f"key {n}": "word " * 100 for n in range(2_000)},
        {"items": ["é" * 50] * 5_000},
        {"deep": [[[{"a": list(range(20_000))}]]]},
        {"k" * 60_000: 1, "other": 2},
        [list(range(100))] * 100,
        "x" * 100_000,
    ],
)
def test_what_is_too_long_is_cut_with_a_mark(value: Any) -> None:
    cut = shortened(value, bytes_max=4_096)
    assert len(json.dumps(cut)) <= 4_096
    assert "[truncated]" in json.dumps(cut)
    assert type(cut) is type(value)
    assert shortened(cut, bytes_max=4_096) is cut


def test_what_is_short_enough_stays_as_it_is() -> None:
    value = {"a": ["b", 1, None, True, 1.5], "c": {"d": "e" * 1_000}}
    assert shortened(value, bytes_max=len(json.dumps(value))) is value


def test_a_cut_leaves_no_half_of_a_secret() -> None:
    """Half a key does not look like one."""
    text = "word " * 20 + "sk-abc123def456"
    for chars_max in range(90, len(text)):
        assert "sk-" not in clip(text, chars_max)
    assert clip("x" * 20_000, 10_000).strip("x") == " [truncated]"
    assert clip("short", 10) == "short"


FRAGMENTS = st.sampled_from(
    [*SECRETS, "token=", "token: ", '"', "'", "\\", "Authorization: ", "Bearer ", "cookie=", "://",
     "u:p@", " ", "\n", "?key=", "&", "=", ">", ":", f"-----BEGIN {KEY}",
     "-----END PRIVATE KEY-----", "[redacted:", "[redacted:secret]", "]", "password", "b'", ","]
)  # fmt: skip
TEXTS = st.lists(FRAGMENTS | st.text(max_size=3), max_size=12).map("".join)


@given(st.recursive(TEXTS | st.none() | st.integers(), lambda v: st.lists(v, max_size=3)
                    | st.dictionaries(TEXTS, v, max_size=3)))  # fmt: skip
def test_redacting_twice_changes_nothing(value: Any) -> None:
    """Events pass more than one door."""
    once = redact(value)
    assert redact(once) == once


ADVERSARIES = [
    "a", "-", "a.", "a@", "a@b.", "%", "1@", ":", "a:", "://", "://a:", "http://a:b", "sk-", "sk-a",
    "eyJ", "eyJaaaa.", "bearer ", "token=", 'token = "', "password='", "authorization: ", "cookie=",
    "AKIA", "?key=", "xoxb-", "SU", "SUA", " ", "-----BEGIN ", f"-----BEGIN {KEY}",
    f"-----BEGIN A {KEY}a-", "[redacted:", 'token\\"', "ghp_", "SG.", "eyJ.",
]  # fmt: skip


# Measured: the slowest expression here takes a tenth of the bound, a quadratic one (an e-mail
# address without its {1,64}) five times as much; with the longer text, sixteen times.
SLOW_TEXT_CHARS = 100_000 if os.environ.get("GATEWAY_SOAK") == "1" else 30_000
SLOW_TEXT_S = SLOW_TEXT_CHARS / 60_000


@pytest.mark.parametrize("end", ["", "!", "@"])
def test_no_text_makes_it_slow(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The worst for each expression, over and over.

    Processor time, since the bound is on our own work and not on a busy machine's.
    """
    monkeypatch.setattr(redaction, "TEXT_CHARS_MAX", 200_000)
    for adversary in ADVERSARIES:
        text = adversary * (SLOW_TEXT_CHARS // len(adversary)) + end
        began = time.process_time()
        redact_text(text)
        assert time.process_time() - began < SLOW_TEXT_S, adversary
