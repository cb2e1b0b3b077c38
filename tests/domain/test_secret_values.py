"""A value that stands for nothing, describes itself or is code is no secret."""

from __future__ import annotations

import pytest

from gateway.domain.secret_values import (
    STAYS_CHARS_MAX,
    SourceLines,
    is_code,
    is_count,
    is_drawn,
    is_key,
    is_place,
    says_nothing,
    without_scheme,
)


@pytest.mark.parametrize(
    "value",
    [
        "", "None", "null", "true", "required", "expected", "***", "********abcd", "...", "…",
        "xxxx", "XXXX", "<hidden>", "[secure]", "[REDACTED]", "(none)", "<your token>", "$TOKEN",
        "${TOKEN}", "$(cat token)", "{token}", "{user}:{password}", "{{ token }}", "%s", "%(x)s",
        "[redacted:secret]", "[redacted:e-mail].", "YOUR_API_KEY", "TOKEN", "SecretStr('*')",
        "This field is required.", "must be at least 8 characters", "field required",
        "the password is too short", "Input should be a valid string", "'None'",
    ],
)  # fmt: skip
def test_what_says_nothing(value: str) -> None:
    assert says_nothing(value)


@pytest.mark.parametrize(
    "value", ["hunter2-Zx9", "a7imQXyl", "0a1b2c3d", "x/7imQXylul", "pw-4-all"]
)
def test_what_looks_like_a_key_wherever_it_stands(value: str) -> None:
    assert is_key(value)


@pytest.mark.parametrize(
    "value",
    [
        "swordfish", "a1", "12345678", "worker-12", "created_at2", "v1/secrets/db-2", "two w0rds x",
        "https://h/a1b2c3d4", "018f2c7e-7a30-7c3e-8f62-2b1d6a1e8c11", "2026-11-29T05:04:54Z",
    ],
)  # fmt: skip
def test_names_places_ids_and_times_are_no_keys(value: str) -> None:
    assert not is_key(value)


@pytest.mark.parametrize(
    "value",
    [
        "hunter2", "swordfish", "secret", "password", "$ecret1", "correct horse battery", "xyz",
        "the quick brown fox", "a", "{", "p{a}ss", "%a1", "*a", "x" * (STAYS_CHARS_MAX + 1),
        "must " * STAYS_CHARS_MAX, "[redacted:secret]abc",
    ],
)  # fmt: skip
def test_what_may_be_a_secret(value: str) -> None:
    assert says_nothing(value) is (value in ("a", "{"))


def test_the_scheme_of_a_credential_is_left_out() -> None:
    assert without_scheme("Bearer abc") == "abc"
    assert without_scheme("basic  abc") == "abc"
    assert without_scheme("Bearer") == ""
    assert without_scheme("Bearerabc") == "Bearerabc"


def test_code_counts_and_places_are_told_from_secrets() -> None:
    assert all(map(is_code, ("self.token", "os.environ[", "get_token(", "a.b_c(d)", "request.x")))
    assert not any(map(is_code, ("hunter2", "a.b", "p4ss(word", "self", "selfish.x")))
    assert is_count("tokens", "512")
    assert is_count("token", "42")
    assert is_count("pass", "12")
    assert not is_count("token", "123456")
    assert not is_count("password", "1")
    assert not is_count("tokens", "many")
    assert all(map(is_place, ("/app/x", "~/x", "./x", "C:\\x", "d:/x")))
    assert not is_place("app")


def test_what_is_drawn_by_chance_is_no_word() -> None:
    assert all(map(is_drawn, ("abc123", "aBcdEfgh", "a" * 20, "x y" * STAYS_CHARS_MAX)))
    assert not any(map(is_drawn, ("word", "Word", "12345678", "two words", "a1")))


def test_lines_of_source_stand_below_the_place_that_they_are_from() -> None:
    text = '  File "a.py", line 1, in f\n    x = 1\n    ^^^^^\nValueError: x\n    not code\n'
    lines = SourceLines(text)
    places = [text.index(part) for part in ("File", "x = 1", "^^^", "Value", "not code")]
    assert [lines.has(place) for place in places] == [False, True, True, False, False]
    text = '    |   File "a.py", line 1, in f\n    |     x = 1\n    | ValueError: y\n    +---\n'
    lines = SourceLines(text)
    assert [lines.has(text.index(part)) for part in ("File", "x = 1", "Value", "+--")] == [
        *(False, True, False, False)
    ]
    text = '  File "a.py", line 1, in f\n    +-+---- 1 ----\n      | ValueError: y\n'
    assert not SourceLines(text).has(text.index("y\n"))
    assert not SourceLines("  above\n    below").has(12)
