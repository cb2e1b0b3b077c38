"""What a command's process logs: lines or JSON, with ids, without secrets."""

from __future__ import annotations

import logging

import pytest

from gateway.app.logs import log_to_stderr
from gateway.domain.diagnostics import logger_of
from tests.domain.secret_samples import KEYS, fragments


@pytest.mark.usefixtures("process_kept")
def test_the_log_goes_to_stderr_without_secrets_even_in_a_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    secret = "sk-" + "a1B2" * 12
    log_to_stderr("info")
    logger = logger_of("gateway.test")
    logger.debug("too quiet")
    logger.warning("key %s", secret)
    try:
        raise ValueError(f"Authorization: Bearer {secret}")
    except ValueError:
        logger.exception("it failed")
    said = capsys.readouterr()
    assert said.out == ""
    assert secret not in said.err
    assert "ValueError" in said.err
    assert "WARNING  gateway.test: key " in said.err
    assert "too quiet" not in said.err


@pytest.mark.usefixtures("process_kept")
def test_what_libraries_log_has_no_secrets_either(capsys: pytest.CaptureFixture[str]) -> None:
    key = KEYS["openai project"]
    log_to_stderr("info")
    library = logging.getLogger("some.library")  # noqa: TID251 - not ours
    library.warning("the key %s", key)
    try:
        raise ValueError(key)
    except ValueError:
        library.exception("it failed")
    said = capsys.readouterr().err
    assert "WARNING  some.library: the key [redacted:api-key]" in said
    assert "ValueError: [redacted:api-key]" in said
    assert [part for part in fragments(key) if part in said.replace("[redacted:api-key]", "")] == []


@pytest.mark.usefixtures("process_kept")
def test_uvicorn_is_heard_from_warnings_on(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info")
    for name in ("uvicorn", "uvicorn.error"):
        library = logging.getLogger(name)  # noqa: TID251 - not ours
        library.info("started server process")
        library.warning("something is wrong")
    said = capsys.readouterr().err
    assert "started" not in said
    assert said.count("something is wrong") == 2


@pytest.mark.usefixtures("process_kept")
def test_a_line_says_when_and_what_it_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info")
    logger_of("gateway.test").info("it is so", extra={"task_id": "t1", "error_id": "e1"})
    logger_of("gateway.test").info("so is this")
    first, second = capsys.readouterr().err.splitlines()
    when, _, rest = first.partition(" ")
    assert rest == "INFO     gateway.test: it is so  [task_id=t1 error_id=e1]"
    assert second.endswith("so is this")
    assert (len(when), when[-1]) == (len("2026-01-01T00:00:00.000Z"), "Z")
