"""What every command's process needs: a loop, an end by signal, a log without secrets."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest

from gateway.app.process import run, until_signal
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


DYING = """
import sys, threading
from gateway.app.logs import log_to_stderr
from gateway.app.process import say_ends

def fail(key):
    raise ValueError("the key " + key)

log_to_stderr("info")
say_ends()
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
