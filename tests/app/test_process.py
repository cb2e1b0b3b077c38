"""What every command's process needs: a loop, an end by signal, a log without secrets."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys

import pytest

from gateway.app.process import log_to_stderr, run, until_signal
from gateway.domain.diagnostics import logger_of
from tests.domain.secret_samples import KEYS, fragments


def test_a_coroutine_is_run_to_its_end() -> None:
    done: list[int] = []

    async def work() -> None:
        await asyncio.get_running_loop().run_in_executor(None, done.append, 1)

    run(work())
    assert done == [1]


def test_an_error_of_the_work_reaches_the_command() -> None:
    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(until_signal(work()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_cancels_the_work_and_is_a_good_end(number: signal.Signals) -> None:
    ended: list[int] = []

    async def work() -> None:
        signal.raise_signal(number)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    run(until_signal(work()))
    assert ended == [number]


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


DYING = """
import sys, threading
from gateway.app.process import log_to_stderr

def fail(key):
    raise ValueError("the key " + key)

log_to_stderr("info")
thread = threading.Thread(target=fail, args=sys.argv[1:], name="t1")
thread.start()
thread.join()
fail(sys.argv[1])
"""


def test_what_ends_the_process_or_a_thread_is_said_without_secrets() -> None:
    key = KEYS["anthropic"]
    ended = subprocess.run(
        [sys.executable, "-c", DYING, key], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "thread t1 has ended" in ended.stderr
    assert "the process has ended" in ended.stderr
    assert ended.stderr.count("ValueError: the key [redacted:api-key]") == 2
    bare = ended.stderr.replace("[redacted:api-key]", "")
    assert [part for part in fragments(key) if part in bare] == []


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
