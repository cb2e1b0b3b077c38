"""What the gateway logs has no secrets, whoever writes it down."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.domain.description import describe
from gateway.domain.diagnostics import is_redacted, logger_of, traceback_of
from gateway.domain.redaction import TEXT_CHARS_MAX
from tests.domain.secret_samples import KEYS, MARK, SECRETS, fragments, runs
from tests.domain.secret_shapes import SHAPES

KEY = KEYS["openai project"]


class Plain(logging.Formatter):
    """As somebody's application formats, who does not think of secrets: all that there is."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{record.getMessage()} {record.msg} {record.args} {record.__dict__}"
        if record.exc_info:
            text += self.formatException(record.exc_info)
        return f"{text} {super().format(record)}"


@pytest.fixture
def heard() -> Iterator[io.StringIO]:
    """What a handler of the root writes."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(Plain())
    root = logging.root
    root.addHandler(handler)
    try:
        yield written
    finally:
        root.removeHandler(handler)


def secrets_in(text: str) -> list[str]:
    return [part for part in fragments(KEY) if part in text.replace("[redacted:api-key]", "")]


def fail(*values: Any) -> None:
    raise ValueError(*values)


logger = logger_of("gateway.test_diagnostics")


def test_no_handler_gets_a_secret(heard: io.StringIO) -> None:
    logger.warning("the key %s is refused", KEY)
    logger.warning("the key %(key)s is refused", {"key": KEY})
    logger.warning(f"{KEY}%")  # noqa: G004 - as careless as can be
    logger.warning("with its stack", stack_info=True)
    try:
        try:
            fail(KEY)
        except ValueError as error:
            raise KeyError(f"password={KEY}") from error
    except KeyError:
        logger.exception("it failed")
        logger.warning("again", exc_info=sys.exc_info())
    text = heard.getvalue()
    assert secrets_in(text) == []
    assert text.count("[redacted:api-key]") >= 6
    assert "ValueError: [redacted:api-key]" in text
    assert "The above exception was the direct cause" in text
    assert "in fail" in text
    assert "Stack (most recent call last)" in text


def test_what_has_no_secret_is_logged_as_it_is(heard: io.StringIO) -> None:
    logger.warning("task %s: %d of %s, 100%%", "t1", 3, ["a"])
    assert heard.getvalue().startswith("task t1: 3 of ['a'], 100% ")
    assert logger_of("gateway.test_diagnostics") is logger
    assert len(logger.filters) == 1


def test_a_record_that_was_redacted_says_so() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "the key %s", (KEY,), None)
    assert not is_redacted(record)
    assert logger.filter(record)
    assert is_redacted(record)
    assert (record.getMessage(), record.args) == ("the key [redacted:api-key]", None)
    # A second logger of ours finds nothing to do.
    record.msg = KEY
    assert logger.filter(record)
    assert record.msg == KEY


def test_what_another_handler_has_formatted_before_is_redacted(heard: io.StringIO) -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "m", None, None)
    record.exc_text = f"ValueError: {KEY}"
    assert logger.filter(record)
    assert secrets_in(str(record.exc_text)) == []


def test_a_line_that_cannot_be_put_together_is_still_said(heard: io.StringIO) -> None:
    logger.warning("two values: %s %s", KEY)
    text = heard.getvalue()
    assert "two values: %s %s" in text
    assert secrets_in(text) == []


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class Unwritable(Exception):
    __cause__ = property(lambda self: 1 / 0)


def test_an_exception_of_any_kind_can_be_written_down() -> None:
    assert "exception str() failed" in traceback_of(Unreadable(), None)
    assert traceback_of(Unwritable("x"), None) == "Unwritable: it cannot be written down"
    assert traceback_of(ValueError(KEY), None) == "ValueError: [redacted:api-key]"


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_no_shape_of_an_exception_gives_a_secret_away(number: int) -> None:
    """Neither to the log nor to operators; every third sample, another third in the next shape."""
    for _, text, secret in SECRETS[number % 3 :: 3]:
        error = SHAPES[number](text)
        try:
            raise error
        except BaseException as caught:  # noqa: BLE001 - any shape
            shown = traceback_of(caught, caught.__traceback__), json.dumps(describe(caught))
        for where in shown:
            left = MARK.sub("\0", where)
            assert [run for run in runs(secret) if run in left] == [], where


def test_of_a_long_traceback_the_end_is_kept() -> None:
    """It says what happened; the beginning says where it came from."""
    error = ValueError("\n".join(f"line {number}" for number in range(20_000)) + f" {KEY} end")
    text = traceback_of(error, None)
    assert len(text) <= TEXT_CHARS_MAX
    assert text.startswith("ValueError: line 0\nline 1\n")
    assert "\n[truncated]\nline " in text
    assert text.endswith("line 19999 [redacted:api-key] end")
    assert len(traceback_of(ValueError("x" * 200_000), None)) <= TEXT_CHARS_MAX
