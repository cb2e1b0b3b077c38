"""Secrets go, all else stays, in linear time, and once is enough."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.redaction import (
    DEPTH_MAX,
    NODES_MAX,
    TEXT_CHARS_MAX,
    clip,
    quoted,
    redact,
    redact_text,
    shortened,
)
from gateway.domain.secret_forms import AROUND
from gateway.domain.secret_phrases import PHRASES
from tests.domain.harmless_samples import HARMLESS
from tests.domain.secret_samples import KEYS, MARK, SECRETS, fragments, letters, runs
from tests.soak import times

# In two parts, so that nothing in this repository looks like a key.
KEY = "PRIVATE" + " KEY-----"


def test_there_are_samples_enough() -> None:
    assert len(SECRETS) >= 400
    assert len({text for _, text, _ in SECRETS}) == len(SECRETS)
    assert len(set(HARMLESS)) == len(HARMLESS) >= 250


def test_nothing_is_left_of_a_secret() -> None:
    for _, text, secret in SECRETS:
        redacted = redact_text(text)
        assert redact_text(redacted) == redacted
        # Text that is cut may end anywhere; the rest of a line may be anything.
        for seen in (redacted, redact_text(f"{text}\nnext")):
            bare = MARK.sub("\0", seen)
            assert [part for part in fragments(secret) if part in bare] == [], seen


ESCAPES: Mapping[str, Callable[[str], str]] = {
    "repr": repr,
    "repr of repr": lambda text: repr(repr(text)),
    "repr of a list": lambda text: repr([text, {"a": text}]),
    "repr of bytes": lambda text: repr(text.encode()),
    "ascii": ascii,
    "json": json.dumps,
    "json of json": lambda text: json.dumps({"body": json.dumps({"error": text})}),
    "json of json of json": lambda text: json.dumps(json.dumps(json.dumps(text))),
    "html": html.escape,
    "html of json": lambda text: html.escape(json.dumps(text)),
    "address": quote,
    "address of an address": lambda text: quote(quote(text)),
    "address of json": lambda text: quote(json.dumps({"a": text})),
    "margin": lambda text: "    | " + text.replace("\n", "\n    | "),
    "other line ends": lambda text: text.replace("\n", "\r\n"),
}
# It needs escapes of its own to be told from a picture.
NOT_TWICE = ("x bearer",)


@pytest.mark.parametrize("name", ESCAPES)
def test_a_secret_is_found_however_it_was_escaped(name: str) -> None:
    for sample, text, secret in SECRETS:
        left = MARK.sub("\0", redact_text(ESCAPES[name](text)))
        if sample not in NOT_TWICE:
            assert [run for run in runs(secret) if run in left] == [], (sample, left)


def test_what_is_no_secret_stays() -> None:
    for text in HARMLESS:
        assert redact_text(text) == text
        assert redact_text(f"Error: {text}\nnext line") == f"Error: {text}\nnext line"


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
        ("nats://u:p/ss@host", "nats://[redacted:url-password]@host"),
        ("redis://:pw@host", "redis://[redacted:url-password]@host"),
        ("at /home/ann/app/x.py:3", "at /home/[redacted:user]/app/x.py:3"),
        ("to ann@example.org.", "to [redacted:e-mail]."),
        ("card 4111 1111 1111 1111!", "card [redacted:card-number]!"),
        (
            f"-----BEGIN RSA {KEY}\nMII=\n-----END RSA {KEY}\nafter",
            "[redacted:private-key]\nafter",
        ),
        (f"-----BEGIN {KEY}\nMIIabc", "[redacted:private-key]"),
    ],
)  # fmt: skip
def test_a_reader_still_sees_what_was_there(text: str, redacted: str) -> None:
    assert redact_text(text) == redacted


def test_a_traceback_keeps_everything_but_its_secrets() -> None:
    key = KEYS["openai project"]
    traced = (
        "Traceback (most recent call last):\n"
        '  File "/app/agents.py", line 12, in research\n'
        '    answer = await client.ask(question, api_key=self.key, token=os.environ["TOKEN"])\n'
        "             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
        "openai.AuthenticationError: Error code: 401 - {'error': {'message': "
        "'Incorrect API key provided: %s.', 'code': 'invalid_api_key'}}\n"
    )
    assert redact_text(traced % key) == traced % "[redacted:api-key]"


# --- values ---------------------------------------------------------------------------------------


def test_values_under_secret_names_go_whatever_they_are() -> None:
    value = {
        "Password": "x",
        "x-api-key": 7,
        "accessToken": ["a"],
        "cookie": {"a": "b"},
        "client_secret": "y",
        "api_keys": ["a", "b"],
        "auth_header": "z",
        "private_key_pem": "p",
        "connectionString": "q",
        "tokens": 12,
        "max_tokens": 5,
        "usage": {"tokens": {"prompt": 5}},
        "has_token": True,
        "token": None,
        "secret": "",
        "pass": 3,
        "nested": [{"authorization": "z"}],
    }
    gone = "[redacted:secret]"
    stays = ("tokens", "max_tokens", "usage", "has_token", "token", "secret", "pass")
    assert redact(value) == {
        **dict.fromkeys(value, gone),
        **{name: value[name] for name in stays},
        "nested": [{"authorization": gone}],
    }


def test_a_name_and_its_value_may_stand_side_by_side() -> None:
    """Headers of ASGI, arguments of a process, entries of an environment."""
    gone = "[redacted:secret]"
    assert redact([[b"authorization", b"Bearer abc"], (b"host", b"h")]) == [
        ["authorization", gone],
        ["host", "h"],
    ]
    assert redact(["tool", "--password", "abc", "--user", "bob"]) == [
        *("tool", "--password", gone, "--user", "bob")
    ]
    assert redact([{"name": "DB_PASSWORD", "value": "abc"}, {"name": "HOST", "value": "h"}]) == [
        {"name": "DB_PASSWORD", "value": gone},
        {"name": "HOST", "value": "h"},
    ]
    assert redact([{"Key": "DB_PASSWORD", "Value": "abc"}, {"k": "token", "v": "abc"}]) == [
        {"Key": "DB_PASSWORD", "Value": gone},
        {"k": "token", "v": gone},
    ]
    key = letters(24)
    assert redact(["Host", "h", "X-Api-Key", key]) == ["Host", "h", "X-Api-Key", gone]
    assert redact(["token", "user_id", "x"]) == ["token", "user_id", "x"]
    assert redact({"fields": ["password", "email"]}) == {"fields": ["password", "email"]}
    assert redact({"key": "password"}) == {"key": "password"}


def test_a_private_key_may_be_a_list_of_lines() -> None:
    gone = "[redacted:private-key]"
    lines = ["a", f"-----BEGIN RSA {KEY}\n", *[letters(64)] * 3, f"-----END RSA {KEY}", "done"]
    assert redact(lines) == ["a", *[gone] * 5, "done"]


def test_a_key_as_json_loses_what_is_private() -> None:
    key = {"kty": "EC", "crv": "P-256", "x": "a", "y": "b", "d": "c"}
    assert redact(key) == key | {"d": "[redacted:secret]"}
    assert redact({"d": "c", "k": "v"}) == {"d": "c", "k": "v"}


def test_what_describes_a_secret_stays() -> None:
    schema = {"properties": {"api_key": {"type": "string", "minLength": 8}}}
    assert redact(schema) == schema
    schema["properties"]["api_key"]["default"] = "abc"
    assert redact(schema) == {"properties": {"api_key": "[redacted:secret]"}}
    assert redact({"tokens": [151, 22]}) == {"tokens": [151, 22]}


def test_what_is_not_json_becomes_the_name_of_its_type() -> None:
    assert redact({"a": object(), "b": KEYS["github"].encode(), 3: {1}}) == {
        "a": "[object]",
        "b": "[redacted:api-key]",
        "3": [1],
    }


def test_a_key_of_a_mapping_may_be_a_secret_itself() -> None:
    assert redact({KEYS["github"]: 1}) == {"[redacted:api-key]": 1}


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
    assert len(broad) == NODES_MAX // 2 + 1
    assert len(redact("word " * TEXT_CHARS_MAX)) <= TEXT_CHARS_MAX


def test_all_texts_of_a_value_share_the_bound() -> None:
    texts = ["word " * 1_000] * 20
    shown = redact(texts)
    whole = TEXT_CHARS_MAX // 5_000
    assert shown[:whole] == texts[:whole]
    assert shown[whole].endswith("word [truncated]")
    assert shown[whole + 1 :] == ["[truncated]"]
    named = redact({f"name {n}": text for n, text in enumerate(texts)})
    assert list(named) == [*(f"name {n}" for n in range(whole + 1)), "[truncated]"]
    assert named[f"name {whole}"].endswith("word [truncated]")


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


def test_what_was_sent_is_repeated_in_quotation_marks_without_secrets_and_not_at_length() -> None:
    assert quoted("what?") == "'what?'"
    assert quoted("two\nlines") == "'two\\nlines'"
    assert quoted(["a", 1]) == "['a', 1]"
    assert quoted("x" * 100) == "'" + "x" * 63 + "…"
    assert quoted("x" * 100, chars_max=10) == "'" + "x" * 9 + "…"
    for name, key in KEYS.items():
        for text in (key, f"the key {key}", "w " * 20 + key):
            shown = MARK.sub("", quoted(text))
            assert [part for part in fragments(key) if part in shown] == [], name


def test_a_cut_leaves_no_half_of_a_secret() -> None:
    """Half a key does not look like one."""
    text = "word " * 20 + KEYS["short sk"]
    for chars_max in range(90, len(text)):
        assert "sk-" not in clip(text, chars_max)
    assert clip("x" * 20_000, 10_000).strip("x") == " [truncated]"
    assert clip("short", 10) == "short"


# --- once is enough -------------------------------------------------------------------------------

FRAGMENTS = st.sampled_from(
    [*KEYS.values(), "token=", "token: ", '"', "'", "\\", "Authorization: ", "Bearer ", "cookie=",
     "://", "u:p@", " ", "\n", "?key=", "&", "=", ">", ":", f"-----BEGIN {KEY}", "a@b.org", "%3D",
     "-----END PRIVATE KEY-----", "[redacted:", "[redacted:secret]", "]", "password", "b'", ",",
     "[", "(", ")", "|\n  ", "/home/", "ann", "--token ", "&quot;", "4111111111111111", "%22", "é",
     "<token>", "</", '  File "x", line 1\n    ', "token=None", "İ",
     "identified by '", "az login -p ", "curl -u ", "form-data; name='token'\n\n", "eyJhbGciOi",
     "input_value=", ", input_type=", "[type=a, ", '{"kty": "d": "', "bearer', '", "\x1b[0m", "| "]
)  # fmt: skip
TEXTS = st.lists(FRAGMENTS | st.text(max_size=3), max_size=12).map("".join)


@given(st.recursive(TEXTS | st.none() | st.integers(), lambda v: st.lists(v, max_size=3)
                    | st.dictionaries(TEXTS, v, max_size=3)))  # fmt: skip
def test_redacting_twice_changes_nothing(value: Any) -> None:
    """Events pass more than one door."""
    once = redact(value)
    assert redact(once) == once


# --- linear time ----------------------------------------------------------------------------------

ADVERSARIES = [
    "a", "-", "a.", "a@", "a@b.", "%", "1@", ":", "a:", "://", "://a:", "http://a:b", "sk-", "sk-a",
    "eyJ", "eyJaaaa.", "bearer ", "basic YTpi ", "token=", 'token = "', "password='", 'token "',
    "authorization: ", "authorization: is ", 'authorization: a"', "cookie=", 'cookie: a="b"',
    "AKIA", "?key=", "xoxb-", "SU", "SUA", " ", "-----BEGIN ", f"-----BEGIN {KEY}",
    f"-----BEGIN A {KEY}a-", f"-----END A {KEY}", "Private-Lines: 1\na", "[redacted:", 'token\\"',
    "ghp_", "SG.", "eyJ.", "M_", "s-", "_s", "S.", "a_", "%3D", "\\u003d", "%20 ", "%2525", "&amp;",
    "&#39;", "a%20\n", "\\x22", "%e2", "&a", "+%", "key=", "token: a ",
    "token: is ", "token=none ", "self.token=self.token=", "token>", "token ", "<token>", "token=[",
    "token=(", "token:|\n a", "token: |\n", "token\",'", "--token ", "&quot;", "token=&quot;",
    "%22token%22%3A%22", "token%3D", "token=;", "token=,a", "token=))", "token=a)", "a@b.co ",
    "a@b.co", "é@é.é", "1", "4111", "4111 ", "41-", "DE89", "DE89370400440532013000 ", "/home/a/",
    "C:\\Users\\", "://a:b@", "://a:b@c,", "nats://a:b/@", "@@", "a:b@c:1", "://a@", "curl -u a:b ",
    "Q~", "JQQJ9", "AzFu", "+ASt", ":AA", "|", "1//0", "$6$a", "$2b$", "scrypt:", "/aws4_request",
    "A/20261128/a/a/aws4_request", "hooks.slack.com/services/", "/hooks/a", 'name": "password", ',
    "password\\n", "('password', '", "machine login password a ", "api key provided: ", "İ", "ß",
    '  File "\n    token=a\n', "x" * 119 + " token: ", "token:" + " " * 9, "token: str = ",
    "password={a}", "password={{", "`", "token=`", "\\\\\"", "0.", "1.1@1.1.aa", "-us1", "{", "\"",
    "eyJ-", "s-eyJ", "eyJaaaa.\nA1a", "eyJhbGciOiaaaaaaaaaa\nA1aaaaaaaaaaaa",
    'token=["', "token: {'a",
    "token: { ", "token:\n a1aaaaaaa", "token:\n - a1aaaaaaa\n", "\n - a1aaaaaaa", 'token("a1',
    "'token', 'a1", "token | a", " | token", 'form-data; name="token"\n\n', "input_value=",
    "token\n  a[type=a, input_value=a", "identified by 'a", "identified by ", "set password ",
    "AUTH PLAIN ", "smbclient -U a%", "smbclient a ", "zip -a ", "zip -", '"kty":"a","d":"',
    "://a/invite/", "token\x1b[0m:\x1b[0m", " [0m", "token: some('", "token: &a ", "token: !!a ",
    "az login -p ", "$apr1$a$", "bearer', '", "-----BEGIN", "---- BEGIN ", "\n  ", "pat=", "jwt: ",
]  # fmt: skip

# Some expressions are used only where one of these is in the text.
GATES = (
    *(gate for key in AROUND for gate in key.has),
    *(gate for phrase in PHRASES for gate in phrase.has),
    *(
        "PRIVATE",
        "SEED",
        "Private-Lines",
        "home",
        "Users",
        "Settings",
        "curl",
        "machine ",
        "bearer",
    ),
    *("basic", "?", "&", "://", "@", " -a 'b", '  File "'),
)
# How many times as long as the plain expression below a text of the greatest length may take.
# Measured: the slowest one takes 35 times as long, a quadratic one more than three hundred.
TIMES_MAX = 60
TRIES = 3
PLAIN = re.compile(r"[a-z]|[^a-z]")


def took_s(work: Callable[[str], object], text: str) -> float:
    """Processor time, since the bound is on our own work and not on a busy machine's."""
    began = time.process_time()
    work(text)
    return time.process_time() - began


def is_slow(work: Callable[[str], object], text: str) -> bool:
    return all(took_s(work, text) > TIMES_MAX * took_s(PLAIN.findall, text) for _ in range(TRIES))


def test_no_text_makes_it_slow() -> None:
    """
    The worst for each expression, over and over, beside one that looks at every letter.

    A third of them; in `make soak` all.
    """
    gates = "\n" + " ".join(GATES) + "\n"
    room = TEXT_CHARS_MAX - len(gates)
    texts = {part: gates + (part * room)[: room - 1] + "@" for part in ADVERSARIES[:: times(3, 1)]}
    limit_s = TIMES_MAX * min(took_s(PLAIN.findall, texts["a"]) for _ in range(TRIES))
    suspects = {part: text for part, text in texts.items() if took_s(redact_text, text) > limit_s}
    assert [part for part, text in suspects.items() if is_slow(redact_text, text)] == []


def test_a_quadratic_expression_would_be_noticed() -> None:
    """The comparison above can fail: an address whose first part has no bound is too slow."""
    quadratic = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z]+\.[a-z]{2,9}")
    assert is_slow(quadratic.findall, "a" * (TEXT_CHARS_MAX // 2))
